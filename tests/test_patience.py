"""The time-out that is set only once something waits."""

import asyncio

import pytest

from cartapp.session.patience import within

pytestmark = pytest.mark.anyio

LONG = 60.0


async def test_what_never_waits_needs_no_clock() -> None:
    async def work() -> int:
        return 1

    assert await within(0, work()) == 1


async def test_what_waits_comes_back() -> None:
    async def work() -> list[int]:
        seen = []
        for number in range(3):
            await asyncio.sleep(0)
            seen.append(await asyncio.to_thread(int, number))
        return seen

    assert await within(LONG, work()) == [0, 1, 2]


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_an_error_comes_through(waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await within(LONG, work())


@pytest.mark.parametrize("waits", [0, 1])
async def test_waiting_too_long_is_ended(waits: int) -> None:
    ended = []

    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert ended


async def test_an_error_that_work_handles_lets_it_go_on() -> None:
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        try:
            await broken
        except OSError:
            return await asyncio.to_thread(int, 7)
        return 0

    asyncio.get_running_loop().call_soon(broken.set_exception, OSError("broken"))
    assert await within(LONG, work()) == 7


@pytest.mark.parametrize("handled", [True, False])
async def test_a_cancellation_reaches_the_work(handled: bool) -> None:
    heard: list[str] = []

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            if not handled:
                raise
            await asyncio.sleep(0)
        return "finished"

    task = asyncio.create_task(within(LONG, work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert heard == ["cancelled"]
    assert task.cancelled() is not handled
    assert not handled or task.result() == "finished"
