"""What the operator does with users, from the command line.

Every method may raise `StoreUnavailable`, and those that name a user `NoSuchUser`.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from cartapp.schema import ShopDatabase
from cartapp.session.record import Clock, now

from . import attempts, events, users
from .errors import EmailTaken, NoSuchUser
from .passwords import Passwords, check_new, words_of
from .users import User


class UserAdministration:
    """The users of one database."""

    def __init__(
        self, database: ShopDatabase, *, passwords: Passwords | None = None, clock: Clock = now
    ) -> None:
        self._database = database
        self._passwords = passwords or Passwords()
        self._clock = clock

    async def add(self, email: str, name: str, password: str) -> User:
        """A new user. Raises `EmailTaken` and `WeakPassword`."""
        check_new(password, words=words_of(email, name))
        kept = await self._passwords.hash(password)

        def add(connection: Connection) -> User:
            if users.one(connection, users.having_email(email)) is not None:
                raise EmailTaken
            return users.add(connection, email, name, kept, self._clock())

        try:
            made = await self._database.run(add)
        except IntegrityError:
            raise EmailTaken from None
        events.record("registered", user=made.id, account=events.account(email))
        return made

    async def everybody(self) -> list[User]:
        """All users, by address."""
        return [User(**row._mapping) for row in await self._database.fetch(users.everybody())]

    async def set_password(self, email: str, password: str) -> None:
        """Give a user a new password, and end everything that was begun with the old one."""
        user = users.found(await self._database.fetch(users.having_email(email)))
        if user is None:
            raise NoSuchUser(email)
        check_new(password, words=words_of(user.email, user.name))
        kept = await self._passwords.hash(password)

        def change(connection: Connection, user: User) -> None:
            users.change(connection, user.id, password_hash=kept)
            users.end_everything(connection, user.id)
            attempts.forget(connection, users.email_key(email))

        await self._with_user(email, change)
        events.record("password_changed", user=user.id)

    async def disable(self, email: str) -> None:
        """Let a user not log in, and end everything that the user is logged in with."""

        def disable(connection: Connection, user: User) -> None:
            users.change(connection, user.id, disabled=True)
            users.end_everything(connection, user.id)

        events.record("user_disabled", user=(await self._with_user(email, disable)).id)

    async def enable(self, email: str) -> None:
        """Let a disabled user log in again."""

        def enable(connection: Connection, user: User) -> None:
            users.change(connection, user.id, disabled=False)
            attempts.forget(connection, users.email_key(email))

        events.record("user_enabled", user=(await self._with_user(email, enable)).id)

    async def remove(self, email: str) -> None:
        """Remove a user and everything that the user is logged in with."""
        removed = await self._with_user(email, lambda connection, user: users.remove(connection, user.id))
        events.record("user_removed", user=removed.id)

    async def _with_user(self, email: str, change: Callable[[Connection, User], Any]) -> User:
        def work(connection: Connection) -> User | None:
            user = users.one(connection, users.having_email(email))
            if user is not None:
                change(connection, user)
            return user

        user = await self._database.run(work)
        if user is None:
            raise NoSuchUser(email)
        return user
