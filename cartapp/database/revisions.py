"""Schema revisions of `DATABASE_URL`. Does not import Alembic, a fifth of the start time of a server."""

import re

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from cartapp.resources import folder

VERSION_TABLE = "cart_schema"
"""Table that stores the revision. The default name may be in use: the database may be shared."""

_VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32)))

_VARIABLE = re.compile(r"""^(revision|down_revision)\b.*= ["'](\w+)["']""", re.MULTILINE)
"""A variable of a migration that names a revision."""


def head_revision() -> str:
    """Return the latest revision."""
    (head,) = all_revisions() - _find("down_revision")
    return head


def all_revisions() -> set[str]:
    """Return all revisions."""
    return _find("revision")


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database; None for an empty one."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(select(_VERSION.c.version_num))
    return revision


def _find(variable: str) -> set[str]:
    """Return the values of a variable in the migrations."""
    texts = [file.read_text("utf-8") for file in (folder("migrations") / "versions").glob("*.py")]
    return {value for text in texts for name, value in _VARIABLE.findall(text) if name == variable}
