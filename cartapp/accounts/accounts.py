"""Account operations of visitors. Each step is one transaction.

Methods with a password may raise `TooManyAttempts` and `TooBusy`, changing nothing. Every method may raise
`StoreUnavailable` if the database is unreachable; the outcome of the last transaction is then unknown.
`cartapp.web.account.operations` documents the order of these steps and those of the session.
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

from cartapp.database.shop import ShopDatabase
from cartapp.session import Clock, now

from . import events, logins, rate_limit, users
from .errors import EmailTaken, InvalidCredentials, TooBusy, TooManyAttempts, WeakPassword, WrongPassword
from .hashing_queue import HashingQueue
from .logins import RememberedLogin, Token, TokenReuse, new_token
from .passwords import Passwords, check_strength, personal_words
from .rate_limit import CountedAttempt, RateLimit, network_from_host
from .table_check import check_tables
from .tables import LOGINS, USERS
from .users import User

T = TypeVar("T")

_MAX_TRIES = 8  # of a transaction that conflicts with rows inserted by other workers
_EXPIRY_MARGIN: Final = 120_000  # milliseconds between the end of the last session and of the log-in's row

REPEAT_WINDOW: Final = 60_000
"""Milliseconds during which a repeated registration counts as the same one."""


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A created log-in: user, ID for the session, and the remember-me token if any."""

    user: User
    login_id: int
    token: Token | None


@dataclass(frozen=True, slots=True)
class PendingPasswordChange:
    """A verified password change; `login` is the log-in to keep."""

    login: NewLogin
    password_hash: str = field(repr=False)


class Accounts:
    """Accounts in one database. `session_age`: maximum age of sessions, in seconds."""

    def __init__(
        self,
        database: ShopDatabase,
        *,
        limit: RateLimit,
        session_age: float,
        passwords: Passwords | None = None,
        clock: Clock = now,
    ) -> None:
        self._database = database
        self._limit = limit
        self._session_age = round(session_age * 1000)
        self._clock = clock
        self.passwords = passwords or Passwords()
        self.hashing_queue = HashingQueue()

    # -- queries ------------------------------------------------------------------------------------------

    async def is_current(self, user_id: str, login_id: int) -> bool:
        """Return whether the log-in of a session is valid and its user enabled.

        Callback of the session library. Its "epoch" is the ID of the log-in.
        """
        current = select(USERS.c.id).join(LOGINS, users.is_current())
        query = current.where((LOGINS.c.id == login_id) & (USERS.c.id == user_id))
        return bool(await self._database.fetch(query))

    async def get_user(self, user_id: str) -> User | None:
        """Return a user by ID, or None."""
        return users.user_from_rows(await self._database.fetch(users.select_by_id(user_id)))

    # -- log-in -------------------------------------------------------------------------------------------

    async def register(self, email: str, name: str, password: str, *, client: str) -> NewLogin:
        """Add a user and log in. Raises `EmailTaken` and `WeakPassword`.

        The same address and password within a minute count as a retry after a lost response. One hash is
        computed whether or not the address is taken.
        """
        check_strength(password, words=personal_words(email, name))
        network = network_from_host(client)
        user = users.user_from_rows(await self._database.fetch(users.select_by_email(email)))
        is_repeated = user is not None and self._is_recent(user)
        async with self._count_attempt(
            email, network, limited="registration_limited", is_repeated=is_repeated
        ) as counted:
            if user is None or not is_repeated:
                added = await self._add(email, name, password, counted)
                if isinstance(added, NewLogin):
                    account = events.account(email)
                    events.record("registered", user=added.user.id, account=account, network=network)
                    return added
                user = added
            if self._is_recent(user) and await self._verify(counted, user, password):
                return await self._create_login(user, counted)
        events.record("registration_refused", account=events.account(email), network=network)
        raise EmailTaken

    async def log_in(self, email: str, password: str, *, client: str, remember: bool) -> NewLogin:
        """Log a user in. Raises `InvalidCredentials`.

        Neither the error nor the work shows whether the user exists (ASVS 6.3.8).
        """
        network = network_from_host(client)
        async with self._count_attempt(email, network) as counted:
            user = users.user_from_rows(await self._database.fetch(users.select_by_email(email)))
            is_correct = await self._verify(counted, user, password)
            if user is None or not is_correct or user.disabled:
                events.record("login_failed", account=events.account(email), network=network)
                raise InvalidCredentials
            password_hash = user.password_hash
            if self.passwords.is_outdated(password_hash):
                password_hash = await self._hash(counted, password)
            return await self._create_login(user, counted, password_hash=password_hash, remember=remember)

    async def log_in_with_token(self, token: Token, *, client: str) -> RememberedLogin | None:
        """Log in with a remember-me token; return None if it is invalid or expired.

        A used token that comes again ends its log-in: somewhere a copy exists.
        """
        successor, at = new_token(token.selector), self._clock()
        expires = self._expiry(at, remember=True)
        result = await self._run(
            lambda connection: logins.use_token(connection, token, successor, expires, at)
        )
        if isinstance(result, TokenReuse):
            events.record("remember_me_theft", user=result.user_id, network=network_from_host(client))
            return None
        if result is not None:
            events.record("login_remembered", user=result.user.id, network=network_from_host(client))
        return result

    async def get_remembered_user(self, token: Token) -> User | None:
        """Find the user that `log_in_with_token` would log in, without using the token."""
        return await self._run(lambda connection: logins.peek_token(connection, token, self._clock()))

    # -- log-out ------------------------------------------------------------------------------------------

    async def log_out(self, login_ids: Collection[int], token: Token | None, *, user_id: str | None) -> None:
        """End the log-ins of a device: those of its session and that of its token."""

        def end(connection: Connection) -> None:
            token_login = logins.get_login_id(connection, token) if token else None
            for login_id in {*login_ids, token_login}:
                if login_id is not None:
                    logins.end(connection, login_id)

        if login_ids or token is not None:
            await self._run(end)
        if user_id is not None:
            events.record("logged_out", user=user_id)

    async def end_login(self, user_id: str, login_id: int) -> bool:
        """End a log-in of a user. Return False if the user has no such log-in."""

        def end(connection: Connection) -> bool:
            own = connection.execute(logins.select_current(user_id).where(LOGINS.c.id == login_id)).first()
            return own is not None and logins.end(connection, login_id)

        return await self._run(end)

    async def end_other_logins(self, user_id: str, keep: int) -> None:
        """End all log-ins of a user except one."""
        await self._run(lambda connection: logins.end_others(connection, user_id, keep))

    async def list_login_ids(self, user_id: str) -> set[int]:
        """Return the IDs of the valid log-ins of a user."""
        return {row.id for row in await self._database.fetch(logins.select_current(user_id))}

    # -- changes ------------------------------------------------------------------------------------------

    async def prepare_password_change(
        self, user_id: str, current: str, new: str, *, client: str
    ) -> PendingPasswordChange:
        """Verify a password change and create the log-in that `commit_password_change` keeps.

        Raises `WrongPassword`, `WeakPassword`, and `InvalidCredentials` if the user was removed.
        """
        async with self._confirm_password(user_id, current, client, "password_change_failed") as (
            user,
            counted,
        ):
            try:
                check_strength(new, words=personal_words(user.email, user.name))
            except WeakPassword:
                await self._run(
                    lambda connection: rate_limit.record_success(connection, counted, self._clock())
                )
                raise
            password_hash = await self._hash(counted, new)
            return PendingPasswordChange(await self._create_login(user, counted), password_hash)

    async def commit_password_change(self, change: PendingPasswordChange, *, client: str) -> None:
        """Change the password and end all other log-ins, in one transaction.

        Raises `InvalidCredentials` if all log-ins of the user were ended concurrently.
        """
        user, keep = change.login.user, change.login.login_id

        def commit(connection: Connection) -> None:
            if not users.replace_hash(connection, user, change.password_hash):
                raise InvalidCredentials
            logins.end_others(connection, user.id, keep)
            logins.move_to_epoch(connection, keep, users.increment_epoch(connection, user))

        await self._run(commit)
        events.record("password_changed", user=user.id, network=network_from_host(client))

    async def log_in_if_correct(self, user_id: str, password: str, *, client: str) -> NewLogin | None:
        """Log a user in, or return None if the password is wrong."""
        user = await self.get_user(user_id)
        if user is None or user.disabled:
            return None
        async with self._count_attempt(user.email, network_from_host(client)) as counted:
            is_correct = await self._verify(counted, user, password)
            return await self._create_login(user, counted) if is_correct else None

    async def change_name(self, user_id: str, name: str) -> None:
        """Change the display name."""
        await self._run(lambda connection: users.change(connection, user_id, name=name))

    async def change_email(
        self, user_id: str, email: str, current: str, *, client: str, name: str | None = None
    ) -> None:
        """Change the e-mail address, and the name if given. Requires the password (ASVS 7.5.1).

        Raises `WrongPassword`, `EmailTaken`, and `InvalidCredentials` if the user was removed.
        """
        async with self._confirm_password(user_id, current, client, "email_change_failed") as (user, counted):

            def change(connection: Connection) -> None:
                rate_limit.record_success(connection, counted, self._clock())
                other = users.fetch_user(connection, users.select_by_email(email))
                if other is not None and other.id != user.id:
                    raise EmailTaken
                values = {"email": email.strip(), "email_key": users.email_key(email)}
                users.change(connection, user.id, **values, **({} if name is None else {"name": name}))

            await self._run(change)
        events.record("email_changed", user=user.id, network=network_from_host(client))

    async def check(self, *, registration: bool) -> None:
        """Check that requests can read and write every table. Raises `StoreUnavailable`.

        `registration`: whether visitors may register.
        """
        await self._database.run(partial(check_tables, registration=registration))

    async def purge(self, now: int) -> int:
        """Remove the expired rows at `now` (milliseconds) and return their number.

        Runs in small transactions, with a pause after each for as long as it took.
        """
        removed, clock = 0, asyncio.get_running_loop().time
        for purge in (logins.purge, rate_limit.purge):
            after: Any = None
            while True:
                start = clock()
                count, after = await self._run(partial(purge, now=now, after=after))
                removed += count
                if after is None:
                    break
                await asyncio.sleep(clock() - start)
        return removed

    # -- helpers ------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _count_attempt(
        self, email: str, network: str, *, limited: events.Event = "login_limited", is_repeated: bool = False
    ) -> AsyncIterator[CountedAttempt]:
        """Count an attempt and admit it to the hashing queue. Raises `TooBusy` before any write."""
        account = users.email_key(email)
        is_known = bool(
            await self._database.fetch(rate_limit.select_known_network(account, network, self._clock()))
        )

        def count(connection: Connection) -> CountedAttempt:
            at, limit = self._clock(), self._limit
            return rate_limit.count_attempt(
                connection, account, network, limit, at, is_known=is_known, is_repeated=is_repeated
            )

        try:
            with self.hashing_queue.admit(network, is_known=is_known):
                yield await self._run(count)
        except (TooBusy, TooManyAttempts) as error:
            event = limited if isinstance(error, TooManyAttempts) else "password_queue_full"
            events.record(event, account=events.account(email), network=network)
            raise

    def _is_recent(self, user: User) -> bool:
        """Return whether the registration of a user may be retried."""
        return self._clock() - user.created < REPEAT_WINDOW and not user.disabled

    async def _hash(self, counted: CountedAttempt, password: str) -> str:
        async with self._hashing_slot(counted):
            return await self.passwords.hash(password, is_known=counted.is_known)

    async def _verify(self, counted: CountedAttempt, user: User | None, password: str) -> bool:
        """Return whether the password is right. Without a user the work is the same."""
        async with self._hashing_slot(counted):
            password_hash = user.password_hash if user else None
            return await self.passwords.verify(password_hash, password, is_known=counted.is_known)

    @asynccontextmanager
    async def _hashing_slot(self, counted: CountedAttempt) -> AsyncIterator[None]:
        """Wait in the hashing queue. Raises `TooBusy` and refunds the attempt if the queue is full."""
        try:
            async with self.hashing_queue.acquire(
                counted.account, counted.network, is_known=counted.is_known
            ):
                yield
        except TooBusy:
            await self._run(lambda connection: rate_limit.refund(connection, counted))
            raise

    async def _add(self, email: str, name: str, password: str, counted: CountedAttempt) -> NewLogin | User:
        """Add a user and log in, or return the user that has the address."""
        password_hash = await self._hash(counted, password)

        def add(connection: Connection) -> NewLogin | User:
            other = users.fetch_user(connection, users.select_by_email(email))
            if other is not None:
                return other
            user = users.add(connection, email, name, password_hash, self._clock())
            rate_limit.record_success(connection, counted, self._clock(), is_registration=True)
            return self._insert_login(connection, user, remember=False)

        return await self._run(add)

    @asynccontextmanager
    async def _confirm_password(
        self, user_id: str, password: str, client: str, failure: events.Event
    ) -> AsyncIterator[tuple[User, CountedAttempt]]:
        """Verify the password of a user, rate-limited like a log-in."""
        user = await self.get_user(user_id)
        if user is None:
            raise InvalidCredentials
        async with self._count_attempt(user.email, network_from_host(client)) as counted:
            if not await self._verify(counted, user, password):
                events.record(failure, user=user.id, network=network_from_host(client))
                raise WrongPassword
            yield user, counted

    async def _create_login(
        self, user: User, counted: CountedAttempt, *, password_hash: str | None = None, remember: bool = False
    ) -> NewLogin:
        """Create a log-in after a right password. Raises `InvalidCredentials` if it changed concurrently."""

        def begin(connection: Connection) -> NewLogin:
            if not users.replace_hash(connection, user, password_hash or user.password_hash):
                raise InvalidCredentials
            rate_limit.record_success(connection, counted, self._clock())
            return self._insert_login(connection, user, remember=remember)

        return await self._run(begin)

    def _insert_login(self, connection: Connection, user: User, *, remember: bool) -> NewLogin:
        at = self._clock()
        token = new_token() if remember else None
        login_id = logins.add(connection, user, self._expiry(at, remember=remember), token, at)
        return NewLogin(user, login_id, token)

    def _expiry(self, at: int, *, remember: bool) -> int:
        """Return when the sessions and the token of a log-in that is created or used now have expired."""
        return at + max(self._session_age, logins.TOKEN_LIFETIME if remember else 0) + _EXPIRY_MARGIN

    async def _run(self, transaction: Callable[[Connection], T]) -> T:
        """Run a transaction, retrying with a pause if another worker inserts the same row.

        Firebird reports the conflict before the other transaction has committed.
        """
        for number in range(1, _MAX_TRIES):
            try:
                return await self._database.run(transaction)
            except IntegrityError:
                await asyncio.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311 - jitter
        return await self._database.run(transaction)
