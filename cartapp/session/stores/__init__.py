"""The stores that there are, and how a URL chooses one. A store's own module is imported only when chosen.

A new backend is one function that makes its store of a URL, and one line in `BACKENDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import SplitResult, unquote

from ..errors import InvalidStoreURL, MissingDriver
from ..record import Clock, now
from .base import Store
from .urls import split_url


@dataclass(frozen=True, slots=True)
class Options:
    """What every store may be told beside its URL; each uses what it has a use for."""

    clock: Clock
    timeout: float
    pool_size: int
    max_age: float | None


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of store: the schemes of its URLs and, where it needs a driver, the extra that installs it."""

    name: str
    schemes: tuple[str, ...]
    make: Callable[[SplitResult, Options], Store]
    extra: str | None = None
    driver: str | None = None  # the module that the extra brings

    @property
    def installed(self) -> bool:
        """Whether its driver can be imported; that is not done here."""
        return self.driver is None or find_spec(self.driver) is not None

    @property
    def install_line(self) -> str:
        """The command that installs its driver."""
        return f'pip install "cartapp[{self.extra}]"'


def open_store(
    url: str,
    *,
    clock: Clock = now,
    timeout: float = 2.0,
    pool_size: int = 10,
    max_age: float | None = None,
) -> Store:
    """The store of a URL, not yet connected. `timeout` is in seconds, `pool_size` connections a process.

    `max_age`, in seconds, is what the sessions' own is at most. Redis uses it to forget a user's sessions in
    time; without it, it remembers their keys for 400 days after the last log-in, unless they end before.

    Raises `InvalidStoreURL`, and `MissingDriver` with the line that installs it.
    """
    parts = split_url(url)
    backend = backend_of(parts.scheme)
    if not backend.installed:
        raise MissingDriver(f"The {backend.name} backend needs a driver: {backend.install_line}")
    return backend.make(parts, Options(clock, timeout, pool_size, max_age))


def backend_of(scheme: str) -> Backend:
    """The backend that takes URLs of a scheme. Raises `InvalidStoreURL` when there is none."""
    for backend in BACKENDS:
        if scheme in backend.schemes:
            return backend
    if scheme.partition("+")[0] in DATABASE.schemes:  # after the plus stands a driver
        return DATABASE
    known = ", ".join(f"{scheme}://" for backend in BACKENDS for scheme in backend.schemes)
    raise InvalidStoreURL(
        f"There is no session store for {scheme or 'a URL without a scheme'}, only {known}."
    )


def _file(url: SplitResult, options: Options) -> Store:
    from .file import FileStore

    path = unquote(url.path)
    elsewhere = url.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path
    if elsewhere or url.query or url.fragment:
        raise InvalidStoreURL("A file store's URL is file:/// and an absolute path.")
    return FileStore(path, clock=options.clock)


def _memory(url: SplitResult, options: Options) -> Store:
    from .memory import MemoryStore

    if url.netloc or url.path or url.query or url.fragment:
        raise InvalidStoreURL("A memory store's URL is memory:// with nothing after it.")
    return MemoryStore(clock=options.clock)


def _database(url: SplitResult, options: Options) -> Store:
    from .engine import Database
    from .sql import SqlStore

    # Put together by hand: urlunsplit takes two of the slashes of sqlite:///path away.
    query = f"?{url.query}" if url.query else ""
    whole = f"{url.scheme}://{url.netloc}{url.path}{query}"
    database = Database(whole, pool_size=options.pool_size, timeout=options.timeout)
    return SqlStore(database, clock=options.clock)


def _cookie(url: SplitResult, options: Options) -> Store:  # noqa: ARG001 - the table's shape
    from .cookie import NoStore

    if url.netloc or url.path or url.query or url.fragment:
        raise InvalidStoreURL("The cookie backend's URL is cookie:// with nothing after it.")
    return NoStore()


def _redis(url: SplitResult, options: Options) -> Store:
    from .redis import RedisStore
    from .redis_url import parse

    return RedisStore(
        parse(url),
        clock=options.clock,
        timeout=options.timeout,
        pool_size=options.pool_size,
        max_age=options.max_age,
    )


def _memcached(url: SplitResult, options: Options) -> Store:
    from .memcached import MemcachedStore
    from .memcached_url import parse

    return MemcachedStore(
        parse(url), clock=options.clock, timeout=options.timeout, pool_size=options.pool_size
    )


def _redis_schemes(name: str, tls: str) -> tuple[str, ...]:
    return (
        name,
        tls,
        f"{name}+unix",
        *(f"{n}+{kind}" for kind in ("sentinel", "cluster") for n in (name, tls)),
    )


def _mongodb(url: SplitResult, options: Options) -> Store:
    from .mongodb import MongoStore
    from .mongodb_url import parse

    return MongoStore(parse(url), clock=options.clock, timeout=options.timeout, pool_size=options.pool_size)


DATABASE = Backend(
    "database", ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql", "firebird"), _database
)
"""Its drivers are known to its dialects: each engine has an extra of its own."""

BACKENDS: tuple[Backend, ...] = (
    Backend("file", ("file",), _file),
    Backend("memory", ("memory",), _memory),
    Backend("cookie", ("cookie",), _cookie),
    Backend("redis", _redis_schemes("redis", "rediss"), _redis, extra="redis", driver="redis"),
    Backend("valkey", _redis_schemes("valkey", "valkeys"), _redis, extra="valkey", driver="redis"),
    Backend("memcached", ("memcached",), _memcached),
    Backend("mongodb", ("mongodb", "mongodb+srv"), _mongodb, extra="mongodb", driver="pymongo"),
    DATABASE,
)
"""Every backend that is built."""
