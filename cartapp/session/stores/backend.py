"""What a backend declares of itself: names, driver, limits, and how a URL becomes a store.

Each backend has one `Backend` in its own folder, and one line in `registry`. Declaring it imports neither the
store nor its driver.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import SplitResult

from ..record import Clock
from .base import Store


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Arguments of `open_store` besides the URL. Each store uses those that apply to it."""

    clock: Clock
    timeout: float
    pool_size: int
    max_age: float | None


@dataclass(frozen=True, slots=True)
class URLParts:
    """Settings that make up a store's URL where none is given. Each backend uses those that apply to it."""

    host: str
    port: int | None
    password: str | None
    database: str | None
    collection: str
    path: str
    database_url: str


class InvalidPart(ValueError):
    """A part that the backend does not accept: its name, and the end of a sentence about it."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"{part} {problem}")
        self.part: str = part
        self.problem: str = problem


@dataclass(frozen=True, slots=True)
class Backend:
    """One kind of store."""

    name: str
    schemes: tuple[str, ...]
    """Schemes of its URLs, such as `redis` and `redis+cluster`."""
    open: Callable[[SplitResult, StoreOptions], Store]
    """Create the store of a URL, not yet connected. Raises `InvalidStoreURL`."""
    build_url: Callable[[URLParts], str]
    """Return the URL for separate settings. Raises `InvalidPart`."""
    driver: str | None = None
    """The driver's module."""
    packages: tuple[str, ...] = ()
    """The packages that contain the driver; pyproject.toml has their versions in an extra."""
    size_limits: Mapping[str, int] = field(default_factory=dict)
    """The size of a session's data in bytes, by scheme, where the backend limits it."""
    local_schemes: tuple[str, ...] = ()
    """Schemes that need no server."""
    shared: bool = True
    """Whether several processes can use the same store."""
    any_driver: bool = False
    """Whether a URL may name any driver after a plus, as SQLAlchemy's do."""

    @property
    def installed(self) -> bool:
        """Whether the driver can be imported; this does not import it."""
        return self.driver is None or find_spec(self.driver) is not None

    @property
    def install_command(self) -> str:
        """The command that installs the driver."""
        return install_command(self.packages)

    def takes(self, scheme: str) -> bool:
        """Whether a URL with this scheme is the backend's."""
        return scheme in self.schemes or (self.any_driver and base_scheme(scheme) in self.schemes)


def install_command(packages: Iterable[str]) -> str:
    """Return the command that installs packages, whatever distribution contains this library."""
    return f"pip install {' '.join(shlex.quote(package) for package in packages)}"


def base_scheme(scheme: str) -> str:
    """Return the part before the plus: `redis` of `redis+cluster`, `postgresql` of `postgresql+asyncpg`."""
    return scheme.partition("+")[0]
