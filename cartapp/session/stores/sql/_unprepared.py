"""asyncpg without prepared statements; its `_get_statement` and `mark_unprepared` are private."""

from typing import Any

import asyncpg  # type: ignore[import-untyped]


class AsyncpgConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that prepares no statements until a pooler has been ruled out.

    asyncpg prepares an unnamed statement in one message and executes it in the next. Marked as unprepared, it
    is sent again with its values; there is no public API for that.
    """

    prepares = False

    async def _get_statement(
        self, query: str, timeout: float | None, *, named: Any = False, use_cache: bool = True, **options: Any
    ) -> Any:
        if not self.prepares:
            named, use_cache = "", False
        statement = await super()._get_statement(query, timeout, named=named, use_cache=use_cache, **options)
        if not statement.name:
            statement.mark_unprepared()
        return statement
