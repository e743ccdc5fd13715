"""What visitors do with their accounts. Each step of it is one transaction.

Every method may raise `StoreUnavailable` when the database is out of reach.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from cartapp.schema import ShopDatabase
from cartapp.session.record import Clock, now

from . import attempts, events, logins, users
from .attempts import Counted, Limit, network_of
from .errors import EmailTaken, InvalidCredentials, TooManyAttempts, WeakPassword, WrongPassword
from .logins import Recognised, Stolen, Token, new_token
from .passwords import Passwords, check_new, words_of
from .tables import LOGINS, USERS
from .users import User

T = TypeVar("T")

_TRIES = 8  # at a transaction that adds rows, each of which another worker may add at the same moment
_SLACK: Final = 120_000  # milliseconds that a log-in's row outlives the last session it may have


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A log-in that succeeded: what the session is told, and the token for the cookie if there is one."""

    user: User
    login_id: int
    token: Token | None


class Accounts:
    """The accounts of one database. `session_age` is the absolute lifetime of sessions, in seconds."""

    def __init__(
        self,
        database: ShopDatabase,
        *,
        limit: Limit,
        session_age: float,
        passwords: Passwords | None = None,
        clock: Clock = now,
    ) -> None:
        self._database = database
        self._limit = limit
        self._session_age = round(session_age * 1000)
        self._clock = clock
        self.passwords = passwords or Passwords()

    # -- who it is ----------------------------------------------------------------------------------------

    async def is_current(self, user_id: str, login_id: int) -> bool:
        """Whether a session may go on: its log-in has not been ended and its user not disabled.

        The session layer's question: what it calls the epoch is the number of the log-in here.
        """
        good = select(USERS.c.id).join(LOGINS, users.is_current())
        found = good.where((LOGINS.c.id == login_id) & (USERS.c.id == user_id))
        return bool(await self._database.fetch(found))

    async def user(self, user_id: str) -> User | None:
        """A user by id."""
        return users.found(await self._database.fetch(users.having_id(user_id)))

    # -- beginning ----------------------------------------------------------------------------------------

    async def register(self, email: str, name: str, password: str, *, client: str) -> LoggedIn:
        """A new user, logged in. Raises `EmailTaken`, `WeakPassword` or `TooManyAttempts`."""
        check_new(password, words=words_of(email, name))
        network = network_of(client)
        counted = await self._count(email, network)
        kept = await self.passwords.hash(password)

        def add(connection: Connection) -> LoggedIn:
            if users.one(connection, users.having_email(email)) is not None:
                raise EmailTaken
            user = users.add(connection, email, name, kept, self._clock())
            attempts.forgive(connection, counted, self._clock())
            return self._begin(connection, user, remember=False)

        try:
            made = await self._do(add)
        except EmailTaken:
            events.record("registration_refused", account=events.account(email), network=network)
            raise
        events.record("registered", user=made.user.id, account=events.account(email), network=network)
        return made

    async def log_in(self, email: str, password: str, *, client: str, remember: bool) -> LoggedIn:
        """Log a user in. Raises `InvalidCredentials` or `TooManyAttempts`.

        Whether the user exists changes neither what is said nor what is done (ASVS 6.3.8).
        """
        network = network_of(client)
        counted = await self._count(email, network)
        user = users.found(await self._database.fetch(users.having_email(email)))
        right = await self.passwords.verify(user.password_hash if user else None, password)
        if user is None or not right or user.disabled:
            events.record("login_failed", account=events.account(email), network=network)
            raise InvalidCredentials
        outdated = self.passwords.is_outdated(user.password_hash)
        kept = await self.passwords.hash(password) if outdated else user.password_hash

        def begin(connection: Connection) -> LoggedIn:
            if not users.replace_hash(connection, user, kept):
                raise InvalidCredentials  # it was changed in this very moment
            attempts.forgive(connection, counted, self._clock())
            return self._begin(connection, user, remember=remember)

        made = await self._do(begin)
        events.record(
            "login_succeeded", user=user.id, network=network, remembered="yes" if remember else "no"
        )
        return made

    async def recognise(self, token: Token, *, client: str) -> Recognised | None:
        """The user whose device this token remembers; None when it does not, or does not any more.

        A token that was used up ends the log-in that it belonged to, since two have had it.
        """
        after, at = new_token(token.selector), self._clock()
        expires = self._expiry(at, remember=True)
        found = await self._do(lambda connection: logins.use(connection, token, after, expires, at))
        if isinstance(found, Stolen):
            events.record("remember_me_theft", user=found.user_id, network=network_of(client))
            return None
        if found is not None:
            events.record("login_remembered", user=found.user.id, network=network_of(client))
        return found

    async def remembered(self, token: Token) -> User | None:
        """The user whom `recognise` would find; the token stays as it is, and nothing is logged in."""
        return await self._do(lambda connection: logins.peek(connection, token, self._clock()))

    # -- ending -------------------------------------------------------------------------------------------

    async def log_out(self, login_id: int | None, token: Token | None, *, user_id: str | None) -> None:
        """End this device's log-in: that of its session, and that of its token."""

        def end(connection: Connection) -> None:
            of_token = logins.login_of(connection, token) if token else None
            for number in {login_id, of_token}:
                if number is not None:
                    logins.end(connection, number)

        if login_id is not None or token is not None:
            await self._do(end)
        if user_id is not None:
            events.record("logged_out", user=user_id)

    async def end_login(self, user_id: str, login_id: int) -> bool:
        """End one of a user's own log-ins; False when it is not one of them."""

        def end(connection: Connection) -> bool:
            own = connection.execute(logins.current(user_id).where(LOGINS.c.id == login_id)).first()
            return own is not None and logins.end(connection, login_id)

        return await self._do(end)

    async def end_other_logins(self, user_id: str, keep: int) -> None:
        """End all of a user's log-ins but one."""
        await self._do(lambda connection: logins.end_others(connection, user_id, keep))

    async def current_logins(self, user_id: str) -> set[int]:
        """The numbers of a user's log-ins that are good."""
        return {row.id for row in await self._database.fetch(logins.current(user_id))}

    # -- changing -----------------------------------------------------------------------------------------

    async def change_password(self, user_id: str, current: str, new: str, *, client: str) -> LoggedIn:
        """Change the password and end all log-ins; the one that is returned is new.

        Raises `WrongPassword`, `WeakPassword`, `TooManyAttempts`, and `InvalidCredentials` when the user
        is gone.
        """
        user, counted = await self._confirm(user_id, current, client, "password_change_failed")
        try:
            check_new(new, words=words_of(user.email, user.name))
        except WeakPassword:
            await self._do(lambda connection: attempts.forgive(connection, counted, self._clock()))
            raise
        kept = await self.passwords.hash(new)

        def change(connection: Connection) -> LoggedIn:
            changed = None
            if users.replace_hash(connection, user, kept):
                users.end_everything(connection, user.id)
                changed = users.one(connection, users.having_id(user.id))
            if changed is None:
                raise InvalidCredentials
            attempts.forgive(connection, counted, self._clock())
            return self._begin(connection, changed, remember=False)

        made = await self._do(change)
        events.record("password_changed", user=user.id, network=network_of(client))
        return made

    async def change_name(self, user_id: str, name: str) -> None:
        """Change the name that pages show."""
        await self._do(lambda connection: users.change(connection, user_id, name=name))

    async def change_email(self, user_id: str, email: str, current: str, *, client: str) -> None:
        """Change the address that the user logs in with, given the password (ASVS 7.5.1).

        Raises `WrongPassword`, `EmailTaken`, `TooManyAttempts`, and `InvalidCredentials` when the user is
        gone.
        """
        user, counted = await self._confirm(user_id, current, client, "email_change_failed")

        def change(connection: Connection) -> None:
            attempts.forgive(connection, counted, self._clock())
            other = users.one(connection, users.having_email(email))
            if other is not None and other.id != user.id:
                raise EmailTaken
            users.change(connection, user.id, email=email.strip(), email_key=users.email_key(email))

        await self._do(change)
        events.record("email_changed", user=user.id, network=network_of(client))

    async def purge(self, now: int) -> int:
        """Remove the rows that say nothing any more at `now` (milliseconds); returns their number."""
        return await self._do(
            lambda connection: logins.purge(connection, now) + attempts.purge(connection, now)
        )

    # -- steps --------------------------------------------------------------------------------------------

    async def _count(self, email: str, network: str) -> Counted:
        try:
            return await self._do(
                lambda connection: attempts.count(
                    connection, users.email_key(email), network, self._limit, self._clock()
                )
            )
        except TooManyAttempts:
            events.record("login_limited", account=events.account(email), network=network)
            raise

    async def _confirm(
        self, user_id: str, password: str, client: str, failure: events.Event
    ) -> tuple[User, Counted]:
        """The user, when this is the password; counted like a log-in."""
        user = await self.user(user_id)
        if user is None:
            raise InvalidCredentials
        counted = await self._count(user.email, network_of(client))
        if not await self.passwords.verify(user.password_hash, password):
            events.record(failure, user=user.id, network=network_of(client))
            raise WrongPassword
        return user, counted

    def _begin(self, connection: Connection, user: User, *, remember: bool) -> LoggedIn:
        at = self._clock()
        token = new_token() if remember else None
        login_id = logins.begin(connection, user, self._expiry(at, remember=remember), token, at)
        return LoggedIn(user, login_id, token)

    def _expiry(self, at: int, *, remember: bool) -> int:
        """When nothing of a log-in is alive any more that begins now, or whose token is used now."""
        return at + max(self._session_age, logins.TOKEN_LIFE if remember else 0) + _SLACK

    async def _do(self, work: Callable[[Connection], T]) -> T:
        """One transaction, tried again when another worker adds the same row at this moment.

        With a pause, since Firebird says so before that other one has committed.
        """
        for number in range(1, _TRIES):
            try:
                return await self._database.run(work)
            except IntegrityError:
                await asyncio.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311 - jitter, not a secret
        return await self._database.run(work)
