"""Log-ins and their remember-me tokens (selector and validator). Each function is a step of a transaction.

A log-in is one device's: every session that begins with its password or its token carries its number, and is
good for as long as its row is. So a log-out, a theft or an end from elsewhere reaches every session of that
device at its next request, on every backend, a copied encrypted cookie included.
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

TOKEN_LIFE: Final = 30 * 24 * 60 * 60 * 1000
"""Milliseconds for which a token is good, anew after each use."""

FORMER_FOR: Final = 60_000
"""Milliseconds for which the former validator is honoured, for requests sent beside the one that used it."""

_TOKEN = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")
_BATCH = 1000  # log-ins that one step of a purge removes
_LOGIN_BITS = 53  # whole numbers that JSON readers keep exact


@dataclass(frozen=True, slots=True)
class Token:
    """What the cookie holds: the selector finds the row, the validator is the secret."""

    selector: str
    validator: str

    def __str__(self) -> str:
        return f"{self.selector}.{self.validator}"

    def __repr__(self) -> str:
        return "Token(…)"

    @property
    def hash(self) -> str:
        """What the table has of the validator, which is too random to need a slow hash (ASVS 6.5.2)."""
        return sha256(self.validator.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Recognised:
    """A remembered user, and the token that replaces the one that came; None when that was a former one."""

    user: User
    login_id: int
    token: Token | None


@dataclass(frozen=True, slots=True)
class Stolen:
    """A validator that was used up came again, so two have had the token: its log-in is ended."""

    user_id: str
    login_id: int


def new_token(selector: str | None = None) -> Token:
    """A token of 128 and 256 random bits, or the next one of a selector."""
    return Token(selector or secrets.token_hex(16), secrets.token_urlsafe(32))


def parse_token(text: str | None) -> Token | None:
    """The token in a cookie; None for anything that is none."""
    matched = _TOKEN.fullmatch(text or "")
    return Token(*matched.groups()) if matched else None


def begin(connection: Connection, user: User, expires: int, token: Token | None, now: int) -> int:
    """A new log-in, remembered when there is a token; returns its number. `expires`: see the table."""
    login_id = secrets.randbits(_LOGIN_BITS)
    connection.execute(insert(LOGINS).values(id=login_id, user_id=user.id, epoch=user.epoch, expires=expires))
    if token is not None:
        connection.execute(
            insert(REMEMBER_ME).values(
                selector=token.selector, login_id=login_id, validator_hash=token.hash, rotated=now
            )
        )
    return login_id


def use(
    connection: Connection, token: Token, after: Token, expires: int, now: int
) -> Recognised | Stolen | None:
    """Use a token: `after` replaces it in one conditional UPDATE, so that of many requests one rotates it.

    None for a token that is unknown, revoked or too old.
    """
    fits = (REMEMBER_ME.c.selector == token.selector) & (REMEMBER_ME.c.validator_hash == token.hash)
    rotated = connection.execute(
        update(REMEMBER_ME)
        .where(fits & (REMEMBER_ME.c.rotated > now - TOKEN_LIFE))
        .values(validator_hash=after.hash, previous_hash=token.hash, rotated=now)
    ).rowcount
    columns = (REMEMBER_ME.c.login_id, REMEMBER_ME.c.previous_hash, REMEMBER_ME.c.rotated)
    row = connection.execute(select(*columns).where(REMEMBER_ME.c.selector == token.selector)).first()
    user = users.one(connection, users.having_login(row.login_id)) if row is not None else None
    if row is None or user is None or row.rotated <= now - TOKEN_LIFE:
        return None
    if rotated:
        connection.execute(update(LOGINS).where(LOGINS.c.id == row.login_id).values(expires=expires))
        return Recognised(user, row.login_id, after)
    if _is_former(token, row.previous_hash, row.rotated, now):
        return Recognised(user, row.login_id, None)
    end(connection, row.login_id)
    return Stolen(user.id, row.login_id)


def peek(connection: Connection, token: Token, now: int) -> User | None:
    """The user of a token that `use` would take, which stays as it is."""
    columns = (REMEMBER_ME.c.login_id, REMEMBER_ME.c.validator_hash, REMEMBER_ME.c.previous_hash)
    found = select(*columns, REMEMBER_ME.c.rotated).where(REMEMBER_ME.c.selector == token.selector)
    row = connection.execute(found).first()
    if row is None or row.rotated <= now - TOKEN_LIFE:
        return None
    is_former = _is_former(token, row.previous_hash, row.rotated, now)
    if not is_former and not compare_digest(row.validator_hash, token.hash):
        return None
    return users.one(connection, users.having_login(row.login_id))


def _is_former(token: Token, previous_hash: str | None, rotated: int, now: int) -> bool:
    """Whether a token was replaced only just. After a clock was set back, one from ahead of it was not."""
    return compare_digest(previous_hash or "", token.hash) and abs(now - rotated) < FORMER_FOR


def login_of(connection: Connection, token: Token) -> int | None:
    """The log-in of a token that is good, or was the one before."""
    known = (REMEMBER_ME.c.validator_hash == token.hash) | (REMEMBER_ME.c.previous_hash == token.hash)
    found = select(REMEMBER_ME.c.login_id).where((REMEMBER_ME.c.selector == token.selector) & known)
    return connection.execute(found).scalar()


def end(connection: Connection, login_id: int) -> bool:
    """End a log-in: all its sessions, and its token; False when there was none."""
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id == login_id))
    return connection.execute(delete(LOGINS).where(LOGINS.c.id == login_id)).rowcount > 0


def end_others(connection: Connection, user_id: str, keep: int) -> None:
    """End all log-ins of a user but one."""
    others = select(LOGINS.c.id).where((LOGINS.c.user_id == user_id) & (LOGINS.c.id != keep))
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id.in_(others)))
    connection.execute(delete(LOGINS).where((LOGINS.c.user_id == user_id) & (LOGINS.c.id != keep)))


def carry_over(connection: Connection, login_id: int, epoch: int) -> None:
    """Let a log-in go on in a new epoch of its user; nothing happens when it was ended meanwhile."""
    connection.execute(update(LOGINS).where(LOGINS.c.id == login_id).values(epoch=epoch))


def current(user_id: str) -> Select[tuple[int]]:
    """The query for the numbers of a user's log-ins that are good."""
    return select(LOGINS.c.id).join(USERS, users.is_current()).where(LOGINS.c.user_id == user_id)


def purge(connection: Connection, now: int, after: int | None) -> tuple[int, int | None]:
    """Remove a thousand log-ins of which nothing can be alive, and that expired at `after` or later.

    Returns their number and the last one's expiry, None at the end.
    """
    dead = (LOGINS.c.expires <= now) & (LOGINS.c.expires >= (after or 0))
    oldest = select(LOGINS.c.id, LOGINS.c.expires).where(dead).order_by(LOGINS.c.expires).limit(_BATCH)
    rows = connection.execute(oldest).all()
    ids = [row.id for row in rows]
    if not ids:
        return 0, None
    connection.execute(delete(REMEMBER_ME).where(REMEMBER_ME.c.login_id.in_(ids)))
    removed = connection.execute(delete(LOGINS).where(LOGINS.c.id.in_(ids), LOGINS.c.expires <= now)).rowcount
    return removed, rows[-1].expires if len(rows) == _BATCH else None
