"""Fixtures that every test may use."""

import pytest

pytest_plugins = [
    "tests.evidence",
    "tests.servers.firebird",
    "tests.servers.mariadb",
    "tests.servers.memcached",
    "tests.servers.mongodb",
    "tests.servers.postgresql",
    "tests.servers.redis",
    "tests.servers.valkey",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class ManualClock:
    """A clock that stands still until a test moves it. Calling it gives milliseconds since 1970."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
