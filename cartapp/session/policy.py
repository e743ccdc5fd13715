"""How long sessions live, how large they may be, and whom to tell."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .hooks import Hooks
from .record import Record

IsCurrent = Callable[[str, int], Awaitable[bool]]
"""Whether a user still exists, enabled, with this epoch; asked on each load of a logged-in session."""

OnCount = Callable[[str], None]
"""Called with the name of what is counted: see `SessionMiddleware`."""

TOMBSTONE_LIFETIME = 60_000
"""Milliseconds for which an ID given up in a rotation is remembered, so that late requests are recognized."""

LONGEST_COOKIE = 400 * 24 * 60 * 60
"""Seconds for which browsers keep a cookie at most (RFC 6265bis, 5.5)."""

PROVISIONAL_LIFETIME = 60_000
"""Milliseconds for which the new record of a rotation lives until the rotation is committed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long sessions live and how large they may be. Times in seconds, sizes in bytes."""

    ttl: float = 3600
    """Idle time-out: a session dies between 1.0 and 1.1 times this after its last use."""
    max_age: float = 604800
    """Absolute lifetime."""
    max_bytes: int = 65536
    """Size of one session's encoded data."""
    timeout: float = 2.0
    """How long to wait for the store, and how long to compete with other processes for one session."""
    eager: bool = False
    """Whether a visitor gets a session with the first page, before anything is stored in it."""
    is_current: IsCurrent | None = None
    hooks: Hooks = field(default_factory=Hooks)

    step: int = field(init=False)
    """Milliseconds between two keep-alives of one session, a tenth of the TTL (ASVS 7.3.1)."""
    _idle: int = field(init=False, repr=False)
    _life: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Milliseconds, worked out once: they are asked for several times in each request.
        object.__setattr__(self, "step", round(self.ttl * 100))
        object.__setattr__(self, "_idle", round(self.ttl * 1000) + self.step)
        object.__setattr__(self, "_life", round(self.max_age * 1000))

    def expiry(self, created: int, last_used: int) -> int:
        """When a session dies whose last use is stored as `last_used`.

        A use up to one step later is not stored, so the step is added: no session dies early.
        """
        return min(last_used + self._idle, created + self._life)

    def keep_alive_is_due(self, last_used: int, at: int) -> bool:
        """Whether a use is to be stored: a step after the stored one, or before it (a clock was set back)."""
        return abs(at - last_used) >= self.step

    def alive(self, record: Record, at: int) -> bool:
        """Whether the record is live, by its own expiry and by what the settings now say."""
        if record.is_tombstone:
            if record.is_placeholder:
                return False  # the session is still to be copied
            # One that would live longer was made before the clock was set back, and would refuse writes until
            # the clock gets there. Twice the time, since the clocks of hosts may differ.
            return at < record.expires <= at + 2 * TOMBSTONE_LIFETIME
        return at < min(record.expires, self.expiry(record.created, record.last_used))
