"""Concurrent callers share one run of an operation."""

import asyncio

import pytest

from cartapp.session.stores.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Operation:
    """An operation that waits for the test, and fails if `error` is set."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.runs += 1
        await self.may_end.wait()
        if self.error is not None:
            raise self.error


async def started(flight: SingleFlight) -> list[asyncio.Task[None]]:
    """Start 20 callers and the operation."""
    tasks = [asyncio.create_task(flight.run()) for _ in range(20)]
    for _ in range(2):
        await asyncio.sleep(0)
    return tasks


async def test_callers_share_a_run_and_its_error() -> None:
    operation = Operation()
    flight = SingleFlight(operation)
    operation.error = ConnectionError()
    callers = await started(flight)
    operation.may_end.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert results == [operation.error] * 20
    assert operation.runs == 1
    operation.error = None
    await flight.run()
    assert operation.runs == 2


async def test_a_cancelled_caller_does_not_end_the_run() -> None:
    operation = Operation()
    first, *others = await started(SingleFlight(operation))
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    operation.may_end.set()
    assert await asyncio.gather(*others) == [None] * 19


async def test_close_ends_the_run() -> None:
    operation = Operation()
    flight = SingleFlight(operation)
    callers = await started(flight)
    await flight.close()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}
    await flight.close()
    operation.may_end.set()
    await flight.run()
    assert operation.runs == 2
