"""Runs what a command does with the database of accounts and catalogue."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ..accounts import UserAdministration
    from ..schema import ShopDatabase

T = TypeVar("T")


def with_database(work: Callable[["ShopDatabase"], Awaitable[T]]) -> T:
    """What `work` returns, given the database that DATABASE_URL names."""
    import asyncio

    from ..schema import shop_database
    from ..settings import load

    async def run() -> T:
        database = shop_database(load())
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def with_users(work: Callable[["UserAdministration"], Awaitable[T]]) -> T:
    """What `work` returns, given the users."""
    from ..accounts import UserAdministration

    return with_database(lambda database: work(UserAdministration(database)))
