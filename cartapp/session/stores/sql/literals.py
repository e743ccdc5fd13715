"""Statements for MySQL and MariaDB with the same meaning in every SQL mode and character set.

The drivers write parameters into the statement and escape them for assumed settings: a backslash is not an
escape under `NO_BACKSLASH_ESCAPES`, and half of a character in GBK. A hexadecimal literal contains neither
quotes nor backslashes, so no setting of the server or a proxy can change where it ends.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, event

LITERAL_EXPANSION = 2
"""Bytes of a literal for each byte of a value."""

Parameters = Sequence[Any] | Mapping[str, Any]


class StatementTooLarge(Exception):
    """The statement exceeds the server's limit, which would close the connection."""

    def __init__(self, size: int, limit: int) -> None:
        self.size: int = size
        self.limit: int = limit
        super().__init__(f"The statement has {size} bytes and the server's limit is {limit}.")


def inline_literals(engine: Engine, limit: Callable[[], float]) -> None:
    """Write all parameters as literals, unless the driver sends them separately.

    Engines that share the pool and the dialect of this one, but have other options, are not affected. `limit`
    returns the maximum size of a statement in bytes.
    """

    def execute(cursor: Any, statement: str, parameters: Parameters, context: Any) -> bool:
        """Execute a statement instead of SQLAlchemy, and return True to say so."""
        if context.engine is not engine:
            return False
        written = _written(statement, parameters)
        if len(written) > limit():
            raise StatementTooLarge(len(written), int(limit()))
        cursor.execute(written)
        return True

    def execute_many(cursor: Any, statement: str, rows: Sequence[Parameters], context: Any) -> bool:
        if context.engine is not engine:
            return False
        for parameters in rows:
            cursor.execute(_written(statement, parameters))
        return True

    if engine.dialect.paramstyle in ("format", "pyformat"):
        event.listen(engine, "do_execute", execute)
        event.listen(engine, "do_executemany", execute_many)


def literal(value: object) -> str:
    """Return a parameter as SQL. Raises `TypeError` for a type that no column has."""
    match value:
        case None:
            return "NULL"
        case int():
            return f"{value:d}"
        case str():
            return f"_utf8mb4 X'{value.encode().hex()}'"
        case bytes():
            return f"X'{value.hex()}'"
    raise TypeError(f"A parameter of a statement cannot be a {type(value).__name__}.")


def _written(statement: str, parameters: Parameters) -> str:
    if isinstance(parameters, Mapping):
        return statement % {name: literal(value) for name, value in parameters.items()}
    return statement % tuple(map(literal, parameters))
