"""What visitors do with their accounts. Each step of it is one transaction.

Methods that take a password may raise `TooManyAttempts` and `TooBusy`, with nothing changed. Every method may
raise `StoreUnavailable` when the database is out of reach; whether its last transaction took effect is not
known then. The order of these steps and those of the session: `cartapp.web.entry`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from cartapp.schema import ShopDatabase
from cartapp.session.record import Clock, now

from . import attempts, events, logins, users
from .attempts import Counted, Limit, network_of
from .errors import EmailTaken, InvalidCredentials, TooBusy, TooManyAttempts, WeakPassword, WrongPassword
from .logins import Recognised, Stolen, Token, new_token
from .passwords import Passwords, check_new, words_of
from .tables import LOGINS, USERS
from .trial import try_tables
from .turns import Turns
from .users import User

T = TypeVar("T")

_TRIES = 8  # at a transaction that adds rows, each of which another worker may add at the same moment
_SLACK: Final = 120_000  # milliseconds that a log-in's row outlives the last session it may have

REPEATED_WITHIN: Final = 60_000
"""Milliseconds for which a registration that comes again counts as the same one."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A log-in that has a row: what the session carries, and the token for the cookie if there is one."""

    user: User
    login_id: int
    token: Token | None


@dataclass(frozen=True, slots=True)
class PendingPassword:
    """A password that may be changed now; `made` is the log-in that goes on after that."""

    made: LoggedIn
    password_hash: str = field(repr=False)


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
        self.turns = Turns()

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
        """A new user, with a log-in. Raises `EmailTaken` or `WeakPassword`.

        The same address and password within a minute are the same registration, whose response was lost.
        Whether the address is taken does not change the work: one hash.
        """
        check_new(password, words=words_of(email, name))
        network = network_of(client)
        user = users.found(await self._database.fetch(users.having_email(email)))
        is_repeated = user is not None and self._is_recent(user)
        async with self._attempt(
            email, network, limited="registration_limited", is_repeated=is_repeated
        ) as counted:
            if user is None or not is_repeated:
                added = await self._add(email, name, password, counted)
                if isinstance(added, LoggedIn):
                    account = events.account(email)
                    events.record("registered", user=added.user.id, account=account, network=network)
                    return added
                user = added
            if self._is_recent(user) and await self._verify(counted, user, password):
                return await self._begun(user, counted)
        events.record("registration_refused", account=events.account(email), network=network)
        raise EmailTaken

    async def log_in(self, email: str, password: str, *, client: str, remember: bool) -> LoggedIn:
        """A new log-in of a user. Raises `InvalidCredentials`.

        Whether the user exists changes neither what is said nor what is done (ASVS 6.3.8).
        """
        network = network_of(client)
        async with self._attempt(email, network) as counted:
            user = users.found(await self._database.fetch(users.having_email(email)))
            right = await self._verify(counted, user, password)
            if user is None or not right or user.disabled:
                events.record("login_failed", account=events.account(email), network=network)
                raise InvalidCredentials
            kept = user.password_hash
            if self.passwords.is_outdated(kept):
                kept = await self._hash(counted, password)
            return await self._begun(user, counted, password_hash=kept, remember=remember)

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

    async def log_out(self, login_ids: Collection[int], token: Token | None, *, user_id: str | None) -> None:
        """End this device's log-ins: those of its session, and that of its token."""

        def end(connection: Connection) -> None:
            of_token = logins.login_of(connection, token) if token else None
            for number in {*login_ids, of_token}:
                if number is not None:
                    logins.end(connection, number)

        if login_ids or token is not None:
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

    async def begin_password_change(
        self, user_id: str, current: str, new: str, *, client: str
    ) -> PendingPassword:
        """Begin the log-in that `make_password_change` keeps; until then the password is the current one.

        Raises `WrongPassword`, `WeakPassword`, and `InvalidCredentials` when the user is gone.
        """
        async with self._confirmed(user_id, current, client, "password_change_failed") as (user, counted):
            try:
                check_new(new, words=words_of(user.email, user.name))
            except WeakPassword:
                await self._do(lambda connection: attempts.record_success(connection, counted, self._clock()))
                raise
            password_hash = await self._hash(counted, new)
            return PendingPassword(await self._begun(user, counted), password_hash)

    async def make_password_change(self, change: PendingPassword, *, client: str) -> None:
        """Change the password and end all other log-ins, in one transaction.

        Raises `InvalidCredentials` when all of the user's log-ins were ended meanwhile.
        """
        user, keep = change.made.user, change.made.login_id

        def work(connection: Connection) -> None:
            if not users.replace_hash(connection, user, change.password_hash):
                raise InvalidCredentials
            logins.end_others(connection, user.id, keep)
            logins.carry_over(connection, keep, users.raise_epoch(connection, user))

        await self._do(work)
        events.record("password_changed", user=user.id, network=network_of(client))

    async def log_in_again(self, user_id: str, password: str, *, client: str) -> LoggedIn | None:
        """A new log-in of a user whose password this is; otherwise None."""
        user = await self.user(user_id)
        if user is None or user.disabled:
            return None
        async with self._attempt(user.email, network_of(client)) as counted:
            right = await self._verify(counted, user, password)
            return await self._begun(user, counted) if right else None

    async def change_name(self, user_id: str, name: str) -> None:
        """Change the name that pages show."""
        await self._do(lambda connection: users.change(connection, user_id, name=name))

    async def change_email(
        self, user_id: str, email: str, current: str, *, client: str, name: str | None = None
    ) -> None:
        """Change the address that the user logs in with, given the password (ASVS 7.5.1); and the name.

        Raises `WrongPassword`, `EmailTaken`, and `InvalidCredentials` when the user is gone.
        """
        async with self._confirmed(user_id, current, client, "email_change_failed") as (user, counted):

            def change(connection: Connection) -> None:
                attempts.record_success(connection, counted, self._clock())
                other = users.one(connection, users.having_email(email))
                if other is not None and other.id != user.id:
                    raise EmailTaken
                values = {"email": email.strip(), "email_key": users.email_key(email)}
                users.change(connection, user.id, **values, **({} if name is None else {"name": name}))

            await self._do(change)
        events.record("email_changed", user=user.id, network=network_of(client))

    async def check(self) -> None:
        """Try on every table what requests do with it, and leave nothing. Raises `StoreUnavailable`."""
        await self._database.run(try_tables)

    async def purge(self, now: int) -> int:
        """Remove the rows that say nothing any more at `now` (milliseconds); returns their number.

        In small transactions; after each others have the database for as long as it took.
        """
        removed, clock = 0, asyncio.get_running_loop().time
        for purge in (logins.purge, attempts.purge):
            after: Any = None
            while True:
                began = clock()
                gone, after = await self._do(partial(purge, now=now, after=after))
                removed += gone
                if after is None:
                    break
                await asyncio.sleep(clock() - began)
        return removed

    # -- steps --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _attempt(
        self, email: str, network: str, *, limited: events.Event = "login_limited", is_repeated: bool = False
    ) -> AsyncIterator[Counted]:
        """Count an attempt, which has room for the block. Raises `TooBusy` before anything is written."""
        account = users.email_key(email)
        is_known = bool(await self._database.fetch(attempts.known(account, network, self._clock())))

        def count(connection: Connection) -> Counted:
            at, limit = self._clock(), self._limit
            return attempts.count(
                connection, account, network, limit, at, is_known=is_known, is_repeated=is_repeated
            )

        try:
            with self.turns.room(network, is_known=is_known):
                yield await self._do(count)
        except (TooBusy, TooManyAttempts) as error:
            event = limited if isinstance(error, TooManyAttempts) else "password_queue_full"
            events.record(event, account=events.account(email), network=network)
            raise

    def _is_recent(self, user: User) -> bool:
        """Whether a user registered so lately that the same registration may come again."""
        return self._clock() - user.created < REPEATED_WITHIN and not user.disabled

    async def _hash(self, counted: Counted, password: str) -> str:
        async with self._turn(counted):
            return await self.passwords.hash(password)

    async def _verify(self, counted: Counted, user: User | None, password: str) -> bool:
        """Whether this is the user's password; the same work when there is no user."""
        async with self._turn(counted):
            return await self.passwords.verify(user.password_hash if user else None, password)

    @asynccontextmanager
    async def _turn(self, counted: Counted) -> AsyncIterator[None]:
        """Wait for the turn of a counted attempt to hash. Raises `TooBusy`; then it does not count."""
        try:
            async with self.turns.take(counted.account, counted.network, is_known=counted.is_known):
                yield
        except TooBusy:
            await self._do(lambda connection: attempts.refund(connection, counted))
            raise

    async def _add(self, email: str, name: str, password: str, counted: Counted) -> LoggedIn | User:
        """Add a user, with a log-in; or return the user who has the address."""
        password_hash = await self._hash(counted, password)

        def add(connection: Connection) -> LoggedIn | User:
            other = users.one(connection, users.having_email(email))
            if other is not None:
                return other
            user = users.add(connection, email, name, password_hash, self._clock())
            attempts.record_success(connection, counted, self._clock(), is_registration=True)
            return self._begin(connection, user, remember=False)

        return await self._do(add)

    @asynccontextmanager
    async def _confirmed(
        self, user_id: str, password: str, client: str, failure: events.Event
    ) -> AsyncIterator[tuple[User, Counted]]:
        """The user, when this is the password; counted like a log-in."""
        user = await self.user(user_id)
        if user is None:
            raise InvalidCredentials
        async with self._attempt(user.email, network_of(client)) as counted:
            if not await self._verify(counted, user, password):
                events.record(failure, user=user.id, network=network_of(client))
                raise WrongPassword
            yield user, counted

    async def _begun(
        self, user: User, counted: Counted, *, password_hash: str | None = None, remember: bool = False
    ) -> LoggedIn:
        """A new log-in of a user whose password was right; raises `InvalidCredentials` if it is no more."""

        def begin(connection: Connection) -> LoggedIn:
            if not users.replace_hash(connection, user, password_hash or user.password_hash):
                raise InvalidCredentials  # it was changed in this very moment
            attempts.record_success(connection, counted, self._clock())
            return self._begin(connection, user, remember=remember)

        return await self._do(begin)

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
