"""A store on an engine that the application has made."""

from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from ...arguments import check_count
from ...durations import Duration, to_seconds
from ...record import Clock, now
from ..base import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine

    from .dialects import Dialect

_ENGINES: Final = ("postgresql", "mysql", "mariadb", "mssql")


def sql_store(
    engine: "Engine | AsyncEngine",
    *,
    table: str = "cart_session",
    clock: Clock = now,
    timeout: Duration = 2.0,
    pool_size: int = 10,
) -> Store:
    """Create a store that shares an engine of SQLAlchemy, with its pool and events, with the application.

        store = sql_store(create_async_engine("postgresql+asyncpg://localhost/shop", pool_pre_ping=True))

    The engine serves PostgreSQL, MySQL, MariaDB or SQL Server; the others need a URL, since the store
    configures their connections. With a synchronous engine the store runs in up to `pool_size` threads.
    Closing the store leaves the engine open. Without `pool_pre_ping` the first request after an outage may
    fail. After an error of a server that accepts no more writes the store invalidates the pool, as SQLAlchemy
    does after a lost connection. For the other arguments see `open_store`. Raises TypeError for what is no
    such engine, and `InvalidStoreURL` for the name of a table.
    """
    from .engine import Database
    from .store import SqlStore

    if not _is_engine(engine):
        raise TypeError(
            f"sql_store: expected an engine for one of {', '.join(_ENGINES)}, got {engine!r}; "
            "see open_store for URLs."
        )
    check_count("sql_store: pool_size", pool_size)
    # Shares the pool; the store begins its transactions itself.
    autocommit: Any = engine.execution_options(isolation_level="AUTOCOMMIT")
    database = Database(
        engine.url.render_as_string(hide_password=False),
        pool_size=pool_size,
        timeout=to_seconds("sql_store: timeout", timeout),
        create_runner=lambda dialect, size: (
            _create_runner(autocommit, dialect, size),
            _SharedPool(engine.pool),
        ),
    )
    _configure(getattr(autocommit, "sync_engine", autocommit), database.dialect)
    return SqlStore(database, clock=clock, table=table)


def _is_engine(value: Any) -> TypeGuard["Engine | AsyncEngine"]:
    return getattr(getattr(value, "dialect", None), "name", None) in _ENGINES and hasattr(value, "connect")


def _configure(engine: "Engine", dialect: "Dialect") -> None:
    """Configure the statements of the store, and no others of the application.

    An error that needs another connection counts as a lost one.
    """
    from sqlalchemy import event
    from sqlalchemy.exc import DBAPIError

    from .literals import inline_literals

    def on_error(context: "ExceptionContext") -> None:
        error = context.sqlalchemy_exception
        if context.engine is engine and isinstance(error, DBAPIError) and dialect.needs_reconnect(error):
            context.is_disconnect = True

    event.listen(engine, "handle_error", on_error)
    if engine.dialect.name in ("mysql", "mariadb"):
        inline_literals(engine, lambda: inf)


def _create_runner(engine: Any, dialect: "Dialect", size: int) -> Any:
    from .runners import AsyncRunner, ThreadRunner

    class SharedAsyncRunner(AsyncRunner):
        async def _dispose(self, seconds: float) -> bool:
            return True  # the application disposes of its engine

    class SharedThreadRunner(ThreadRunner):
        def _close_connections(self) -> None:
            pass  # the application disposes of its engine

    if engine.dialect.is_async:
        return SharedAsyncRunner(engine, dialect)
    return SharedThreadRunner(engine, dialect, size)


class _SharedPool:
    """The pool of the application. Its own settings decide which connections to replace."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @property
    def in_use(self) -> int:
        """The number of connections in use, those of the application included."""
        count = getattr(self._pool, "checkedout", None)  # a NullPool counts none
        return 0 if count is None else int(count())

    def invalidate(self) -> None:
        """Do nothing."""

    def confirm_write(self, connection: "Connection") -> None:
        """Do nothing."""
