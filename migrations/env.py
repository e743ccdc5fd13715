"""Runs the migrations, on the connection that `cartapp.revisions` hands over or for Alembic's own command."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection

from cartapp.accounts import tables as accounts
from cartapp.catalogue import tables as catalogue
from cartapp.database import open_database
from cartapp.revisions import VERSION_TABLE
from cartapp.session.stores.dialects import dialect_of
from cartapp.settings import load

METADATA = [accounts.METADATA, catalogue.METADATA]


def is_own(name: str | None, kind: str, _parents: object) -> bool:
    """Whether to compare something: no table of another application, and not that of the sessions."""
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
        await database.run(migrate, patient=True, locked=True)
    finally:
        await database.close()


given = context.config.attributes
if context.is_offline_mode():
    url = dialect_of(given.get("url") or load().database_url, timeout=1).url
    migrate(None, url=url, literal_binds=True)
elif "connection" in given:
    migrate(given["connection"])
else:
    asyncio.run(migrate_shop())
