"""Users, log-ins, remember-me tokens, attempts and products."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    String,
    Unicode,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from cartapp.database.migrations import create_index, create_table, drop_table

revision = "0001"
down_revision = None

OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}


def text(length: int) -> TypeEngine[str]:
    """Return a type for any characters, whatever the character set of the database."""
    return Unicode(length).with_variant(mysql.VARCHAR(length, charset="utf8mb4"), "mysql", "mariadb")


def upgrade() -> None:
    create_table(
        "cart_user",
        Column("id", String(32), nullable=False),
        Column("email", text(254), nullable=False),
        Column("email_key", String(64), nullable=False),
        Column("name", text(200), nullable=False),
        Column("password_hash", String(255), nullable=False),
        Column("epoch", Integer, nullable=False),
        Column("disabled", Boolean, nullable=False),
        Column("created", BigInteger, nullable=False),
        PrimaryKeyConstraint("id", name="cart_user_pk"),
        UniqueConstraint("email_key", name="cart_user_email"),
        **OPTIONS,
    )
    create_table(
        "cart_login",
        Column("id", BigInteger, autoincrement=False, nullable=False),
        Column("user_id", String(32), nullable=False),
        Column("epoch", Integer, nullable=False),
        Column("expires", BigInteger, nullable=False),
        PrimaryKeyConstraint("id", name="cart_login_pk"),
        ForeignKeyConstraint(["user_id"], ["cart_user.id"], name="cart_login_user_fk", ondelete="CASCADE"),
        **OPTIONS,
    )
    create_index("cart_login_user", "cart_login", ["user_id"])
    create_index("cart_login_expires", "cart_login", ["expires"])
    create_table(
        "cart_remember_me",
        Column("selector", String(32), nullable=False),
        Column("login_id", BigInteger, nullable=False),
        Column("validator_hash", String(64), nullable=False),
        Column("previous_hash", String(64)),
        Column("rotated", BigInteger, nullable=False),
        PrimaryKeyConstraint("selector", name="cart_remember_me_pk"),
        UniqueConstraint("login_id", name="cart_remember_me_one"),
        ForeignKeyConstraint(["login_id"], ["cart_login.id"], name="cart_remember_me_fk", ondelete="CASCADE"),
        **OPTIONS,
    )
    create_table(
        "cart_attempt",
        Column("subject", String(64), nullable=False),
        Column("next_due", BigInteger, nullable=False),
        Column("known_until", BigInteger, nullable=False),
        PrimaryKeyConstraint("subject", name="cart_attempt_pk"),
        **OPTIONS,
    )
    create_table(
        "cart_product",
        Column("id", BigInteger, autoincrement=False, nullable=False),
        Column("place", Integer, nullable=False),
        Column("name", text(200), nullable=False),
        Column("price", Integer, nullable=False),
        Column("description", text(1000), nullable=False),
        PrimaryKeyConstraint("id", name="cart_product_pk"),
        **OPTIONS,
    )
    create_index("cart_product_place", "cart_product", ["place"])


def downgrade() -> None:
    for name in ("cart_product", "cart_attempt", "cart_remember_me", "cart_login", "cart_user"):
        drop_table(name)
