"""The tables of the accounts, as the migrations make them. Times are milliseconds since 1970 UTC.

What rows are looked up by is hexadecimal or a number, so that no engine's collation takes one for another:
MySQL's default, for one, holds `jose@` and `josé@` for equal.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Unicode,
    UniqueConstraint,
)

METADATA: Final = MetaData()

USERS: Final = Table(
    "cart_user",
    METADATA,
    Column("id", String(32), primary_key=True),  # random and never used again, unlike a counter's
    Column("email", Unicode(254), nullable=False),  # as it was typed
    Column("email_key", String(64), nullable=False),
    Column("name", Unicode(200), nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("email_key", name="cart_user_email"),
)

LOGINS: Final = Table(
    "cart_login",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", String(32), ForeignKey(USERS.c.id, ondelete="CASCADE"), nullable=False),
    Column("epoch", Integer, nullable=False),  # the user's when it was made; a higher one ends it
    Column("expires", BigInteger, nullable=False),  # nothing of it can be alive any more
    Index("cart_login_user", "user_id"),
    Index("cart_login_expires", "expires"),
)
"""A row for each device somebody is logged in on: a session is good as long as the row of its log-in is."""

REMEMBER_ME: Final = Table(
    "cart_remember_me",
    METADATA,
    Column("selector", String(32), primary_key=True),
    Column("login_id", BigInteger, ForeignKey(LOGINS.c.id, ondelete="CASCADE"), nullable=False),
    Column("validator_hash", String(64), nullable=False),
    Column("previous_hash", String(64)),
    Column("rotated", BigInteger, nullable=False),  # when the validator was made
    UniqueConstraint("login_id", name="cart_remember_me_one"),
)
"""The token of a log-in that is to be remembered."""

ATTEMPTS: Final = Table(
    "cart_attempt",
    METADATA,
    Column("subject", String(64), primary_key=True),
    Column("next_due", BigInteger, nullable=False),  # microseconds; see attempts.py
    Column("known_until", BigInteger, nullable=False),
)
