"""The schema of `DATABASE_URL`: brought up to date where that is embedded, checked where it is a server's.

The migrations are Alembic's, in `migrations/`. Sessions in a database make their own table.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Row
from sqlalchemy.sql.base import Executable

from .database import open_database
from .resources import folder
from .session.errors import StoreUnavailable, UnusableURL
from .session.stores.engine import Database
from .session.stores.timeouts import SharedTimeout
from .settings import Settings

T = TypeVar("T")

VERSION_TABLE = "cart_schema"
"""Where the revision stands: a name of our own, since the database may be shared."""

_MADE_WITHIN = 30.0  # seconds

logger = logging.getLogger("cartapp.schema")


class FirebirdImpl(DefaultImpl):
    """Alembic knows no Firebird, whose statements are standard SQL.

    What is made there can be used only after a commit, so each statement is committed; by the driver, since
    for SQLAlchemy the transaction goes on.
    """

    __dialect__ = "firebird.firebird"  # its name in sqlalchemy-firebird
    transactional_ddl = False

    def _exec(self, *args: Any, **named: Any) -> Any:
        result = super()._exec(*args, **named)
        if self.connection is not None:
            self.connection.connection.commit()
        return result


class DatabaseUnavailable(StoreUnavailable):
    """The database of accounts and catalogue refused, hung or failed; sessions may be elsewhere and well."""


class SchemaOutdated(DatabaseUnavailable):
    """The database lacks migrations; the sentence has the command that runs them."""

    def __init__(self, found: str | None, head: str) -> None:
        super().__init__(
            f"The database's schema is at revision {found or 'none'} and must be at {head}: "
            "run `cart db upgrade`."
        )


def head() -> str:
    """The newest revision that there is."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None  # noqa: S101 - there is a first one
    return newest


def current(connection: Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, in the transaction that there is."""
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder("migrations")).replace("%", "%%"))
    return config


def shop_database(
    settings: Settings,
    *,
    database: Database | None = None,
    seed: Callable[[Connection], None] | None = None,
) -> "ShopDatabase":
    """`database`, or the one that the settings name, not yet connected. Raises `SettingsError`."""
    return ShopDatabase(database or open_database(settings), timeout=settings.session_timeout, seed=seed)


class ShopDatabase:
    """The database of accounts and catalogue, whose schema is seen to before the first use.

    An embedded one is upgraded; any other that is behind counts as out of reach. Then `seed` may add first
    rows. A call that fails, or takes longer than `timeout` seconds, raises `DatabaseUnavailable`; the first
    may take longer, if it has to make the file.
    """

    def __init__(
        self,
        database: Database,
        *,
        timeout: float,
        seed: Callable[[Connection], None] | None = None,
    ) -> None:
        self._database = database
        url = database.dialect.url
        self.file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        """Where an embedded database is; None for a server's."""
        self._calls = SharedTimeout(timeout)
        self._seed = seed
        self._is_ready = False
        self._preparing = asyncio.Lock()

    async def fetch(self, statement: Executable) -> Sequence[Row[Any]]:
        """All rows of one query."""
        await self._ready()
        return await self._bounded(self._database.fetch(statement))

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Several statements in one transaction; see `Database.run`."""
        await self._ready()
        return await self._bounded(self._database.run(work))

    async def prepare(self) -> None:
        """See to the schema, once. Raises `SchemaOutdated`, and `StoreUnavailable`."""
        if self._is_ready:
            return
        async with self._preparing:
            if not self._is_ready:
                await self._prepare()
                self._is_ready = True

    async def revision(self) -> str | None:
        """The revision that the database is at."""
        return await self._bounded(self._database.run(current))

    async def ping(self) -> None:
        """One round trip. Raises `StoreUnavailable`, also for a schema that is behind."""
        await self._ready()
        await self.revision()

    async def upgrade(self) -> None:
        """Run the migrations that are missing, however long that takes."""
        await self._database.run(upgrade, patient=True)

    async def close(self) -> None:
        """Close the database. Used again, it connects again."""
        self._preparing = asyncio.Lock()  # the former one may belong to an event loop that ends now
        await self._database.close()

    async def _ready(self) -> None:
        try:
            await self.prepare()
        except SchemaOutdated as error:
            raise DatabaseUnavailable(str(error)) from error  # whose words no visitor is shown

    async def _prepare(self) -> None:
        wanted = await asyncio.to_thread(head)  # which reads the migrations, and asks no database
        # A file is made by the first look at it, which a busy disk may take its time for.
        is_made = self.file is not None and not self.file.exists()
        found = await self._bounded(
            self._database.run(current, patient=is_made), _MADE_WITHIN if is_made else None
        )
        if found != wanted:
            if self.file is None:
                raise SchemaOutdated(found, wanted)
            await self.upgrade()  # takes the lock first, so that of several processes one does it
            logger.info("The database's schema was brought from revision %s to %s", found or "none", wanted)
        if self._seed is not None:
            await self._database.run(self._seed, patient=is_made)

    async def _bounded(self, call: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
        calls = self._calls if seconds is None else SharedTimeout(seconds)
        try:
            return await calls.wait_for(call)
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"The database did not answer within {calls.seconds:g} seconds."
            ) from error
        except UnusableURL:
            raise  # the start refuses such a setting
        except StoreUnavailable as error:
            raise DatabaseUnavailable(str(error)) from error
