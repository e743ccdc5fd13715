"""Runs what a command does with the session store."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ..session.sessions import Sessions

T = TypeVar("T")


def with_sessions(work: Callable[["Sessions"], Awaitable[T]]) -> T:
    """What `work` returns, given the sessions of the store that the settings choose."""
    import asyncio

    from ..settings import load
    from ..start import opened_sessions

    settings = load()

    async def run() -> T:
        async with opened_sessions(settings) as sessions:
            return await work(sessions)

    return asyncio.run(run())
