"""The category of a product."""

from sqlalchemy import Column, Unicode
from sqlalchemy.dialects import mysql

from cartapp.database.migrations import add_column, drop_column

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    text = Unicode(100).with_variant(mysql.VARCHAR(100, charset="utf8mb4"), "mysql", "mariadb")
    add_column("cart_product", Column("category", text, nullable=False, server_default=""))


def downgrade() -> None:
    drop_column("cart_product", "category")
