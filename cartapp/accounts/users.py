"""The users' rows. Every function is one step of a transaction that the caller makes."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, case, delete, false, insert, select, update

from .addresses import email_key as email_key
from .addresses import lookup_keys
from .tables import LOGINS, REMEMBER_ME, USERS

_EPOCH_OF_NEW = 1


@dataclass(frozen=True, slots=True)
class User:
    """A user; `created` is in milliseconds since 1970 UTC."""

    id: str
    email: str
    name: str
    password_hash: str
    epoch: int
    """Raised to end everything that the user is logged in with."""
    disabled: bool
    created: int

    def __repr__(self) -> str:
        return f"User({self.id})"


_COLUMNS = tuple(USERS.c[name] for name in User.__slots__)


def add(connection: Connection, email: str, name: str, password_hash: str, now: int) -> User:
    """A new user. Raises `IntegrityError` when the address is taken."""
    made = User(secrets.token_hex(16), email.strip(), name, password_hash, _EPOCH_OF_NEW, False, now)
    values = {name: getattr(made, name) for name in User.__slots__}
    connection.execute(insert(USERS).values(email_key=email_key(email), **values))
    return made


def having_email(email: str) -> Select[Any]:
    """The query for the user with an address; see `lookup_keys` for the first of several rows."""
    keys = lookup_keys(email)
    if len(keys) == 1:
        return select(*_COLUMNS).where(USERS.c.email_key == keys[0])
    order = case({key: place for place, key in enumerate(keys)}, value=USERS.c.email_key)
    return select(*_COLUMNS).where(USERS.c.email_key.in_(keys)).order_by(order)


def having_id(user_id: str) -> Select[Any]:
    """The query for the user with an id."""
    return select(*_COLUMNS).where(USERS.c.id == user_id)


def having_login(login_id: int) -> Select[Any]:
    """The query for the user of a log-in that is still good."""
    return select(*_COLUMNS).join(LOGINS, is_current()).where(LOGINS.c.id == login_id)


def everybody() -> Select[Any]:
    """The query for all users, by address."""
    return select(*_COLUMNS).order_by(USERS.c.email)


def found(rows: Sequence[Row[Any]]) -> User | None:
    """The user that a query found."""
    return User(**rows[0]._mapping) if rows else None


def one(connection: Connection, query: Select[Any]) -> User | None:
    """The user that a query finds."""
    return found(connection.execute(query).all())


def is_current() -> Any:
    """The condition under which a log-in is good: the user is there, enabled, and of the same epoch."""
    return (
        (USERS.c.id == LOGINS.c.user_id) & (USERS.c.epoch == LOGINS.c.epoch) & (USERS.c.disabled == false())
    )


def change(connection: Connection, user_id: str, **values: Any) -> bool:
    """Set columns; False when there is no such user."""
    return connection.execute(update(USERS).where(USERS.c.id == user_id).values(**values)).rowcount > 0


def replace_hash(connection: Connection, user: User, password_hash: str) -> bool:
    """Set the password's hash; False when the password has changed since `user` was read."""
    unchanged = (USERS.c.id == user.id) & (USERS.c.epoch == user.epoch)
    return connection.execute(update(USERS).where(unchanged).values(password_hash=password_hash)).rowcount > 0


def raise_epoch(connection: Connection, user: User) -> int:
    """Begin a new epoch of a user, whose row this transaction has found unchanged; returns it."""
    change(connection, user.id, epoch=user.epoch + 1)
    return user.epoch + 1


def end_everything(connection: Connection, user_id: str) -> None:
    """Log the user out everywhere, remembered devices included."""
    change(connection, user_id, epoch=USERS.c.epoch + 1)
    of_user = select(LOGINS.c.id).where(LOGINS.c.user_id == user_id)
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id.in_(of_user)))
    connection.execute(delete(LOGINS).where(LOGINS.c.user_id == user_id))


def remove(connection: Connection, user_id: str) -> None:
    """Remove the user and all log-ins."""
    end_everything(connection, user_id)
    connection.execute(delete(USERS).where(USERS.c.id == user_id))
