"""Run the migrations on a connection of `cartapp.database.upgrades`, or for the `alembic` command."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection

from cartapp.accounts import tables as accounts
from cartapp.catalogue import tables as catalogue
from cartapp.database import upgrades as upgrades  # support for Firebird
from cartapp.database.engine import open_database
from cartapp.database.revisions import VERSION_TABLE
from cartapp.session.stores.sql.dialects import dialect_from_url
from cartapp.settings import load

METADATA = [accounts.METADATA, catalogue.METADATA]


def is_own(name: str | None, kind: str, _parents: object) -> bool:
    """Return whether a table belongs to the shop, and not to another application or the sessions."""
    return kind != "table" or any(name in metadata.tables for metadata in METADATA)


def migrate(connection: Connection | None, **options: Any) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        include_name=is_own,
        version_table=VERSION_TABLE,
        **options,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_shop() -> None:
    database = open_database(load())
    try:
        await database.run(migrate, unbounded=True, locked=True)
    finally:
        await database.close()


given = context.config.attributes
if context.is_offline_mode():
    url = dialect_from_url(given.get("url") or load().database_url, timeout=1).url
    migrate(None, url=url, literal_binds=True)
elif "connection" in given:
    migrate(given["connection"])
else:
    asyncio.run(migrate_shop())
