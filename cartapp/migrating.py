"""Operations for migrations, each of which is left out where it was done already.

MySQL, MariaDB and Firebird commit every change of the schema by itself: a migration that was killed has made
a part of it, and goes on from there when it is run again.
"""

from collections.abc import Sequence
from typing import Any

from alembic import op
from sqlalchemy import inspect
from sqlalchemy.schema import SchemaItem


def create_table(name: str, *parts: SchemaItem, **options: Any) -> None:
    """Make a table."""
    if not _has_table(name):
        op.create_table(name, *parts, **options)


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Make an index."""
    if not _has_index(table, name):
        op.create_index(name, table, columns)


def drop_table(name: str) -> None:
    """Drop a table."""
    if op.get_context().as_sql or _has_table(name):
        op.drop_table(name)


def _has_table(name: str) -> bool:
    return not op.get_context().as_sql and inspect(op.get_bind()).has_table(name)


def _has_index(table: str, name: str) -> bool:
    if op.get_context().as_sql:
        return False
    return any(index["name"] == name for index in inspect(op.get_bind()).get_indexes(table))
