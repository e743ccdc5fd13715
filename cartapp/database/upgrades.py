"""Run the Alembic migrations in `migrations/`."""

import logging
from io import StringIO
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.ddl.base import AddColumn, DropColumn, add_column, alter_table, drop_column
from alembic.ddl.impl import DefaultImpl
from sqlalchemy import Connection
from sqlalchemy.ext.compiler import compiles

from cartapp.resources import folder
from cartapp.session.stores.sql.dialects import dialect_from_url


class FirebirdImpl(DefaultImpl):
    """Alembic support for Firebird, which uses standard SQL.

    A new table can be used only after a commit, so each statement is committed, by the driver, while
    SQLAlchemy's transaction continues.
    """

    __dialect__ = "firebird.firebird"  # its name in sqlalchemy-firebird
    transactional_ddl = False

    def _exec(self, *args: Any, **named: Any) -> Any:
        result = super()._exec(*args, **named)
        if not self.as_sql and self.connection is not None:
            self.connection.connection.commit()
        return result


# Firebird has no keyword COLUMN there.


@compiles(AddColumn, FirebirdImpl.__dialect__)
def _add_column(element: AddColumn, compiler: Any, **options: Any) -> str:
    added = add_column(compiler, element.column, **options).replace("ADD COLUMN", "ADD", 1)
    return f"{alter_table(compiler, element.table_name, element.schema)} {added}"


@compiles(DropColumn, FirebirdImpl.__dialect__)
def _drop_column(element: DropColumn, compiler: Any, **options: Any) -> str:
    dropped = drop_column(compiler, element.column.name, **options).replace("DROP COLUMN", "DROP", 1)
    return f"{alter_table(compiler, element.table_name, element.schema)} {dropped}"


def upgrade(connection: Connection) -> None:
    """Run the missing migrations in the transaction of the connection."""
    logging.getLogger("asyncmy").addFilter(_is_useful)
    command.upgrade(alembic_config(connection=connection), "head")


def _is_useful(record: logging.LogRecord) -> bool:
    """Drop MySQL's warning about each named primary key, which the driver logs."""
    return "ignored for PRIMARY key" not in record.getMessage()


def upgrade_sql(url: str, start: str) -> str:
    """Return the SQL of the migrations after the revision `start`, or of all migrations for `base`."""
    sql = StringIO()
    if start == "base" and (lock_table := dialect_from_url(url, timeout=1).lock_table):
        sql.write(f"{lock_table};\n\n")
    command.upgrade(alembic_config(sql, url=url), f"{start}:head", sql=True)
    return sql.getvalue()


def alembic_config(output: StringIO | None = None, **attributes: Any) -> Config:
    """Create Alembic's configuration. `attributes` are passed to `migrations/env.py`."""
    config = Config(output_buffer=output, attributes=attributes)
    config.set_main_option("script_location", str(folder("migrations")).replace("%", "%%"))
    return config
