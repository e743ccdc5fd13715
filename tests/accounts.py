"""Accounts on a real database with a clock of their own, and what tests of them say again and again."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from cartapp.accounts import Accounts, Limit, LoggedIn, UserAdministration
from cartapp.accounts.passwords import Passwords
from cartapp.accounts.turns import ROOM_OF_ONE, Turns
from cartapp.schema import ShopDatabase
from cartapp.session.record import Clock
from cartapp.session.stores.engine import Database

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"
EMAIL, NAME, PASSWORD = "alice@example.com", "Alice", "a long phrase of mine"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
WEEK = 7 * 24 * 60 * 60


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder}/cart.db"


def made(url: str, **options: Any) -> ShopDatabase:
    return ShopDatabase(Database(url, pool_size=8, timeout=20), timeout=20, **options)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[ShopDatabase]:
    database = made(url)
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def occupied(turns: Turns, network: str) -> Iterator[None]:
    """Let a network have taken all the room that it has."""
    with ExitStack() as taken:
        for _ in range(ROOM_OF_ONE):
            taken.enter_context(turns.room(network, is_known=False))
        yield


class CountingHasher(PasswordHasher):
    """A quick hash, and how often something was hashed or verified."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.work = 0

    def hash(self, *arguments: Any, **options: Any) -> str:
        self.work += 1
        return super().hash(*arguments, **options)

    def verify(self, *arguments: Any) -> Any:
        self.work += 1
        return super().verify(*arguments)


class House:
    """The accounts of a database, and their operator; with a hash that spares the tests' time."""

    def __init__(self, database: ShopDatabase, clock: Clock, limit: Limit = Limit(10, 60)) -> None:
        self.database = database
        passwords = Passwords(QUICK)
        self.accounts = Accounts(database, limit=limit, session_age=WEEK, passwords=passwords, clock=clock)
        self.operator = UserAdministration(database, passwords=passwords, clock=clock)

    async def alice(self, *, remember: bool = False) -> LoggedIn:
        """Alice, registered on the first call and logged in on each."""
        if not [user for user in await self.operator.everybody() if user.email == EMAIL]:
            await self.operator.add(EMAIL, NAME, PASSWORD)
        return await self.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=remember)

    async def change_password(self, made: LoggedIn, current: str, new: str) -> LoggedIn:
        """What the shop does, without a session; returns the log-in that goes on."""
        change = await self.accounts.begin_password_change(made.user.id, current, new, client=HERE)
        await self.accounts.make_password_change(change, client=HERE)
        return change.made

    async def is_in(self, made: LoggedIn) -> bool:
        """Whether a session of this log-in would be let in."""
        return await self.accounts.is_current(made.user.id, made.login_id)
