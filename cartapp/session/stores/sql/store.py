"""Sessions in a table of a SQL database, a row each."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, DDLElement, Executable, Row, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from ...errors import RecordTooLarge, StoreUnavailable, UnreadableRecord, UnsupportedValue
from ...record import Clock, Record, RecordOrSummary, Summary, Version, check_times, now
from ..queries import ALL, Order, Query, Totals
from ..single_flight import SingleFlight
from ..urls import join_url, split_url
from . import queries
from .collation import apply_collation
from .dialects import dialect_from_url
from .engine import Database, Rows, Values
from .expiry import Expired, apply_layout, has_expiry_step, layout
from .literals import LITERAL_EXPANSION, StatementTooLarge
from .statements import TABLE_NAME, statements_for, take_table

logger: logging.Logger = logging.getLogger("cartapp.session")

T = TypeVar("T")
P = ParamSpec("P")

TABLE: Final = statements_for(TABLE_NAME).table
"""The table of the application."""

_PAGE_SIZE = 1000  # rows of one page of a listing
_BATCH = 500  # rows of one transaction of the sweeper
_LARGE_BATCH = 5000  # rows of one transaction of an operator's purge
_LONGEST_NAME = 255
_PUT_BACK = "put it back, or restart the application to begin with an empty one"


class SqlStore:
    """A store in a table, `cart_session` by default, created on first use or by `create_table`.

    Closing the store closes the database; another user of the database may reopen it.
    """

    name = "database"

    def __init__(self, database: Database, *, clock: Clock = now, table: str = TABLE_NAME) -> None:
        self._database = database
        self._sql = statements_for(table)
        self.sweep_lock: Path | None = database.dialect.sweep_lock
        self._clock = clock
        self._made = False  # whether the table exists, as far as known
        self._was_made = False  # whether this process has seen the table
        self._table_check = SingleFlight(self._make_table)

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`. Raises `UnsupportedValue` for a user id of more than 255 characters."""
        row = {"skey": record.key, **_row(record, version=1)}
        try:
            await self._write(self._sql.insert, row, record)
        except IntegrityError as error:
            if await self._has_row(record.key):
                return None
            raise self._refused() from error
        return 1

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        seen = {"seen_key": key, "at": self._clock()}
        rows = await self._on_table(self._database.fetch, self._sql.load, seen, direct=True)
        return _record(key, rows[0]) if rows else None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired record counts as missing. Raises `UnsupportedValue` like `create`."""
        version = int(expected) + 1
        values = {**_row(record, version), **self._seen(record.key, expected)}
        try:
            return version if await self._write(self._sql.update, values, record) else None
        except IntegrityError as error:
            raise self._refused() from error

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired record counts as missing."""
        times = {"last_used": last_used, "expires": expires}
        return await self._execute(self._sql.update, {**times, **self._seen(key, expected)}) == 1

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`."""
        if expected is None:
            return await self._execute(self._sql.delete, {"seen_key": key}) == 1
        seen = {"seen_key": key, "seen_version": int(expected.version), "seen_use": expected.last_used}
        return await self._execute(self._sql.delete_seen, seen) == 1

    async def ping(self) -> None:
        """Run a transaction without a table. Raises `StoreUnavailable`."""
        await self._database.run(lambda connection: connection.execute(select(literal(1))).all())

    async def close(self) -> None:
        """See `Store.close`."""
        await self._table_check.close()
        self._made = False
        await self._database.close()

    async def create_table(self) -> None:
        """Create the table if it is missing; otherwise the first use creates it.

        Updates the layout of a table of an older version.
        """
        await self._database.run(self._create_table, unbounded=True, locked=True)

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable row is logged."""
        async for page in self.pages(Query(user_id)):
            for found in page:
                yield found

    async def pages(self, query: Query) -> AsyncIterator[Sequence[Summary]]:
        """See `Pageable.pages`."""
        statement, values = queries.page(self._sql.table, query, _PAGE_SIZE), self._parameters(query)
        after: str | None = ""
        while after is not None:
            rows = await self._read(statement, {**values, "after": after, "at": self._clock()})
            yield _summaries(rows, query)
            after = rows[-1].skey if len(rows) == _PAGE_SIZE else None

    async def top(self, query: Query, order: Order, limit: int) -> Sequence[Summary]:
        """See `Queryable.top`."""
        rows = await self._read(queries.top(self._sql.table, query, order, limit), self._parameters(query))
        return _summaries(rows, query)

    async def count(self, query: Query) -> int:
        """See `Queryable.count`."""
        return int((await self._read(queries.count(self._sql.table, query), self._parameters(query)))[0][0])

    async def totals(self, query: Query) -> Totals:
        """See `Queryable.totals`."""
        rows = await self._read(queries.totals(self._sql.table, query), self._parameters(query))
        return queries.totals_from_row(rows[0])

    async def estimate(self) -> int:
        """See `Estimable.estimate`."""
        return await self.count(ALL)

    def connections_in_use(self) -> int:
        """See `Pooled.connections_in_use`."""
        return self._database.connections_in_use

    async def delete_many(self, seen: Sequence[Summary]) -> tuple[int, Collection[str]]:
        """See `BulkDeletable.delete_many`; one transaction."""
        in_order = sorted(seen, key=lambda one: one.key)  # so that concurrent deletions do not deadlock
        deletion = partial(queries.delete_seen, self._sql.table, seen=in_order)
        return await self._on_table(self._database.run, deletion, bulk=True)

    async def load_many(self, keys: Sequence[str]) -> Mapping[str, Record | UnreadableRecord]:
        """See `BulkLoadable.load_many`."""
        rows = await self._read(self._sql.load_many, {"keys": list(keys), "at": self._clock()})
        found: dict[str, Record | UnreadableRecord] = {}
        for key, *row in rows:
            try:
                found[key] = _record(key, row)
            except UnreadableRecord as error:
                found[key] = error
        return found

    async def create_many(self, records: Sequence[Record]) -> Sequence[Version | None]:
        """See `BulkWritable.create_many`: one transaction if no key is taken."""
        rows = [{"skey": record.key, **_row(record, version=1)} for record in _in_order(records)]
        try:
            await self._on_table(self._database.run, partial(_execute_all, self._sql.insert, rows), bulk=True)
        except (IntegrityError, StatementTooLarge):
            return [await self.create(record) for record in records]
        return [1] * len(records)

    async def save_many(self, records: Sequence[Record]) -> Sequence[Version | None]:
        """See `BulkWritable.save_many`: one transaction if no record has changed."""
        rows = [
            {**_row(record, int(record.version) + 1), **self._seen(record.key, record.version)}
            for record in _in_order(records)
        ]
        update = partial(_update_all, self._sql.update, rows)
        try:
            await self._on_table(self._database.run, update, bulk=True)
        except (_Changed, IntegrityError, StatementTooLarge):
            return [await self.save(record, expected=record.version) for record in records]
        return [int(record.version) + 1 for record in records]

    async def purge(self, now: int) -> int:
        """See `Purgeable.purge`. After each transaction it sleeps for as long."""
        removed, clock = 0, asyncio.get_running_loop().time
        began = clock()
        async for number in self._purge(now, _BATCH):
            removed += number
            await asyncio.sleep(clock() - began)
            began = clock()
        return removed

    async def purge_batches(self, now: int, limit: int | None = None) -> AsyncIterator[int]:
        """See `BatchPurgeable.purge_batches`."""
        async for number in self._purge(now, limit or _LARGE_BATCH):
            yield number

    async def _purge(self, now: int, size: int) -> AsyncIterator[int]:
        """Remove expired rows, `size` in a transaction; yield the number of each."""
        found, expired = size, await self._expired(now)
        while found == size:
            batch = partial(expired.remove, limit=size)
            expired, found, gone = await self._on_table(self._database.run, batch, bulk=True)
            yield gone

    async def count_expired(self, now: int) -> int:
        """See `Countable.count_expired`."""
        expired = await self._expired(now)
        return await self._on_table(self._database.read, expired.count, bulk=True)

    async def _expired(self, now: int) -> Expired:
        by_step = await self._on_table(self._database.read, partial(has_expiry_step, self._sql.table))
        return Expired(self._sql.table, self._database.dialect, now, by_step)

    async def _read(self, statement: Executable, values: Values) -> Rows:
        return await self._on_table(self._database.read, partial(_fetch, statement, values), bulk=True)

    def _parameters(self, query: Query) -> dict[str, Any]:
        user = None if query.user_id is None else _escaped(query.user_id)
        return queries.parameters(query, self._clock(), user)

    def _seen(self, key: str, version: Version) -> Values:
        return {"seen_key": key, "seen_version": int(version), "at": self._clock()}

    async def _write(self, statement: Executable, values: Values, record: Record) -> bool:
        """Write a record with its data."""
        try:
            return await self._execute(statement, values) == 1
        except StatementTooLarge as error:
            room = (error.limit - error.size) // LITERAL_EXPANSION + len(record.data)
            raise RecordTooLarge(len(record.data), max(room, 0)) from error

    async def _has_row(self, key: str) -> bool:
        """Return whether there is a row of this key, even an expired one."""
        seen = {"seen_key": key, "at": 0}
        return bool(await self._on_table(self._database.fetch, self._sql.load, seen, direct=True))

    def _refused(self) -> StoreUnavailable:
        """Return the error for a constraint that an administrator has added. It names no values."""
        location, table = self._database.dialect.location, self._sql.table.name
        return StoreUnavailable(f"{location} refuses a session: a constraint of {table} does not allow it.")

    async def _execute(self, statement: Executable, values: Values) -> int:
        return await self._on_table(self._database.execute, statement, values, direct=True)

    # -- the table ----------------------------------------------------------------------------------------

    async def _on_table(self, operation: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        try:
            if self._made:
                return await operation(*args, **named)
            # A bulk operation, with a longer timeout of its own, waits for the check as long as any other.
            with nullcontext() if "bulk" in named else self._database.limit():
                await self._table_check.run()
                return await operation(*args, **named)
        except StoreUnavailable:
            self._made = False  # it may be another database now, or the table was dropped
            raise

    async def _make_table(self) -> None:
        with self._database.limit():
            if not await self._database.read(self._has_table):
                if self._was_made:  # its sessions are elsewhere, not absent
                    raise StoreUnavailable(f"The table {self._sql.table.name} is gone; {_PUT_BACK}.")
                await self._database.run(self._create_table, locked=True)
        self._made = self._was_made = True

    def _has_table(self, connection: Connection) -> bool:
        return self._database.dialect.has_table(connection, self._sql.table.name)

    def _create_table(self, connection: Connection) -> None:
        if not self._has_table(connection):
            self._sql.table.create(connection, checkfirst=False)
        apply_layout(self._sql.table, connection)
        apply_collation(self._sql.table, connection)


def table_sql(url: str) -> str:
    """Return the SQL that creates the table, for the engine of a URL. Raises `InvalidStoreURL`."""
    parts, name = take_table(split_url(url))
    table = statements_for(name).table
    dialect = dialect_from_url(join_url(parts), timeout=1).url.get_dialect()()
    made: list[DDLElement] = [CreateTable(table)]
    if dialect.name == "sqlite":
        made += [CreateIndex(index) for index in table.indexes]
    statements = [str(statement.compile(dialect=dialect)).strip() for statement in made]
    if (last := layout(table, dialect.name)) is not None:
        statements.append(last)
    return "".join(f"{statement};\n" for statement in statements)


def _fetch(statement: Executable, values: Values, connection: Connection) -> Rows:
    return connection.execute(statement, values).all()


class _Changed(Exception):
    """A transaction of several updates did not find each row; it is rolled back."""


def _in_order(records: Sequence[Record]) -> list[Record]:
    """Sort by key, so that concurrent transactions do not deadlock."""
    return sorted(records, key=lambda record: record.key)


def _execute_all(statement: Executable, rows: Sequence[Values], connection: Connection) -> None:
    connection.execute(statement, rows)


def _update_all(statement: Executable, rows: Sequence[Values], connection: Connection) -> None:
    if not connection.dialect.supports_sane_multi_rowcount:
        raise _Changed
    if connection.execute(statement, rows).rowcount != len(rows):
        raise _Changed


def _row(record: Record, version: int) -> dict[str, Any]:
    return {
        "version": version,
        "created": record.created,
        "last_used": record.last_used,
        "expires": record.expires,
        "user_id": None if record.user_id is None else _escaped(record.user_id),
        "epoch": record.epoch,
        "size": record.size,
        "data": record.data,
    }


def _record(key: str, row: Iterable[Any]) -> Record:
    """Return the record. Checks the types, since SQLite's columns accept any."""
    *numbers, user_id, data = row
    _check_types(numbers, key, user_id)
    if not isinstance(data, bytes):
        raise UnreadableRecord("its row holds values of other types")
    version, created, last_used, expires, epoch = numbers
    check_times(created, last_used, expires)
    return Record(key, created, last_used, expires, data, _unescaped(user_id), epoch, version)


def _check_types(numbers: Iterable[Any], key: Any, user_id: Any) -> None:
    are_valid = all(isinstance(number, int) for number in numbers) and isinstance(key, str)
    if not (are_valid and isinstance(user_id, str | None)):
        raise UnreadableRecord("its row holds values of other types")


def _summaries(rows: Rows, query: Query) -> list[Summary]:
    """Return the readable rows. A table of an older version may compare user IDs without case."""
    summaries = []
    for row in rows:
        try:
            found = _summary(row)
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable and not listed: %s", row[0], error)
            continue
        if query.matches(found):
            summaries.append(found)
    return summaries


def _summary(row: Row[*tuple[Any, ...]]) -> Summary:
    key, *numbers, user_id = row
    _check_types(numbers, key, user_id)
    created, last_used, expires, size, version = numbers
    check_times(created, last_used, expires)
    return Summary(key, created, last_used, expires, size, _unescaped(user_id), version)


def _escaped(user_id: str) -> str:
    """Escape NUL, which some engines cannot store in a text, and a last space, which some ignore."""
    escaped = user_id.replace("%", "%25").replace("\0", "%00")
    if escaped.endswith(" "):
        escaped = f"{escaped[:-1]}%20"
    if len(escaped) > _LONGEST_NAME:
        raise UnsupportedValue(f"A user id may have {_LONGEST_NAME} characters here, not {len(escaped)}.")
    return escaped


def _unescaped(user_id: str | None) -> str | None:
    if user_id is None:
        return None
    return user_id.replace("%00", "\0").replace("%20", " ").replace("%25", "%")
