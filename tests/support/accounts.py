"""Accounts on a real database with a manual clock."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from cartapp.accounts import Accounts, NewLogin, RateLimit, UserAdministration
from cartapp.accounts.hashing_queue import MAX_ATTEMPTS_PER_SUBJECT, HashingQueue
from cartapp.accounts.passwords import Passwords
from cartapp.database.shop import ShopDatabase
from cartapp.session.record import Clock
from cartapp.session.stores.sql.engine import Database

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"
EMAIL, NAME, PASSWORD = "alice@example.com", "Alice", "a long phrase of mine"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
WEEK = 7 * 24 * 60 * 60


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/cart.db"


def create_database(url: str, **options: Any) -> ShopDatabase:
    return ShopDatabase(Database(url, pool_size=8, timeout=20), **options)


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[ShopDatabase]:
    database = create_database(url)
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def fill_hashing_queue(queue: HashingQueue, network: str) -> Iterator[None]:
    """Occupy every place of a network in the hashing queue."""
    with ExitStack() as taken:
        for is_known in [True, False] * MAX_ATTEMPTS_PER_SUBJECT:
            taken.enter_context(queue.admit(network, is_known=is_known))
        yield


class CountingHasher(PasswordHasher):
    """A fast hasher that counts its calls."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.calls = 0

    def hash(self, *arguments: Any, **options: Any) -> str:
        self.calls += 1
        return super().hash(*arguments, **options)

    def verify(self, *arguments: Any) -> Any:
        self.calls += 1
        return super().verify(*arguments)


class AccountsEnvironment:
    """Accounts and user administration over one database, with a fast password hash."""

    def __init__(self, database: ShopDatabase, clock: Clock, limit: RateLimit = RateLimit(10, 60)) -> None:
        self.database = database
        passwords = Passwords(QUICK)
        self.accounts = Accounts(database, limit=limit, session_age=WEEK, passwords=passwords, clock=clock)
        self.operator = UserAdministration(database, passwords=passwords, clock=clock)

    async def alice(self, *, remember: bool = False) -> NewLogin:
        """Log in Alice, registering her on the first call."""
        if not [user for user in await self.operator.list_users() if user.email == EMAIL]:
            await self.operator.add(EMAIL, NAME, PASSWORD)
        return await self.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=remember)

    async def change_password(self, login: NewLogin, current: str, new: str) -> NewLogin:
        """Change a password as the shop does, without a session; return the new log-in."""
        change = await self.accounts.prepare_password_change(login.user.id, current, new, client=HERE)
        await self.accounts.commit_password_change(change, client=HERE)
        return change.login

    async def is_in(self, login: NewLogin) -> bool:
        """Whether a session of this log-in is still valid."""
        return await self.accounts.is_current(login.user.id, login.login_id)
