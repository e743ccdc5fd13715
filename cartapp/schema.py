"""The database of accounts and catalogue, whose schema is seen to before the first use.

An embedded database is brought up to date, that of a server is checked.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Row
from sqlalchemy.sql.base import Executable

from . import revisions
from .database import open_database
from .session.errors import StoreUnavailable, UnusableURL
from .session.stores.engine import Database
from .session.stores.timeouts import SharedTimeout
from .settings import Settings

T = TypeVar("T")

_MADE_WITHIN = 30.0  # seconds

logger = logging.getLogger("cartapp.schema")


class DatabaseUnavailable(StoreUnavailable):
    """The database of accounts and catalogue refused, hung or failed; sessions may be elsewhere and well."""


class WrongSchema(DatabaseUnavailable):
    """The schema is not the one that this version works with; the sentence says what to do."""


class SchemaOutdated(WrongSchema):
    """The database lacks migrations."""

    def __init__(self, found: str | None, head: str) -> None:
        super().__init__(
            f"The database's schema is at revision {found or 'none'} and must be at {head}: "
            "run `cart db upgrade`."
        )


class SchemaNewer(WrongSchema):
    """The database has migrations that this version does not know."""

    def __init__(self, found: str, head: str) -> None:
        super().__init__(
            f"The database was made by a newer version: its schema is at revision {found}, and this version "
            f"knows those up to {head}. Install that version."
        )


def check_known(found: str | None) -> None:
    """Raises `SchemaNewer` for a revision that this version does not have."""
    if found is not None and found not in revisions.known():
        raise SchemaNewer(found, revisions.head())


def _upgrade(connection: Connection) -> None:
    check_known(revisions.current(connection))
    revisions.upgrade(connection)


@dataclass(frozen=True, slots=True)
class Seed:
    """First rows: the query that finds some where there are any, and what adds them where there are none."""

    done: Executable
    add: Callable[[Connection], None]


def shop_database(
    settings: Settings,
    *,
    database: Database | None = None,
    seed: Seed | None = None,
    timeout: float | None = None,
) -> "ShopDatabase":
    """`database`, or the one that the settings name, not yet connected. Raises `SettingsError`.

    `timeout` takes the place of the settings' own.
    """
    return ShopDatabase(
        database or open_database(settings), timeout=timeout or settings.session_timeout, seed=seed
    )


class ShopDatabase:
    """The database of accounts and catalogue.

    A server's whose schema is behind counts as out of reach. `seed` may add first rows. A call that fails, or
    takes longer than `timeout` seconds, raises `DatabaseUnavailable`; the first may take longer, if it has to
    make the file.
    """

    def __init__(
        self,
        database: Database,
        *,
        timeout: float,
        seed: Seed | None = None,
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

    async def run(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """Several statements in one transaction, which may be `patient`; see `Database.run`."""
        await self._ready()
        if patient:
            return await self._database.run(work, patient=True)
        return await self._bounded(self._database.run(work))

    async def prepare(self) -> None:
        """See to the schema, once. Raises `WrongSchema`, and `StoreUnavailable`."""
        if self._is_ready:
            return
        async with self._preparing:
            if not self._is_ready:
                await self._prepare()
                self._is_ready = True

    async def revision(self) -> str | None:
        """The revision that the database is at."""
        return await self._bounded(self._database.read(revisions.current))

    async def ping(self) -> None:
        """One round trip. Raises `StoreUnavailable`, also for a schema that is behind."""
        await self._ready()
        await self.revision()

    async def upgrade(self) -> None:
        """Run the migrations that are missing, however long that takes. Raises `SchemaNewer`.

        Of several processes that do so one runs them, and the others wait for it.
        """
        await self._database.run(_upgrade, patient=True, locked=True)

    async def close(self) -> None:
        """Close the database. Used again, it connects again."""
        self._preparing = asyncio.Lock()  # the former one may belong to an event loop that ends now
        await self._database.close()

    async def _ready(self) -> None:
        try:
            await self.prepare()
        except WrongSchema as error:
            raise DatabaseUnavailable(str(error)) from error  # whose words no visitor is shown

    async def _prepare(self) -> None:
        wanted = await asyncio.to_thread(revisions.head)  # reads the migrations, and asks no database
        # A file is made by the first look at it, which a busy disk may take its time for.
        is_made = self.file is not None and not self.file.exists()
        # Both looks only read: they do not wait while another process has the lock of an embedded database.
        found = await self._bounded(self._database.read(revisions.current), _MADE_WITHIN if is_made else None)
        if found != wanted:
            await asyncio.to_thread(check_known, found)
            if self.file is None:
                raise SchemaOutdated(found, wanted)
            await self.upgrade()
            logger.info("The database's schema was brought from revision %s to %s", found or "none", wanted)
        if self._seed is not None and not await self._bounded(self._database.fetch(self._seed.done)):
            await self._database.run(self._seed.add, patient=is_made, locked=True)

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
