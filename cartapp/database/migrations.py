"""Idempotent operations for migrations.

MySQL, MariaDB and Firebird commit each schema change separately. An interrupted migration is applied in part,
and continues there when it runs again.
"""

from collections.abc import Sequence
from typing import Any

from alembic import op
from sqlalchemy import Column, inspect
from sqlalchemy.schema import SchemaItem


def create_table(name: str, *parts: SchemaItem, **options: Any) -> None:
    """Create a table unless it exists."""
    if not _has_table(name):
        op.create_table(name, *parts, **options)


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Create an index unless it exists."""
    if not _has_index(table, name):
        op.create_index(name, table, columns)


def add_column(table: str, column: "Column[Any]") -> None:
    """Add a column unless it exists."""
    if not _has_column(table, column.name):
        op.add_column(table, column)


def drop_column(table: str, name: str) -> None:
    """Drop a column if it exists."""
    if op.get_context().as_sql or _has_column(table, name):
        op.drop_column(table, name, mssql_drop_default=True)


def drop_table(name: str) -> None:
    """Drop a table if it exists."""
    if op.get_context().as_sql or _has_table(name):
        op.drop_table(name)


def _has_table(name: str) -> bool:
    return not op.get_context().as_sql and inspect(op.get_bind()).has_table(name)


def _has_index(table: str, name: str) -> bool:
    if op.get_context().as_sql:
        return False
    return any(index["name"] == name for index in inspect(op.get_bind()).get_indexes(table))


def _has_column(table: str, name: str) -> bool:
    if op.get_context().as_sql:
        return False
    return any(column["name"] == name for column in inspect(op.get_bind()).get_columns(table))
