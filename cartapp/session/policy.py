"""How long sessions live and how large they may be."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from . import codec
from .durations import LONGEST, Duration, to_seconds
from .errors import UnreadableRecord
from .hooks import Hooks
from .record import Record

IsCurrent = Callable[[str, int], Awaitable[bool]]
"""Return whether this user ID and epoch are still valid; called on each load of a logged-in session."""

TOMBSTONE_LIFETIME = 60_000
"""Milliseconds for which the store remembers an ID given up in a rotation, to recognize late requests."""

LONGEST_COOKIE = 400 * 24 * 60 * 60
"""Longest lifetime in seconds that browsers grant a cookie (RFC 6265bis, 5.5)."""

PROVISIONAL_LIFETIME = 60_000
"""Milliseconds for which the new record of a rotation lives until the rotation is committed."""


LIFETIME = "_lifetime"
"""Session key of the session's own lifetime, an `_OwnLifetime`."""

_LIFETIME_MARK = f'"{LIFETIME}":'.encode()


class _OwnLifetime(msgspec.Struct):
    """What `Session.set_lifetime` stores; None means the application's setting."""

    ttl: Annotated[float, msgspec.Meta(gt=0, le=LONGEST)] | None = None
    max_age: Annotated[float, msgspec.Meta(gt=0, le=LONGEST)] | None = None
    persistent: bool | None = None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The lifetime of one session, in milliseconds."""

    idle: int
    """Time without a stored use: the TTL and one touch interval."""
    total: int
    touch_interval: int
    """Time between two keep-alives."""
    persistent: bool | None = None
    """Whether the cookie has a Max-Age; None for the choice of `CookieOptions`."""

    def compute_expiry(self, created: int, last_used: int) -> int:
        """Return when a session with this stored last use expires.

        The store may lag one touch interval behind the actual last use, so `idle` includes it: no session
        expires early.
        """
        return min(last_used + self.idle, created + self.total)


@dataclass(frozen=True, slots=True, init=False)
class SessionPolicy:
    """How long sessions live and how large they may be.

    `ttl`, `max_age` and `timeout` are given in seconds or as a timedelta, and kept in seconds. Raises
    TypeError or ValueError for an impossible value.
    """

    ttl: float
    """Idle timeout. A session expires between 1.0 and 1.1 times this after its last use."""
    max_age: float
    """Absolute lifetime."""
    max_bytes: int
    """Limit for the encoded data of one session."""
    timeout: float
    """Limit for the retries of one commit, and for one operation on a store that is given as a URL."""
    eager: bool
    """Create a session on the first page request, before anything is stored in it."""
    is_current: IsCurrent | None
    hooks: Hooks

    touch_interval: int = field(init=False)
    """Milliseconds between two keep-alives of one session: a tenth of the TTL (ASVS 7.3.1)."""
    _lifetime: Lifetime = field(init=False, repr=False)

    def __init__(
        self,
        ttl: Duration = 3600,
        max_age: Duration = 604800,
        max_bytes: int = 65536,
        timeout: Duration = 2.0,
        eager: bool = False,
        is_current: IsCurrent | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        hooks = Hooks() if hooks is None else hooks
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
            raise ValueError(_expected("max_bytes", "a whole number of bytes above 0", max_bytes))
        if not isinstance(eager, bool):
            raise TypeError(_expected("eager", "True or False", eager))
        if is_current is not None and not callable(is_current):
            raise TypeError(_expected("is_current", "an async function (user_id, epoch)", is_current))
        if not isinstance(hooks, Hooks):
            raise TypeError(_expected("hooks", "Hooks(…)", hooks))
        for name, value in {"ttl": ttl, "max_age": max_age, "timeout": timeout}.items():
            object.__setattr__(self, name, to_seconds(f"SessionPolicy.{name}", value))
        for name, given in {
            "max_bytes": max_bytes,
            "eager": eager,
            "is_current": is_current,
            "hooks": hooks,
        }.items():
            object.__setattr__(self, name, given)
        # Every request needs these several times, so they are computed once.
        object.__setattr__(self, "touch_interval", round(self.ttl * 100))
        object.__setattr__(self, "_lifetime", self._make_lifetime(_OwnLifetime()))

    def lifetime(self, data: bytes) -> Lifetime:
        """Return the lifetime of a session with this data, by its own settings where it has some."""
        if _LIFETIME_MARK not in data:
            return self._lifetime
        try:
            raw = codec.split(data).get(LIFETIME, b"{}")
            return self._make_lifetime(msgspec.json.decode(raw, type=_OwnLifetime))
        except (UnreadableRecord, msgspec.MsgspecError):
            return self._lifetime

    def _make_lifetime(self, own: _OwnLifetime) -> Lifetime:
        ttl = own.ttl or self.ttl
        touch_interval = min(round(ttl * 100), self.touch_interval)
        total = min(own.max_age or self.max_age, self.max_age)
        return Lifetime(
            round(ttl * 1000) + touch_interval, round(total * 1000), touch_interval, own.persistent
        )

    def check_lifetime(
        self, ttl: Duration | None, max_age: Duration | None, persistent: bool | None
    ) -> dict[str, float | bool]:
        """Return the value of `LIFETIME`; see `Session.set_lifetime`."""
        chosen: dict[str, float | bool] = {}
        for name, value in {"ttl": ttl, "max_age": max_age}.items():
            if value is not None:
                chosen[name] = to_seconds(f"Session.set_lifetime: {name}", value)
        if chosen.get("max_age", 0) > self.max_age:
            raise ValueError(
                f"Session.set_lifetime: max_age: expected at most that of the policy, {self.max_age:g}, got "
                f"{chosen['max_age']:g}."
            )
        if persistent is not None:
            if not isinstance(persistent, bool):
                raise TypeError(
                    f"Session.set_lifetime: persistent: expected True or False, got {persistent!r}."
                )
            chosen["persistent"] = persistent
        return chosen

    def compute_expiry(self, created: int, last_used: int, data: bytes) -> int:
        """Return when a session with this data and stored last use expires; see `Lifetime`."""
        return self.lifetime(data).compute_expiry(created, last_used)

    def is_keep_alive_due(self, record: Record, at: int) -> bool:
        """Return whether to store a use: one interval after the stored one, or before it (clock set back)."""
        return abs(at - record.last_used) >= self.lifetime(record.data).touch_interval

    def is_live(self, record: Record, at: int) -> bool:
        """Return whether the record is live, by its own expiry and by the present settings."""
        if record.is_tombstone:
            if record.is_placeholder:
                return False  # its session has not been copied yet
            # A tombstone that would live longer dates from before the clock was set back, and would reject
            # writes until the clock catches up. Twice the lifetime allows for clock skew between hosts.
            return at < record.expires <= at + 2 * TOMBSTONE_LIFETIME
        return at < min(record.expires, self.compute_expiry(record.created, record.last_used, record.data))


def _expected(name: str, expectation: str, value: object) -> str:
    return f"SessionPolicy.{name}: expected {expectation}, got {value!r}."
