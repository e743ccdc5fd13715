"""A clock for tests."""

from datetime import timedelta


class ManualClock:
    """A `Clock` that only `advance` moves. Calling it returns milliseconds since 1970 UTC."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self.now: int = now

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def advance(self, duration: float | timedelta) -> None:
        """Move the time by a duration, in seconds or as a timedelta."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        self.now += round(seconds * 1000)
