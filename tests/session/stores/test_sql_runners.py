"""The thread runner: an operation that its caller has given up is interrupted."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, QueuePool, create_engine, event

from cartapp.session.stores.sql.runners import ThreadRunner
from tests.support.polling import DEADLINE

pytestmark = pytest.mark.anyio


async def test_a_refused_interrupt_is_repeated_and_keeps_the_cancellation() -> None:
    started, interrupted, attempts = threading.Event(), threading.Event(), 0

    def work(_: Connection) -> bool:
        started.set()
        return interrupted.wait(DEADLINE)

    def interrupt(_: object) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise OSError("nothing to cancel")
        interrupted.set()

    dialect: Any = SimpleNamespace(interrupt=interrupt, timeout=1.0)
    runner = ThreadRunner(create_engine("sqlite://"), dialect, 1)
    running = asyncio.create_task(runner.run(work, writes=False, brief=True))
    await asyncio.to_thread(started.wait, DEADLINE)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await runner.close()
    assert (attempts, interrupted.is_set()) == (3, True)


async def test_an_interrupted_connection_does_not_return_to_the_pool() -> None:
    """The interrupt may come after the last response of the operation."""
    started, interrupted, closed = threading.Event(), threading.Event(), []

    def work(_: Connection) -> bool:
        started.set()
        return interrupted.wait(DEADLINE)

    engine = create_engine("sqlite://", poolclass=QueuePool, connect_args={"check_same_thread": False})
    event.listen(engine, "close", lambda connection, _: closed.append(connection))
    dialect: Any = SimpleNamespace(interrupt=lambda _: interrupted.set(), timeout=1.0)
    runner = ThreadRunner(engine, dialect, 1)
    running = asyncio.create_task(runner.run(work, writes=False, brief=True))
    await asyncio.to_thread(started.wait, DEADLINE)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await runner.finish()
    assert len(closed) == 1
    await runner.close()
