"""Sessions in a table of a SQL database, a row each."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    DDLElement,
    Executable,
    Index,
    MetaData,
    Row,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.engine.interfaces import Dialect as EngineDialect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from ..errors import RecordTooLarge, StoreUnavailable, UnreadableRecord, UnsupportedValue
from ..record import Clock, Record, Seen, Summary, Version, now
from .dialects import DATA, KEY, NAME, NUMBER, TABLE_OPTIONS, dialect_of
from .engine import Database, Rows, Values
from .literals import BYTES_OF_ONE, StatementTooLarge
from .sql_expiry import Expired, has_steps, lay_out, layout

logger = logging.getLogger("cartapp.session")

T = TypeVar("T")
P = ParamSpec("P")


def _is_not_sqlite(*_: object, dialect: EngineDialect, **_options: object) -> bool:
    return dialect.name != "sqlite"


# The two indexes are unique constraints, which hold by themselves since the key is unique: these are made by
# the same statement as the table, so that no crash and no other worker can come in between.
TABLE: Final = Table(
    "cart_session",
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
    UniqueConstraint("expires", "skey", name="cart_session_expires"),
    UniqueConstraint("user_id", "skey", name="cart_session_user").ddl_if(callable_=_is_not_sqlite),
    # SQLite writes each index of a column that a statement sets, changed or not; most sessions have no user.
    Index("cart_session_user", "user_id", "skey", sqlite_where=text("user_id IS NOT NULL")).ddl_if("sqlite"),
    **TABLE_OPTIONS,
)
"""Times are milliseconds since 1970 UTC; `size` is the length of `data`, 0 for a tombstone."""

_BATCH = 500  # rows that one step of listing reads, or one transaction of purging removes
_LONGEST_NAME = 255
_PUT_BACK = "put it back, or restart the application to begin with an empty one"

_LIVE = TABLE.c.expires > bindparam("at")
_KEY = TABLE.c.skey == bindparam("seen_key")
_SEEN = (_KEY, TABLE.c.version == bindparam("seen_version"))

_INSERT = insert(TABLE)
_LOAD = select(
    TABLE.c.version,
    TABLE.c.created,
    TABLE.c.last_used,
    TABLE.c.expires,
    TABLE.c.epoch,
    TABLE.c.user_id,
    TABLE.c.data,
).where(_KEY, _LIVE)
_UPDATE = update(TABLE).where(*_SEEN, _LIVE)  # sets the columns that it is given values for
_DELETE = delete(TABLE).where(_KEY)
_DELETE_SEEN = delete(TABLE).where(*_SEEN, TABLE.c.last_used == bindparam("seen_use"))
_PAGE = (
    select(
        TABLE.c.skey,
        TABLE.c.created,
        TABLE.c.last_used,
        TABLE.c.expires,
        TABLE.c.size,
        TABLE.c.version,
        TABLE.c.user_id,
    )
    .where(TABLE.c.skey > bindparam("after"), TABLE.c.size > 0, _LIVE)
    .order_by(TABLE.c.skey)
    .limit(_BATCH)
)
_PAGE_OF_USER = _PAGE.where(TABLE.c.user_id == bindparam("user"))


class SqlStore:
    """A store in the table `cart_session`, which is made when first needed, or before by `create_table`.

    Closing the store closes the database, which may be used again by whoever shares it.
    """

    name = "database"

    def __init__(self, database: Database, *, clock: Clock = now) -> None:
        self._database = database
        self.sweep_lock = database.dialect.sweep_lock
        self._clock = clock
        self._made = False  # the table, as far as this process knows
        self._was_made = False  # whether this process has seen it
        self._making = asyncio.Lock()

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`. Raises `UnsupportedValue` for a user id of more than 255 characters."""
        row = {"skey": record.key, **_row(record, version=1)}
        try:
            await self._write(_INSERT, row, record)
        except IntegrityError:
            return None
        return 1

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        seen = {"seen_key": key, "at": self._clock()}
        rows = await self._on_table(self._database.fetch, _LOAD, seen, plain=True)
        return _record(key, rows[0]) if rows else None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired record counts as gone. Raises `UnsupportedValue` as `create` does."""
        version = int(expected) + 1
        seen = self._seen(record.key, expected)
        return version if await self._write(_UPDATE, {**_row(record, version), **seen}, record) else None

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired record counts as gone."""
        times = {"last_used": last_used, "expires": expires}
        return await self._execute(_UPDATE, {**times, **self._seen(key, expected)}) == 1

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """See `Store.delete`."""
        if expected is None:
            return await self._execute(_DELETE, {"seen_key": key}) == 1
        seen = {"seen_key": key, "seen_version": int(expected.version), "seen_use": expected.last_used}
        return await self._execute(_DELETE_SEEN, seen) == 1

    async def ping(self) -> None:
        """A transaction that looks at no table. Raises `StoreUnavailable`."""
        await self._database.run(lambda connection: connection.execute(select(literal(1))).all())

    async def close(self) -> None:
        """See `Store.close`."""
        self._making = asyncio.Lock()  # the former one may belong to an event loop that ends now
        self._made = False
        await self._database.close()

    async def create_table(self) -> None:
        """Make the table now if there is none, as a role that may do so; else the first use makes it.

        One of an older version is laid out anew where that is of use.
        """
        await self._database.run(_create_table, patient=True, locked=True)

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable row costs one log line."""
        page = _PAGE if user_id is None else _PAGE_OF_USER
        values = {} if user_id is None else {"user": _escaped(user_id)}
        after: str | None = ""
        while after is not None:
            of_page = {**values, "after": after, "at": self._clock()}
            rows = await self._on_table(self._database.read, partial(_read_page, page, of_page))
            for row in rows:
                found = _summary(row)
                # Names that are equal to the engine may differ for us: in case, or in spaces at the end.
                if found is not None and user_id in (None, found.user_id):
                    yield found
            after = rows[-1].skey if len(rows) == _BATCH else None

    async def purge(self, now: int) -> int:
        """See `Purgeable.purge`; after each transaction others have the database for as long as it took."""
        removed, found, clock = 0, _BATCH, asyncio.get_running_loop().time
        expired = await self._expired(now)
        while found == _BATCH:
            began = clock()
            batch = partial(expired.remove, limit=_BATCH)
            expired, found, gone = await self._on_table(self._database.run, batch)
            removed += gone
            await asyncio.sleep(clock() - began)
        return removed

    async def count_expired(self, now: int) -> int:
        """See `Countable.count_expired`."""
        expired = await self._expired(now)
        return await self._on_table(self._database.read, expired.count)

    async def _expired(self, now: int) -> Expired:
        by_step = await self._on_table(self._database.read, partial(has_steps, TABLE))
        return Expired(TABLE, self._database.dialect, now, by_step)

    def _seen(self, key: str, version: Version) -> Values:
        return {"seen_key": key, "seen_version": int(version), "at": self._clock()}

    async def _write(self, statement: Executable, values: Values, record: Record) -> bool:
        """Write a record with its data."""
        try:
            return await self._execute(statement, values) == 1
        except StatementTooLarge as error:
            room = (error.limit - error.size) // BYTES_OF_ONE + len(record.data)
            raise RecordTooLarge(len(record.data), max(room, 0)) from error

    async def _execute(self, statement: Executable, values: Values) -> int:
        return await self._on_table(self._database.execute, statement, values, plain=True)

    # -- the table ----------------------------------------------------------------------------------------

    async def _on_table(self, operation: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        if not self._made:
            await self._make_table()
        try:
            return await operation(*args, **named)
        except StoreUnavailable:
            self._made = False  # perhaps it is another database now, or the table was dropped
            raise

    async def _make_table(self) -> None:
        async with self._making:
            if not self._made and not await self._database.read(_has_table):
                if self._was_made:  # its sessions are somewhere else, and not absent
                    raise StoreUnavailable(f"The table {TABLE.name} is gone; {_PUT_BACK}.")
                await self._database.run(_create_table, locked=True)
            self._made = self._was_made = True


def table_sql(url: str) -> str:
    """The statements that make the table, in the SQL of a database's URL. Raises `InvalidStoreURL`."""
    dialect = dialect_of(url, timeout=1).url.get_dialect()()
    made: list[DDLElement] = [CreateTable(TABLE)]
    if dialect.name == "sqlite":
        made += [CreateIndex(index) for index in TABLE.indexes]
    statements = [str(statement.compile(dialect=dialect)).strip() for statement in made]
    if (last := layout(TABLE, dialect.name)) is not None:
        statements.append(last)
    return "".join(f"{statement};\n" for statement in statements)


def _read_page(page: Executable, values: Values, connection: Connection) -> Rows:
    return connection.execute(page, values).all()


def _has_table(connection: Connection) -> bool:
    return inspect(connection).has_table(TABLE.name)


def _create_table(connection: Connection) -> None:
    if not _has_table(connection):
        TABLE.create(connection, checkfirst=False)
    lay_out(TABLE, connection)


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


def _record(key: str, row: Row[*tuple[Any, ...]]) -> Record:
    """Checks the types, since a column of SQLite takes values of any."""
    *numbers, user_id, data = row
    if not (all(isinstance(number, int) for number in numbers) and isinstance(data, bytes)):
        raise UnreadableRecord("its row holds values of other types")
    version, created, last_used, expires, epoch = numbers
    return Record(key, created, last_used, expires, data, _unescaped(user_id), epoch, version)


def _summary(row: Row[*tuple[Any, ...]]) -> Summary | None:
    key, *numbers, user_id = row
    if not all(isinstance(number, int) for number in numbers):
        logger.warning("Session %s is unreadable and not listed: its row holds values of other types", key)
        return None
    created, last_used, expires, size, version = numbers
    return Summary(key, created, last_used, expires, size, _unescaped(user_id), version)


def _escaped(user_id: str) -> str:
    """The id without NUL, which not every engine can store in a text."""
    escaped = user_id.replace("%", "%25").replace("\0", "%00")
    if len(escaped) > _LONGEST_NAME:
        raise UnsupportedValue(f"A user id may have {_LONGEST_NAME} characters here, not {len(escaped)}.")
    return escaped


def _unescaped(user_id: str | None) -> str | None:
    return None if user_id is None else user_id.replace("%00", "\0").replace("%25", "%")
