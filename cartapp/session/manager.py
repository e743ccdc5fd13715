"""One object for a whole application: store, policy, cookie and keys, checked and built once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Self, TypedDict, Unpack

from .commit import OnCount, Records
from .cookies import CookieOptions, CookieWriter
from .crypto import KeyRing
from .durations import Duration
from .hooks import Hooks
from .locks import SessionLocks
from .policy import IsCurrent, SessionPolicy
from .record import Clock, now
from .stores.base import Store, check_store
from .stores.registry import open_store
from .stores.wrappers.circuit_breaker import CircuitBreakerStore
from .stores.wrappers.encryption import EncryptedStore
from .transport import CookieTransport, IdTransport, RecordTransport


class SessionOptions(TypedDict, total=False):
    """Options of `SessionMiddleware(app, store=…)`: those of `SessionPolicy` and `SessionManager`."""

    ttl: Duration
    max_age: Duration
    max_bytes: int
    timeout: Duration
    eager: bool
    is_current: IsCurrent | None
    hooks: Hooks
    cookie: CookieOptions | None
    keys: KeyRing | None
    clock: Clock
    on_count: OnCount | None


class SessionManager:
    """Store, policy, cookie and keys of one application.

        manager = SessionManager("redis://localhost", policy=SessionPolicy(ttl=1800))
        app.add_middleware(SessionMiddleware, manager=manager)

    `store` is a store or a URL for `open_store`. With `keys` the session data are encrypted; `cookie://`,
    which keeps each session in its browser's cookie, requires them. `on_count(name)` is called for each of
    `conflicts` (retried commits) and `overwritten` (keys that two requests set concurrently), and
    `on_breaker(is_open)` when the circuit breaker in front of the store opens or closes.

    Raises `InvalidStoreURL`, `MissingDriver`, TypeError and ValueError.
    """

    def __init__(
        self,
        store: Store | str,
        *,
        policy: SessionPolicy | None = None,
        cookie: CookieOptions | None = None,
        keys: KeyRing | None = None,
        clock: Clock = now,
        on_count: OnCount | None = None,
        on_breaker: Callable[[bool], None] | None = None,
    ) -> None:
        self.policy: SessionPolicy = policy or SessionPolicy()
        self.cookie: CookieOptions = cookie or CookieOptions()
        _check("policy", self.policy, SessionPolicy, "SessionPolicy(…)")
        _check("cookie", self.cookie, CookieOptions, "CookieOptions(…)")
        if not isinstance(keys, KeyRing | None):  # the message must not show a secret
            raise TypeError(f"SessionManager: keys: expected KeyRing(secret), got {type(keys).__name__}.")
        for name, function in {"clock": clock, "on_count": on_count, "on_breaker": on_breaker}.items():
            if function is not None and not callable(function):
                raise TypeError(f"SessionManager: {name}: expected a function, got {function!r}.")
        self.clock: Clock = clock
        self.locks: SessionLocks = SessionLocks()
        self.store: Store = self._open(store)
        """The store behind the circuit breaker; it encrypts and decrypts where `keys` were given."""
        self.transport: CookieTransport
        if self.store.name == "cookie":
            if keys is None:
                raise ValueError("SessionManager: cookie:// needs keys=KeyRing(secret), to encrypt sessions.")
            self._guarded = self.store
            self.transport = RecordTransport(keys, self.cookie.name)
        else:
            self.store = self.store if keys is None else EncryptedStore(self.store, keys)
            self._guarded = CircuitBreakerStore(self.store, on_change=on_breaker)
            self.transport = IdTransport(self._guarded)
        self._writers = {https: CookieWriter(self.cookie, https) for https in (False, True)}
        self._on_count = on_count
        self._records: Records | None = None

    @classmethod
    def from_options(cls, store: Store | str, **options: Unpack[SessionOptions]) -> Self:
        """Build a manager from flat keyword arguments. Raises TypeError for an unknown one."""
        check_options(options)
        chosen: dict[str, Any] = {**options}
        names = [field.name for field in fields(SessionPolicy) if field.name in chosen]
        policy = SessionPolicy(**{name: chosen.pop(name) for name in names})
        return cls(store, policy=policy, **chosen)

    async def ping(self) -> None:
        """Check that the store responds. Raises `StoreUnavailable`; at once while the breaker is open."""
        await self._guarded.ping()

    async def close(self) -> None:
        """Close the store."""
        await self.store.close()

    def cookie_writer(self, scope: Mapping[str, Any]) -> CookieWriter:
        """Return the writer of the cookie for the scheme of this request."""
        return self._writers[scope.get("scheme") in ("https", "wss")]

    def count(self, event: str) -> None:
        """Report one event to `on_count`."""
        if self._on_count is not None:
            self._on_count(event)

    def records(self, store: Store) -> Records:
        """Return the records of a store under this policy, cached: mostly it is the same store."""
        if self._records is None or self._records.store is not store:
            self._records = Records(store, self.policy, self.clock, self.count)
        return self._records

    def _open(self, store: Store | str) -> Store:
        if isinstance(store, str):
            return open_store(
                store, clock=self.clock, timeout=self.policy.timeout, max_age=self.policy.max_age
            )
        check_store("SessionManager", store, "a store or a URL such as redis://localhost")
        return store


def check_options(options: Iterable[str], *, more: Iterable[str] = ()) -> None:
    """Raise TypeError for a name that is neither one of `SessionOptions` nor one of `more`."""
    known = [*more, *SessionOptions.__annotations__]
    if unknown := sorted({*options}.difference(known)):
        raise TypeError(f"Unknown session option {', '.join(unknown)}; expected one of {', '.join(known)}.")


def _check(name: str, value: object, kind: type, expectation: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"SessionManager: {name}: expected {expectation}, got {value!r}.")
