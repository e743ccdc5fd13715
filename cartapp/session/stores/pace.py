"""Whether the steps of a local store are quick enough to be done right on the event loop."""

import time

_SLOW = 0.01  # seconds: steps that take longer are not for the event loop
_SLOW_IN_A_ROW = 3  # fewer may only mean that another process had the processor meanwhile
_THREADS_FOR = 1.0  # seconds for which steps run in threads after slow ones


class Pace:
    """What the last steps took; all times are those of the monotonic clock, in seconds."""

    slow_until = 0.0
    """Until then steps belong into threads: the disk was slow just now."""

    _slow_steps = 0  # in a row, the last one included

    def note(self, started: float) -> None:
        """A step has ended."""
        ended = time.monotonic()
        self._slow_steps = self._slow_steps + 1 if ended - started > _SLOW else 0
        if self._slow_steps >= _SLOW_IN_A_ROW:
            self.slow_until = ended + _THREADS_FOR
