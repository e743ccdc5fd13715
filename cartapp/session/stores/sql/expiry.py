"""Find expired rows: by an index on the expiry, and on PostgreSQL by a coarser one.

The expiry changes with nearly every write. If it is indexed, PostgreSQL cannot make a HOT update: it writes
each update into all indexes and leaves dead entries there. So its table has a column for the ten-minute step
in which a row expires, which seldom changes and is indexed instead. The server computes it, so statements of
older versions, without the column, keep working.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    bindparam,
    column,
    delete,
    func,
    inspect,
    select,
    tuple_,
)

from .dialects import Dialect

_STEP: Final = 600_000  # milliseconds
_NAME: Final = "expires_step"
_COLUMN: Final[ColumnElement[int]] = column(_NAME, BigInteger)

_LAYOUT: Final = f"""
ALTER TABLE {{table}}
ADD COLUMN {_NAME} BIGINT GENERATED ALWAYS AS (expires / {_STEP}) STORED,
ADD CONSTRAINT {{table}}_{_NAME} UNIQUE ({_NAME}, skey),
DROP CONSTRAINT IF EXISTS {{table}}_expires,
SET (fillfactor = 85)
""".strip()  # a HOT update needs room on the row's page


def layout(table: Table, dialect: str) -> str | None:
    """Return the engine's additional statement after CREATE TABLE, or None."""
    return _LAYOUT.format(table=table.name) if dialect == "postgresql" else None


def apply_layout(table: Table, connection: Connection) -> None:
    """Apply the engine's layout to a new table, or to one of an older version, which takes a while."""
    statement = layout(table, connection.dialect.name)
    if statement is not None and not has_expiry_step(table, connection):
        connection.exec_driver_sql(statement)


def has_expiry_step(table: Table, connection: Connection) -> bool:
    """Whether the table has the coarser index."""
    if connection.dialect.name != "postgresql":
        return False
    return any(found["name"] == _NAME for found in inspect(connection).get_columns(table.name))


@dataclass(frozen=True, slots=True)
class Expired:
    """The expired rows of a table, removed in batches."""

    table: Table
    dialect: Dialect
    now: int
    by_step: bool = False
    """Whether the table has the coarser index; see `has_expiry_step`."""
    after: tuple[int, str] = (-(1 << 62), "")
    """Step and key of the last row found, so that live rows are skipped only once."""

    def count(self, connection: Connection) -> int:
        """Return their number."""
        query = select(func.count()).select_from(self.table).where(*self._conditions)
        return int(connection.execute(query, self._values).scalar_one())

    def remove(self, connection: Connection, limit: int) -> tuple[Self, int, int]:
        """Remove up to `limit` rows; return the rest, and the numbers of found and removed rows."""
        rows = connection.execute(self.query(limit), self._values).all()
        if not rows:
            return self, 0, 0
        keys = [row.skey for row in rows]
        removed = connection.execute(self.removal, {**self._values, "keys": keys}).rowcount
        return replace(self, after=(rows[-1][1], keys[-1])), len(rows), removed

    def query(self, limit: int) -> Select[Any]:
        """Return a query for up to `limit` rows, which locks them where the engine supports it."""
        position = _COLUMN if self.by_step else self.table.c.expires
        order = (position, self.table.c.skey) if self.by_step else (position,)
        query = select(self.table.c.skey, position).where(*self._conditions).order_by(*order).limit(limit)
        return self.dialect.skip_locked(query)

    @property
    def removal(self) -> Delete:
        """The statement that removes rows by `keys`."""
        among = self.table.c.skey.in_(bindparam("keys", expanding=True))
        return self.dialect.delete_by_key(delete(self.table).where(among, self._has_expired))

    @property
    def _values(self) -> dict[str, Any]:
        return {"now": self.now}

    @property
    def _has_expired(self) -> ColumnElement[bool]:
        return self.table.c.expires <= bindparam("now")

    @property
    def _conditions(self) -> list[ColumnElement[bool]]:
        if not self.by_step:
            return [self._has_expired]
        past = tuple_(_COLUMN, self.table.c.skey) > tuple_(*self.after)
        return [self._has_expired, _COLUMN.between(self.after[0], self.now // _STEP), past]
