"""Rows of users. Each function is a step of the caller's transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, case, delete, false, insert, select, update

from .addresses import email_key as email_key
from .addresses import lookup_keys
from .tables import LOGINS, REMEMBER_ME, USERS

_FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True)
class User:
    """A user; `created` is in milliseconds since 1970 UTC."""

    id: str
    email: str
    name: str
    password_hash: str
    epoch: int
    """Incremented to end all log-ins of the user."""
    disabled: bool
    created: int

    def __repr__(self) -> str:
        return f"User({self.id})"


_COLUMNS = tuple(USERS.c[name] for name in User.__slots__)


def add(connection: Connection, email: str, name: str, password_hash: str, now: int) -> User:
    """Add a user. Raises `IntegrityError` if the address is taken."""
    user = User(secrets.token_hex(16), email.strip(), name, password_hash, _FIRST_EPOCH, False, now)
    values = {name: getattr(user, name) for name in User.__slots__}
    connection.execute(insert(USERS).values(email_key=email_key(email), **values))
    return user


def select_by_email(email: str) -> Select[Any]:
    """Return the query for a user by e-mail address. Of several rows the first counts; see `lookup_keys`."""
    keys = lookup_keys(email)
    if len(keys) == 1:
        return select(*_COLUMNS).where(USERS.c.email_key == keys[0])
    order = case({key: place for place, key in enumerate(keys)}, value=USERS.c.email_key)
    return select(*_COLUMNS).where(USERS.c.email_key.in_(keys)).order_by(order)


def select_by_id(user_id: str) -> Select[Any]:
    """Return the query for a user by ID."""
    return select(*_COLUMNS).where(USERS.c.id == user_id)


def select_by_login(login_id: int) -> Select[Any]:
    """Return the query for the user of a valid log-in."""
    return select(*_COLUMNS).join(LOGINS, is_current()).where(LOGINS.c.id == login_id)


def select_all() -> Select[Any]:
    """Return the query for all users by e-mail address."""
    return select(*_COLUMNS).order_by(USERS.c.email)


def user_from_rows(rows: Sequence[Row[Any]]) -> User | None:
    """Return the user in the first row, or None."""
    return User(**rows[0]._mapping) if rows else None


def fetch_user(connection: Connection, query: Select[Any]) -> User | None:
    """Return the user that a query finds, or None."""
    return user_from_rows(connection.execute(query).all())


def is_current() -> Any:
    """Return the condition for a valid log-in: its user exists, is enabled, and has the same epoch."""
    return (
        (USERS.c.id == LOGINS.c.user_id) & (USERS.c.epoch == LOGINS.c.epoch) & (USERS.c.disabled == false())
    )


def change(connection: Connection, user_id: str, **values: Any) -> bool:
    """Set columns of a user. Return False if the user does not exist."""
    return connection.execute(update(USERS).where(USERS.c.id == user_id).values(**values)).rowcount > 0


def replace_hash(connection: Connection, user: User, password_hash: str) -> bool:
    """Set the password hash. Return False if the password has changed since `user` was read."""
    unchanged = (USERS.c.id == user.id) & (USERS.c.epoch == user.epoch)
    return connection.execute(update(USERS).where(unchanged).values(password_hash=password_hash)).rowcount > 0


def increment_epoch(connection: Connection, user: User) -> int:
    """Increment the epoch of a user and return it. `user` must be current in this transaction."""
    change(connection, user.id, epoch=user.epoch + 1)
    return user.epoch + 1


def end_all_logins(connection: Connection, user_id: str) -> None:
    """End all log-ins and remember-me tokens of a user."""
    change(connection, user_id, epoch=USERS.c.epoch + 1)
    login_ids = select(LOGINS.c.id).where(LOGINS.c.user_id == user_id)
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id.in_(login_ids)))
    connection.execute(delete(LOGINS).where(LOGINS.c.user_id == user_id))


def remove(connection: Connection, user_id: str) -> None:
    """Remove a user and all log-ins."""
    end_all_logins(connection, user_id)
    connection.execute(delete(USERS).where(USERS.c.id == user_id))
