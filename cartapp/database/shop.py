"""The database of accounts and catalogue.

Before the first use the schema is upgraded (SQLite) or checked (database servers).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Row
from sqlalchemy.sql.base import Executable

from cartapp.session import StoreUnavailable, UnusableURL
from cartapp.session.stores.single_flight import SingleFlight
from cartapp.session.stores.sql.dialects import Dialect
from cartapp.session.stores.sql.engine import Database
from cartapp.settings import Settings

from . import revisions
from .engine import open_database

T = TypeVar("T")

logger = logging.getLogger("cartapp.database.shop")


class DatabaseUnavailable(StoreUnavailable):
    """The database of accounts and catalogue failed. Sessions in another store are not affected."""


class WrongSchema(DatabaseUnavailable):
    """The schema does not match this version. The message says what to do."""


class SchemaOutdated(WrongSchema):
    """The database lacks migrations."""

    def __init__(self, found: str | None, head: str) -> None:
        super().__init__(
            f"The database schema is at revision {found or 'none'}, expected {head}. Run `cart db upgrade`."
        )


class SchemaNewer(WrongSchema):
    """The schema has a revision unknown to this version."""

    def __init__(self, found: str, head: str) -> None:
        super().__init__(
            f"The database schema is at revision {found} of a newer version; this version supports {head}. "
            "Install the newer version."
        )


class WrongEncoding(WrongSchema):
    """The database does not use UTF-8, so that it cannot store every name and address."""

    def __init__(self, title: str, found: str) -> None:
        super().__init__(
            f"The {title} database has the encoding {found}, expected UTF8. Create a new one with UTF8."
        )


def check_encoding(connection: Connection, dialect: Dialect) -> None:
    """Check that the database can store all text. Raises `WrongEncoding`."""
    if not dialect.encoding_query:
        return
    found = connection.exec_driver_sql(dialect.encoding_query).scalar_one()
    if found != "UTF8":
        raise WrongEncoding(dialect.title, found)


def check_revision(found: str | None) -> None:
    """Check that this version knows the revision. Raises `SchemaNewer`."""
    if found is not None and found not in revisions.all_revisions():
        raise SchemaNewer(found, revisions.head_revision())


def _upgrade(connection: Connection, dialect: Dialect) -> None:
    from .upgrades import (
        upgrade,
    )  # imports Alembic, which a database without missing migrations does not need

    check_encoding(connection, dialect)
    check_revision(revisions.current_revision(connection))
    upgrade(connection)


@dataclass(frozen=True, slots=True)
class Seed:
    """Rows of a new database."""

    exists: Executable
    """Query that returns a row if the table has any."""
    add: Callable[[Connection], None]
    """Function that adds the rows to an empty table."""


def create_shop_database(
    settings: Settings,
    *,
    database: Database | None = None,
    seed: Seed | None = None,
    timeout: float | None = None,
) -> "ShopDatabase":
    """Create the shop's database on `database` or a new engine of `DATABASE_URL`, not yet connected.

    `timeout` overrides the configured one of a new engine. Raises `SettingsError`.
    """
    return ShopDatabase(database or open_database(settings, timeout=timeout), seed=seed)


class ShopDatabase:
    """The database of accounts and catalogue.

    Every call may raise `DatabaseUnavailable`: on failure, after the timeout of `database`, and on a database
    server with an outdated schema. The first call may take longer on SQLite, where it creates or upgrades the
    file. `seed` adds rows to a new database.
    """

    def __init__(self, database: Database, *, seed: Seed | None = None) -> None:
        self._database = database
        url = database.dialect.url
        self.file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        """Path of a SQLite file; None for a database server."""
        self._seed = seed
        self._is_ready = False
        self._preparation = SingleFlight(self._prepare)

    async def fetch(self, statement: Executable) -> Sequence[Row[Any]]:
        """Return all rows of a query."""
        return await self._convert_errors(self._when_ready(partial(self._database.fetch, statement)))

    async def run(self, transaction: Callable[[Connection], T], *, unbounded: bool = False) -> T:
        """Run statements in one transaction, without a timeout if `unbounded`; see `Database.run`."""
        operation = partial(self._database.run, transaction, unbounded=unbounded)
        return await self._convert_errors(self._when_ready(operation, unbounded=unbounded))

    async def prepare(self) -> None:
        """Upgrade or check the schema, once. Raises `WrongSchema` and `StoreUnavailable`."""
        if not self._is_ready:
            await self._preparation.run()

    async def get_revision(self) -> str | None:
        """Return the schema revision; None for an empty database."""
        return await self._convert_errors(self._database.read(revisions.current_revision))

    async def ping(self) -> None:
        """Run one query. Raises `StoreUnavailable`, also for an outdated schema."""
        await self._convert_errors(self._when_ready(self.get_revision))

    async def upgrade(self) -> None:
        """Run the missing migrations, without a timeout. Raises `SchemaNewer`.

        Of several concurrent processes one runs them and the others wait.
        """
        await self._database.run(
            partial(_upgrade, dialect=self._database.dialect), unbounded=True, locked=True
        )

    async def close(self) -> None:
        """Close all connections. A later call reconnects."""
        await self._preparation.close()
        await self._database.close()

    async def _when_ready(self, operation: Callable[[], Awaitable[T]], *, unbounded: bool = False) -> T:
        """Run an operation, the first time after the preparation, both within one timeout."""
        if self._is_ready:
            return await operation()
        with nullcontext() if unbounded or self.file is not None else self._database.limit():
            try:
                await self.prepare()
            except WrongSchema as error:
                raise DatabaseUnavailable(str(error)) from error  # its message is for the log only
            return await operation()

    async def _prepare(self) -> None:
        head = await asyncio.to_thread(revisions.head_revision)  # reads the files of the migrations
        is_new_file = self.file is not None and not self.file.exists()
        # The queries only read, so they do not wait for a process that holds SQLite's write lock.
        found = await self._convert_errors(
            self._database.read(revisions.current_revision, bulk=is_new_file)  # creating it may take long
        )
        await self._convert_errors(
            self._database.read(partial(check_encoding, dialect=self._database.dialect), bulk=is_new_file)
        )
        if found != head:
            await asyncio.to_thread(check_revision, found)
            if self.file is None:
                raise SchemaOutdated(found, head)
            await self.upgrade()
            logger.info("Upgraded the database schema from revision %s to %s", found or "none", head)
        if self._seed is not None and not await self._convert_errors(self._database.fetch(self._seed.exists)):
            await self._database.run(self._seed.add, unbounded=is_new_file, locked=True)
        self._is_ready = True

    async def _convert_errors(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except (UnusableURL, DatabaseUnavailable):
            raise  # a URL is rejected at the start as a setting
        except StoreUnavailable as error:
            raise DatabaseUnavailable(str(error)) from error
