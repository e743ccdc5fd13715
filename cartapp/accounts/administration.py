"""User administration, for the command line.

Every method may raise `StoreUnavailable`, and methods for one user `NoSuchUser`.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from cartapp.database.shop import ShopDatabase
from cartapp.session import Clock, now

from . import events, rate_limit, users
from .errors import EmailTaken, NoSuchUser
from .passwords import Passwords, check_strength, personal_words
from .users import User


class UserAdministration:
    """Administration of the users in one database."""

    def __init__(
        self, database: ShopDatabase, *, passwords: Passwords | None = None, clock: Clock = now
    ) -> None:
        self._database = database
        self._passwords = passwords or Passwords()
        self._clock = clock

    async def add(self, email: str, name: str, password: str) -> User:
        """Add a user. Raises `EmailTaken` and `WeakPassword`."""
        check_strength(password, words=personal_words(email, name))
        password_hash = await self._passwords.hash(password)

        def add(connection: Connection) -> User:
            if users.fetch_user(connection, users.select_by_email(email)) is not None:
                raise EmailTaken
            return users.add(connection, email, name, password_hash, self._clock())

        try:
            user = await self._database.run(add)
        except IntegrityError:
            raise EmailTaken from None
        events.record("registered", user=user.id, account=events.account(email))
        return user

    async def list_users(self) -> list[User]:
        """Return all users by e-mail address."""
        return [User(**row._mapping) for row in await self._database.fetch(users.select_all())]

    async def find(self, user: str) -> User | None:
        """Return the user with this e-mail address or ID."""
        query = users.select_by_email(user) if "@" in user else users.select_by_id(user)
        return users.user_from_rows(await self._database.fetch(query))

    async def log_out(self, email: str) -> User:
        """End all log-ins and remember-me tokens of a user; the password stays. Return the user."""
        user = await self._with_user(
            email, lambda connection, user: users.end_all_logins(connection, user.id)
        )
        events.record("user_logged_out", user=user.id)
        return user

    async def set_password(self, email: str, password: str) -> None:
        """Set the password of a user and end all log-ins."""
        user = users.user_from_rows(await self._database.fetch(users.select_by_email(email)))
        if user is None:
            raise NoSuchUser(email)
        check_strength(password, words=personal_words(user.email, user.name))
        password_hash = await self._passwords.hash(password)

        def change(connection: Connection, user: User) -> None:
            users.change(connection, user.id, password_hash=password_hash)
            users.end_all_logins(connection, user.id)
            rate_limit.reset(connection, users.email_key(email))

        await self._with_user(email, change)
        events.record("password_changed", user=user.id)

    async def disable(self, email: str) -> None:
        """Disable a user and end all log-ins."""

        def disable(connection: Connection, user: User) -> None:
            users.change(connection, user.id, disabled=True)
            users.end_all_logins(connection, user.id)

        events.record("user_disabled", user=(await self._with_user(email, disable)).id)

    async def enable(self, email: str) -> None:
        """Enable a disabled user."""

        def enable(connection: Connection, user: User) -> None:
            users.change(connection, user.id, disabled=False)
            rate_limit.reset(connection, users.email_key(email))

        events.record("user_enabled", user=(await self._with_user(email, enable)).id)

    async def remove(self, email: str) -> None:
        """Remove a user and all log-ins."""
        removed = await self._with_user(email, lambda connection, user: users.remove(connection, user.id))
        events.record("user_removed", user=removed.id)

    async def _with_user(self, email: str, change: Callable[[Connection, User], Any]) -> User:
        def transaction(connection: Connection) -> User | None:
            user = users.fetch_user(connection, users.select_by_email(email))
            if user is not None:
                change(connection, user)
            return user

        user = await self._database.run(transaction)
        if user is None:
            raise NoSuchUser(email)
        return user
