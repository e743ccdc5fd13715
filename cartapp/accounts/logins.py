"""Log-ins and their remember-me tokens (selector and validator). Each function is a step of a transaction.

A log-in belongs to one device. Its sessions, begun with the password or the token, carry its ID and are valid
as long as its row exists. A log-out or a detected theft therefore ends every session of the device at its
next request, on every backend, including a copied encrypted cookie.
"""

import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from sqlalchemy import Connection, Select, delete, insert, select, update

from . import users
from .tables import LOGINS, REMEMBER_ME, USERS
from .users import User

TOKEN_LIFETIME: Final = 30 * 24 * 60 * 60 * 1000
"""Milliseconds for which a token is valid after its creation or last use."""

PREVIOUS_TOKEN_LIFETIME: Final = 60_000
"""Milliseconds for which the previous validator is accepted, for requests concurrent with the rotation."""

_TOKEN = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")
_BATCH = 1000  # log-ins removed in one step of a purge
_LOGIN_BITS = 53  # integers that JSON parsers keep exact


@dataclass(frozen=True, slots=True)
class Token:
    """Content of the cookie: the selector identifies the row, the validator is the secret."""

    selector: str
    validator: str

    def __str__(self) -> str:
        return f"{self.selector}.{self.validator}"

    def __repr__(self) -> str:
        return "Token(…)"

    @property
    def hash(self) -> str:
        """Hash of the validator in the table. A random secret needs no slow hash (ASVS 6.5.2)."""
        return sha256(self.validator.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RememberedLogin:
    """User of a token, and its successor; None if the previous token was used."""

    user: User
    login_id: int
    token: Token | None


@dataclass(frozen=True, slots=True)
class TokenReuse:
    """A used validator came again, so the token was copied. Its log-in was ended."""

    user_id: str
    login_id: int


def new_token(selector: str | None = None) -> Token:
    """Create a token: a selector of 128 random bits, unless given, and a validator of 256."""
    return Token(selector or secrets.token_hex(16), secrets.token_urlsafe(32))


def parse_token(text: str | None) -> Token | None:
    """Parse the value of the cookie; return None if it is invalid."""
    matched = _TOKEN.fullmatch(text or "")
    return Token(*matched.groups()) if matched else None


def add(connection: Connection, user: User, expires: int, token: Token | None, now: int) -> int:
    """Add a log-in, with a remember-me token if given, and return its ID. `expires`: see the table."""
    login_id = secrets.randbits(_LOGIN_BITS)
    connection.execute(insert(LOGINS).values(id=login_id, user_id=user.id, epoch=user.epoch, expires=expires))
    if token is not None:
        connection.execute(
            insert(REMEMBER_ME).values(
                selector=token.selector, login_id=login_id, validator_hash=token.hash, rotated=now
            )
        )
    return login_id


def use_token(
    connection: Connection, token: Token, successor: Token, expires: int, now: int
) -> RememberedLogin | TokenReuse | None:
    """Replace a token by its successor in one conditional UPDATE: of concurrent requests one rotates it.

    Return None for a token that is unknown, revoked or expired.
    """
    fits = (REMEMBER_ME.c.selector == token.selector) & (REMEMBER_ME.c.validator_hash == token.hash)
    rotated = connection.execute(
        update(REMEMBER_ME)
        .where(fits & (REMEMBER_ME.c.rotated > now - TOKEN_LIFETIME))
        .values(validator_hash=successor.hash, previous_hash=token.hash, rotated=now)
    ).rowcount
    columns = (REMEMBER_ME.c.login_id, REMEMBER_ME.c.previous_hash, REMEMBER_ME.c.rotated)
    row = connection.execute(select(*columns).where(REMEMBER_ME.c.selector == token.selector)).first()
    user = users.fetch_user(connection, users.select_by_login(row.login_id)) if row is not None else None
    if row is None or user is None or row.rotated <= now - TOKEN_LIFETIME:
        return None
    if rotated:
        connection.execute(update(LOGINS).where(LOGINS.c.id == row.login_id).values(expires=expires))
        return RememberedLogin(user, row.login_id, successor)
    if _is_previous(token, row.previous_hash, row.rotated, now):
        return RememberedLogin(user, row.login_id, None)
    end(connection, row.login_id)
    return TokenReuse(user.id, row.login_id)


def peek_token(connection: Connection, token: Token, now: int) -> User | None:
    """Return the user of a valid token without using it, or None."""
    columns = (REMEMBER_ME.c.login_id, REMEMBER_ME.c.validator_hash, REMEMBER_ME.c.previous_hash)
    found = select(*columns, REMEMBER_ME.c.rotated).where(REMEMBER_ME.c.selector == token.selector)
    row = connection.execute(found).first()
    if row is None or row.rotated <= now - TOKEN_LIFETIME:
        return None
    is_former = _is_previous(token, row.previous_hash, row.rotated, now)
    if not is_former and not compare_digest(row.validator_hash, token.hash):
        return None
    return users.fetch_user(connection, users.select_by_login(row.login_id))


def _is_previous(token: Token, previous_hash: str | None, rotated: int, now: int) -> bool:
    """Return whether a token was replaced moments ago. `abs` covers a clock that was set back."""
    return compare_digest(previous_hash or "", token.hash) and abs(now - rotated) < PREVIOUS_TOKEN_LIFETIME


def get_login_id(connection: Connection, token: Token) -> int | None:
    """Return the log-in ID of a token or of its predecessor, or None."""
    known = (REMEMBER_ME.c.validator_hash == token.hash) | (REMEMBER_ME.c.previous_hash == token.hash)
    found = select(REMEMBER_ME.c.login_id).where((REMEMBER_ME.c.selector == token.selector) & known)
    return connection.execute(found).scalar()


def end(connection: Connection, login_id: int) -> bool:
    """End a log-in with its sessions and its token. Return False if it does not exist."""
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id == login_id))
    return connection.execute(delete(LOGINS).where(LOGINS.c.id == login_id)).rowcount > 0


def end_others(connection: Connection, user_id: str, keep: int) -> None:
    """End all log-ins of a user except one."""
    others = select(LOGINS.c.id).where((LOGINS.c.user_id == user_id) & (LOGINS.c.id != keep))
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id.in_(others)))
    connection.execute(delete(LOGINS).where((LOGINS.c.user_id == user_id) & (LOGINS.c.id != keep)))


def move_to_epoch(connection: Connection, login_id: int, epoch: int) -> None:
    """Keep a log-in valid in a new epoch of its user, unless it was ended concurrently."""
    connection.execute(update(LOGINS).where(LOGINS.c.id == login_id).values(epoch=epoch))


def select_current(user_id: str) -> Select[tuple[int]]:
    """Return the query for the IDs of the valid log-ins of a user."""
    return select(LOGINS.c.id).join(USERS, users.is_current()).where(LOGINS.c.user_id == user_id)


def purge(connection: Connection, now: int, after: int | None) -> tuple[int, int | None]:
    """Remove up to a thousand log-ins that expired between `after` and `now`.

    Return their number, and the expiry of the last one or None at the end.
    """
    expired = (LOGINS.c.expires <= now) & (LOGINS.c.expires >= (after or 0))
    oldest = select(LOGINS.c.id, LOGINS.c.expires).where(expired).order_by(LOGINS.c.expires).limit(_BATCH)
    rows = connection.execute(oldest).all()
    ids = [row.id for row in rows]
    if not ids:
        return 0, None
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id.in_(ids)))
    removed = connection.execute(delete(LOGINS).where(LOGINS.c.id.in_(ids), LOGINS.c.expires <= now)).rowcount
    return removed, rows[-1].expires if len(rows) == _BATCH else None
