"""All backends, and `open_store`.

A backend consists of a folder, or a module, with its `Backend`, and one line in `BACKENDS`.
"""

from ..arguments import check_count
from ..durations import Duration, to_seconds
from ..errors import InvalidStoreURL, MissingDriver
from ..record import Clock, now
from .backend import Backend, StoreOptions
from .base import Store
from .cookie import COOKIE
from .file.backend import FILE
from .memcached.backend import MEMCACHED
from .memory import MEMORY
from .mongodb.backend import MONGODB
from .redis.backend import REDIS, VALKEY
from .sql.backend import DATABASE
from .urls import AMBIGUOUS_URL, is_ambiguous, split_url

BACKENDS: tuple[Backend, ...] = (
    FILE,
    MEMORY,
    COOKIE,
    REDIS,
    VALKEY,
    MEMCACHED,
    MONGODB,
    DATABASE,
)
"""All backends, in the order of the documentation."""


def open_store(
    url: str,
    *,
    clock: Clock = now,
    timeout: Duration = 2.0,
    pool_size: int = 10,
    max_age: Duration | None = None,
) -> Store:
    """Create the store of a URL, not yet connected.

    `timeout` and `max_age` are in seconds, or timedeltas; `pool_size` counts the connections of this process.
    `max_age` is the sessions' maximum age: Redis keeps the index of a user's sessions for that long after the
    last log-in, and for 400 days without it.

    Raises TypeError or ValueError for an impossible argument, `InvalidStoreURL`, and `MissingDriver` with the
    command that installs the driver.
    """
    if not isinstance(url, str):
        raise TypeError(f"open_store: expected a URL such as redis://localhost, got {url!r}.")
    check_count("open_store: pool_size", pool_size)
    age = None if max_age is None else to_seconds("open_store: max_age", max_age)
    options = StoreOptions(clock, to_seconds("open_store: timeout", timeout), pool_size, age)
    parts = split_url(url)
    backend = find_backend(parts.scheme)
    if not backend.installed:
        raise MissingDriver(f"The {backend.name} backend needs a driver: {backend.install_command}")
    try:
        return backend.open(parts, options)
    except InvalidStoreURL:
        if is_ambiguous(parts):
            raise InvalidStoreURL(AMBIGUOUS_URL) from None
        raise


def get_backend(name: str) -> Backend:
    """Return the backend with this name. Raises `KeyError`."""
    return {backend.name: backend for backend in BACKENDS}[name]


def find_backend(scheme: str) -> Backend:
    """Return the backend that takes URLs with this scheme. Raises `InvalidStoreURL` if none does."""
    for backend in BACKENDS:
        if backend.takes(scheme):
            return backend
    known = ", ".join(f"{scheme}://" for backend in BACKENDS for scheme in backend.schemes)
    raise InvalidStoreURL(
        f"No session store for {scheme or 'a URL without a scheme'}; expected one of {known}."
    )
