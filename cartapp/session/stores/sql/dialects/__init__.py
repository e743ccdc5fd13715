"""The SQL engines: one module for each, with everything in which it differs from the others."""

import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ....errors import InvalidStoreURL
from ...urls import AMBIGUOUS_URL, INVALID_PORT, split_url
from .base import Dialect
from .firebird import Firebird
from .mssql import SQLServer
from .mysql import MariaDB, MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite

__all__ = ["DIALECTS", "Dialect", "dialect_from_url"]

DIALECTS: Final[Mapping[str, type[Dialect]]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MariaDB,
    "mssql": SQLServer,
    "firebird": Firebird,
}
"""Dialects by URL scheme."""

_LOGIN: Final = re.compile(r"^[^:]*://(?:[^:/]*(?::[^@]*)?@)?")
"""Scheme and login of a URL, as SQLAlchemy reads them."""


def dialect_from_url(url: str, timeout: float) -> Dialect:
    """Return the dialect of a SQLAlchemy URL. Raises `InvalidStoreURL`, without the URL in its message."""
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgres":  # as libpq spells it too
            parsed = parsed.set(drivername="postgresql")
        dialect = DIALECTS[parsed.get_backend_name()]
    except (ArgumentError, ValueError):
        raise InvalidStoreURL("The database's URL cannot be read.") from None
    except KeyError:
        known = ", ".join(f"{scheme}://" for scheme in DIALECTS)
        raise InvalidStoreURL(f"A database's URL begins with one of {known}.") from None
    if dialect is not SQLite and _is_misread(url, parsed):
        raise InvalidStoreURL(AMBIGUOUS_URL)
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise InvalidStoreURL(INVALID_PORT)
    return dialect(parsed, timeout)


def _is_misread(url: str, parsed: URL) -> bool:
    """Return whether SQLAlchemy took a part of the password for another part, or another part for the login.

    Without percent-encoding it ends the password at the first `@`, whatever precedes it.
    """
    is_server_alone = re.fullmatch(r"[^:@]*(:[0-9]*)?", split_url(url).netloc) is not None
    if is_server_alone and parsed.username is not None:
        return True
    rest = _LOGIN.sub("", url, count=1)
    return "@" in (parsed.host or "") or re.search("[/?].*:.*@", rest) is not None
