"""How rows that have expired are found: by an index on the expiry, and on PostgreSQL by a coarser one.

The expiry changes with nearly every write. Where it is indexed, PostgreSQL writes each update into all
indexes and leaves garbage there, since it makes no HOT update. So its table has a column for the ten minutes
in which a row expires, which seldom changes and is indexed in place of the expiry. The server computes it:
statements that do not know the column, such as those of an older version, go on working.
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
    """Return the statement that follows the table's own on this engine, if there is one."""
    return _LAYOUT.format(table=table.name) if dialect == "postgresql" else None


def lay_out(table: Table, connection: Connection) -> None:
    """Lay the table out for its engine: a new one, or one of an older version, which takes a while."""
    statement = layout(table, connection.dialect.name)
    if statement is not None and not has_steps(table, connection):
        connection.exec_driver_sql(statement)


def has_steps(table: Table, connection: Connection) -> bool:
    """Whether the table has the coarser index."""
    if connection.dialect.name != "postgresql":
        return False
    return any(found["name"] == _NAME for found in inspect(connection).get_columns(table.name))


@dataclass(frozen=True, slots=True)
class Expired:
    """The rows of a table that have expired at a time, some at a time."""

    table: Table
    dialect: Dialect
    now: int
    by_step: bool = False
    """Whether the table has the coarser index; see `has_steps`."""
    after: tuple[int, str] = (-(1 << 62), "")
    """The step and the key of the last row that was found, so that rows alive are passed only once."""

    def count(self, connection: Connection) -> int:
        """Return how many there are."""
        query = select(func.count()).select_from(self.table).where(*self._conditions)
        return int(connection.execute(query, self._values).scalar_one())

    def remove(self, connection: Connection, limit: int) -> tuple[Self, int, int]:
        """Remove up to `limit` rows; return what is left, and how many rows were found and removed."""
        rows = connection.execute(self.query(limit), self._values).all()
        if not rows:
            return self, 0, 0
        keys = [row.skey for row in rows]
        removed = connection.execute(self.removal, {**self._values, "keys": keys}).rowcount
        return replace(self, after=(rows[-1][1], keys[-1])), len(rows), removed

    def query(self, limit: int) -> Select[Any]:
        """Return the query that finds up to `limit` rows, and locks them where the engine can."""
        position = _COLUMN if self.by_step else self.table.c.expires
        order = (position, self.table.c.skey) if self.by_step else (position,)
        query = select(self.table.c.skey, position).where(*self._conditions).order_by(*order).limit(limit)
        return self.dialect.skip_locked(query)

    @property
    def removal(self) -> Delete:
        """The statement that removes the rows with given `keys`."""
        among = self.table.c.skey.in_(bindparam("keys", expanding=True))
        return self.dialect.by_key(delete(self.table).where(among, self._has_expired))

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
