"""Runs what a command does, on the sessions or on the database that the settings choose, and closes these."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ..accounts import UserAdministration
    from ..schema import ShopDatabase
    from ..session.sessions import Sessions

T = TypeVar("T")

_TIMEOUT = 60.0  # seconds for one step of an operator's, which may be larger than any visitor's


def with_sessions(work: Callable[["Sessions"], Awaitable[T]]) -> T:
    """What `work` returns, given the sessions of the store that the settings choose."""
    import asyncio

    from ..settings import load
    from ..start import opened_sessions

    settings = load()

    async def run() -> T:
        async with opened_sessions(settings) as sessions:
            return await work(sessions)

    return asyncio.run(run())


def with_database(work: Callable[["ShopDatabase"], Awaitable[T]], *, new: bool = False) -> T:
    """What `work` returns, given the database of accounts and catalogue that DATABASE_URL names.

    A file is made only where `new` says that there may be no shop yet.
    """
    import asyncio

    from ..schema import shop_database
    from ..settings import load
    from ..start import check_place

    settings = load()
    if not new:
        check_place(settings.database_url, "DATABASE_URL")

    async def run() -> T:
        database = shop_database(settings, timeout=_TIMEOUT)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def with_users(work: Callable[["UserAdministration"], Awaitable[T]], *, new: bool = False) -> T:
    """What `work` returns, given the users; for `new` see `with_database`."""
    from ..accounts import UserAdministration

    return with_database(lambda database: work(UserAdministration(database)), new=new)
