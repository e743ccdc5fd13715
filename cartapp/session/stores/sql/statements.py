"""The table of sessions, and the statements for single rows."""

import re
from functools import cache
from typing import Any, Final
from urllib.parse import SplitResult

from sqlalchemy import (
    Column,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine.interfaces import Dialect as EngineDialect

from ...errors import InvalidStoreURL
from .columns import DATA, KEY, NAME, NUMBER, TABLE_OPTIONS

TABLE_NAME: Final = "cart_session"
"""Default name of the table; the option `table` of a URL sets another one."""

_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,19}")  # with a suffix, within the 31 bytes of Firebird


class Statements:
    """A table of sessions and its statements, which are constant: drivers and SQLAlchemy cache them."""

    def __init__(self, name: str) -> None:
        table: Table = _make_table(name)
        columns = table.c
        live = columns.expires > bindparam("at")
        key = columns.skey == bindparam("seen_key")
        seen = (key, columns.version == bindparam("seen_version"))
        self.table: Table = table
        self.insert: Any = insert(table)
        record = (
            columns.version,
            columns.created,
            columns.last_used,
            columns.expires,
            columns.epoch,
            columns.user_id,
            columns.data,
        )
        self.load: Any = select(*record).where(key, live)
        among = columns.skey.in_(bindparam("keys", expanding=True))
        self.load_many: Any = select(columns.skey, *record).where(among, live)
        self.update: Any = update(table).where(*seen, live)
        """Sets the columns for which values are given."""
        self.delete: Any = delete(table).where(key)
        self.delete_seen: Any = delete(table).where(*seen, columns.last_used == bindparam("seen_use"))


@cache
def statements_for(name: str) -> Statements:
    """Return the statements of a table. Raises `InvalidStoreURL` for a name that is no plain identifier."""
    if not _IDENTIFIER.fullmatch(name):
        raise InvalidStoreURL(
            "The table in a store's URL must be a lower-case letter and up to 19 letters, digits and _; "
            f"got {name!r}."
        )
    return Statements(name)


def take_table(url: SplitResult) -> tuple[SplitResult, str]:
    """Return the URL without its option `table`, which drivers do not know, and the name of the table."""
    options = url.query.split("&") if url.query else []
    names = [option.partition("=")[2] for option in options if option.startswith("table=")]
    if not names:
        return url, TABLE_NAME
    others = [option for option in options if not option.startswith("table=")]
    return url._replace(query="&".join(others)), names[-1]


def _is_not_sqlite(*_: object, dialect: EngineDialect, **_options: object) -> bool:
    return dialect.name != "sqlite"


def _make_table(name: str) -> Table:
    """Return a table. Times are milliseconds since 1970; `size` is the length of `data`, 0 for a tombstone.

    The two indexes are unique constraints (always satisfied, since the key is unique): the same statement
    creates them and the table, so neither a crash nor another worker can intervene.
    """
    return Table(
        name,
        MetaData(),
        Column("skey", KEY, primary_key=True),
        Column("version", NUMBER, nullable=False),
        Column("created", NUMBER, nullable=False),
        Column("last_used", NUMBER, nullable=False),
        Column("expires", NUMBER, nullable=False),
        Column("user_id", NAME),
        Column("epoch", NUMBER, nullable=False),
        Column("size", NUMBER, nullable=False),
        Column("data", DATA, nullable=False),
        UniqueConstraint("expires", "skey", name=f"{name}_expires"),
        UniqueConstraint("user_id", "skey", name=f"{name}_user").ddl_if(callable_=_is_not_sqlite),
        # SQLite writes each index of a column that a statement sets, changed or not; most sessions have no
        # user.
        Index(f"{name}_user", "user_id", "skey", sqlite_where=text("user_id IS NOT NULL")).ddl_if("sqlite"),
        **TABLE_OPTIONS,
    )
