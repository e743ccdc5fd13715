"""Tables of the accounts, as the migrations create them. Times are milliseconds since 1970 UTC.

Lookup keys are hexadecimal or numbers, which no collation confuses. MySQL's default collation, for instance,
treats `jose@` and `josé@` as equal.
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
    Column("id", String(32), primary_key=True),  # random, and unlike a counter never reused
    Column("email", Unicode(254), nullable=False),  # as typed
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
    Column("epoch", Integer, nullable=False),  # the user's at creation; a higher one ends the log-in
    Column("expires", BigInteger, nullable=False),  # end of its last session and its token
    Index("cart_login_user", "user_id"),
    Index("cart_login_expires", "expires"),
)
"""One row per logged-in device. A session is valid as long as the row of its log-in exists."""

REMEMBER_ME: Final = Table(
    "cart_remember_me",
    METADATA,
    Column("selector", String(32), primary_key=True),
    Column("login_id", BigInteger, ForeignKey(LOGINS.c.id, ondelete="CASCADE"), nullable=False),
    Column("validator_hash", String(64), nullable=False),
    Column("previous_hash", String(64)),
    Column("rotated", BigInteger, nullable=False),  # creation time of the validator
    UniqueConstraint("login_id", name="cart_remember_me_one"),
)
"""Remember-me tokens, at most one per log-in."""

ATTEMPTS: Final = Table(
    "cart_attempt",
    METADATA,
    Column("subject", String(64), primary_key=True),
    Column("next_due", BigInteger, nullable=False),  # microseconds; see rate_limit.py
    Column("known_until", BigInteger, nullable=False),
)
