"""Run an operation on the configured sessions or database, and close the connection."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from . import output

if TYPE_CHECKING:
    from cartapp.accounts import User, UserAdministration
    from cartapp.database.shop import ShopDatabase
    from cartapp.session import Sessions

T = TypeVar("T")

_TIMEOUT = 60.0  # seconds of one database call; an operator's may be large


def with_sessions(operation: Callable[["Sessions"], Awaitable[T]]) -> T:
    """Return the result of `operation` on the configured session store."""
    import asyncio

    from cartapp.backends import open_sessions
    from cartapp.settings import load

    settings = load()

    async def run() -> T:
        async with open_sessions(settings) as sessions:
            return await operation(sessions)

    return asyncio.run(run())


def with_database(operation: Callable[["ShopDatabase"], Awaitable[T]], *, create: bool = False) -> T:
    """Return the result of `operation` on `DATABASE_URL`.

    A missing SQLite file is an error unless `create` is set.
    """
    import asyncio

    from cartapp.backends import check_exists
    from cartapp.database.shop import create_shop_database
    from cartapp.settings import load

    settings = load()
    if not create:
        check_exists(settings.database_url, "DATABASE_URL")

    async def run() -> T:
        database = create_shop_database(settings, timeout=_TIMEOUT)
        try:
            return await operation(database)
        finally:
            await database.close()

    return asyncio.run(run())


def with_users(operation: Callable[["UserAdministration"], Awaitable[T]], *, create: bool = False) -> T:
    """Return the result of `operation` on the users. For `create` see `with_database`."""
    from cartapp.accounts import UserAdministration

    return with_database(lambda database: operation(UserAdministration(database)), create=create)


def find_user(user: str) -> "User | None":
    """Return the account with this e-mail address or ID, None if there is no database or no such ID.

    Raises `NoSuchUser` for an e-mail address. Sessions may have the ID of a removed user.
    """
    from cartapp.accounts import NoSuchUser
    from cartapp.settings import SettingsError

    _check_text(user)
    try:
        found = with_users(lambda users: users.find(user))
    except SettingsError:
        if "@" in user:
            raise
        return None
    if found is None and "@" in user:
        raise NoSuchUser(user)
    return found


def user_id(user: str | None) -> str | None:
    """Return the ID of a user given by e-mail address or ID; an ID is not looked up."""
    if user is None:
        return None
    _check_text(user)
    if "@" not in user:
        return user
    found = find_user(user)
    return user if found is None else found.id


def check_user(user: str) -> None:
    """Print a notice and exit with status 1 if this ID is neither of an account nor of a session."""
    from cartapp.session.admin import Query, count_sessions

    if find_user(user) is None and not with_sessions(lambda open_: count_sessions(open_, Query(user))):
        output.print_notice(f"There is no user {user}, and no session of one.")
        raise typer.Exit(1)


def _check_text(user: str) -> None:
    """Raise `BadParameter` for an argument that is not UTF-8, which no store can look up."""
    if any("\ud800" <= character <= "\udfff" for character in user):
        raise typer.BadParameter("The user must be UTF-8 text.")
