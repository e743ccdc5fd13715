"""The `database` backend: every SQL engine that has a dialect. Each driver has an extra of its own."""

from typing import Final
from urllib.parse import SplitResult

from ..backend import Backend, StoreOptions, URLParts
from ..base import Store
from ..urls import join_url

# A statement holds 16 MiB by default, and a literal takes two bytes for one; see `literals`.
_MYSQL_LIMIT: Final = 8_000_000


def _open(url: SplitResult, options: StoreOptions) -> Store:
    from .engine import Database
    from .statements import statements_for, take_table
    from .store import SqlStore

    url, table = take_table(url)
    statements_for(table)  # rejects a bad name before anything is opened
    database = Database(join_url(url), pool_size=options.pool_size, timeout=options.timeout)
    return SqlStore(database, clock=options.clock, table=table)


def _build_url(parts: URLParts) -> str:
    return parts.database_url


DATABASE: Final = Backend(
    "database",
    ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql", "firebird"),
    _open,
    _build_url,
    driver="sqlalchemy",
    packages=("sqlalchemy",),
    size_limits={"mysql": _MYSQL_LIMIT, "mariadb": _MYSQL_LIMIT},
    local_schemes=("sqlite",),
    any_driver=True,
)
