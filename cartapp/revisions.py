"""The revisions of the schema of `DATABASE_URL`: Alembic's migrations, in `migrations/`."""

import logging
from io import StringIO
from typing import Any

from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from .resources import folder
from .session.stores.dialects import dialect_of

VERSION_TABLE = "cart_schema"
"""Where the revision is kept: a name of our own, since the database may be shared."""


class FirebirdImpl(DefaultImpl):
    """Alembic knows no Firebird, whose statements are standard SQL.

    What is made there can be used only after a commit, so each statement is committed; by the driver, since
    for SQLAlchemy the transaction goes on.
    """

    __dialect__ = "firebird.firebird"  # its name in sqlalchemy-firebird
    transactional_ddl = False

    def _exec(self, *args: Any, **named: Any) -> Any:
        result = super()._exec(*args, **named)
        if not self.as_sql and self.connection is not None:
            self.connection.connection.commit()
        return result


def head() -> str:
    """The newest revision that there is."""
    newest = _scripts().get_current_head()
    assert newest is not None  # noqa: S101 - there is a first one
    return newest


def known() -> set[str]:
    """All revisions that there are."""
    return {script.revision for script in _scripts().walk_revisions()}


def current(connection: Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, in the transaction that there is."""
    from alembic import command

    logging.getLogger("asyncmy").addFilter(_is_of_use)
    command.upgrade(config(connection=connection), "head")


def _is_of_use(record: logging.LogRecord) -> bool:
    """MySQL warns of each primary key that has a name, which it ignores, and the driver logs that."""
    return "ignored for PRIMARY key" not in record.getMessage()


def upgrade_sql(url: str, start: str) -> str:
    """The SQL of all migrations after the revision `start`, or of all after `base`, for a database's URL."""
    from alembic import command

    written = StringIO()
    if start == "base" and (lock_table := dialect_of(url, timeout=1).lock_table):
        written.write(f"{lock_table};\n\n")
    command.upgrade(config(written, url=url), f"{start}:head", sql=True)
    return written.getvalue()


def config(output: StringIO | None = None, **attributes: Any) -> Config:
    """Alembic's configuration; `attributes` are for `migrations/env.py`."""
    made = Config(output_buffer=output, attributes=attributes)
    made.set_main_option("script_location", str(folder("migrations")).replace("%", "%%"))
    return made


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())
