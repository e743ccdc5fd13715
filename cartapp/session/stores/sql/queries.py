"""Statements of operators: the first sessions in an order, pages, counts, totals, and bulk deletion."""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
)

from ...record import Summary
from ..queries import Order, Query, Totals

SUMMARY: Final = ("skey", "created", "last_used", "expires", "size", "version", "user_id")
"""The columns of a summary."""

DELETED_TOGETHER: Final = 100
"""Rows of one deletion; SQL Server takes 2,100 parameters, three for each row."""


def top(table: Table, query: Query, order: Order, limit: int) -> Select[Any]:
    """Return the query for the first rows in an order."""
    user = table.c.user_id
    orders: dict[str, Sequence[ColumnElement[Any]]] = {
        "last_seen": (table.c.last_used.desc(),),
        "created": (table.c.created.desc(),),
        "expires": (table.c.expires.desc(),),
        "size": (table.c.size.desc(),),
        "user": (case((user.is_(None), 1), else_=0), user),
        "handle": (),
    }
    return (
        select(*(table.c[name] for name in SUMMARY))
        .where(*_conditions(table, query))
        .order_by(*orders[order], table.c.skey)
        .limit(limit)
    )


def page(table: Table, query: Query, size: int) -> Select[Any]:
    """Return the query for a page of rows by key; `after` is the last key of the page before."""
    rows = select(*(table.c[name] for name in SUMMARY)).where(table.c.skey > bindparam("after"))
    return rows.where(*_conditions(table, query, in_order=True)).order_by(table.c.skey).limit(size)


def count(table: Table, query: Query) -> Select[Any]:
    """Return the query for the number of rows."""
    return select(func.count()).select_from(table).where(*_conditions(table, query))


def totals(table: Table, query: Query) -> Select[Any]:
    """Return the query for one row with the fields of `Totals`, but users' sessions for guests."""
    columns = table.c
    figures: Sequence[ColumnElement[Any]] = (
        func.count(),
        func.count(columns.user_id.distinct()),
        func.count(columns.user_id),
        func.sum(columns.size),
        func.max(columns.size),
        func.min(columns.created),
        func.max(columns.created),
        func.min(columns.last_used),
        func.max(columns.last_used),
    )
    return select(*figures).where(*_conditions(table, query))


def totals_from_row(row: Row[*tuple[Any, ...]]) -> Totals:
    """Return the totals of a row. Ignores values of other types, which SQLite's columns accept."""
    values = [int(value) if isinstance(value, int | Decimal) else None for value in row]
    sessions, users, of_users, bytes_total, bytes_largest, *times = values
    number = sessions or 0
    return Totals(number, users or 0, number - (of_users or 0), bytes_total or 0, bytes_largest or 0, *times)


def parameters(query: Query, now: int, user_id: str | None) -> dict[str, Any]:
    """Return the values for the conditions of a query; `user_id` is escaped as in the table."""
    values = {
        "at": now,
        "user": user_id,
        "first": query.prefix or None,
        "last": _after(query.prefix) if query.prefix else None,
        "before": query.used_before,
        "since": query.used_since,
        "created_since": query.created_since,
    }
    return {name: value for name, value in values.items() if value is not None}


def _conditions(table: Table, query: Query, *, in_order: bool = False) -> list[ColumnElement[bool]]:
    """Return the conditions. Rows that are not read in the order of their keys are read by a table scan.

    The sum hides the index of expiries from the planner: most rows are live, and SQLite takes twelve times as
    long to fetch each of them through the index.
    """
    columns = table.c
    expires = columns.expires if in_order else columns.expires + literal_column("0", BigInteger)
    conditions: list[ColumnElement[bool]] = [columns.size > 0, expires > bindparam("at")]
    if query.user_id is not None:
        conditions.append(columns.user_id == bindparam("user"))
    if query.prefix:
        conditions += [columns.skey >= bindparam("first"), columns.skey < bindparam("last")]
    if query.used_before is not None:
        conditions.append(columns.last_used < bindparam("before"))
    if query.used_since is not None:
        conditions.append(columns.last_used >= bindparam("since"))
    if query.created_since is not None:
        conditions.append(columns.created >= bindparam("created_since"))
    return conditions


def _after(prefix: str) -> str:
    """Return the smallest text that is greater than every text with this prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def delete_seen(table: Table, connection: Connection, seen: Sequence[Summary]) -> tuple[int, set[str]]:
    """Delete rows with the same version and last use; see `BulkDeletable.delete_many`."""
    number, changed = 0, set[str]()
    for start in range(0, len(seen), DELETED_TOGETHER):
        some = seen[start : start + DELETED_TOGETHER]
        values: dict[str, Any] = {}
        for place, one in enumerate(some):
            values |= {f"k{place}": one.key, f"v{place}": int(one.version), f"u{place}": one.last_used}
        deleted = connection.execute(_deletion(table, len(some)), values).rowcount
        number += deleted
        if deleted != len(some):
            changed |= _present(table, connection, [one.key for one in some])
    return number, changed


@lru_cache(DELETED_TOGETHER)
def _deletion(table: Table, rows: int) -> Delete:
    """Return the deletion of this number of rows, each compared with its version."""
    same = (
        and_(
            table.c.skey == bindparam(f"k{number}"),
            table.c.version == bindparam(f"v{number}"),
            table.c.last_used == bindparam(f"u{number}"),
        )
        for number in range(rows)
    )
    return delete(table).where(or_(*same))


def _present(table: Table, connection: Connection, keys: list[str]) -> set[str]:
    among = table.c.skey.in_(bindparam("keys", expanding=True))
    return set(connection.execute(select(table.c.skey).where(among), {"keys": keys}).scalars())
