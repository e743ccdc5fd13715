"""The time-out that many share, and that is set only once something waits."""

import asyncio

import pytest

from cartapp.session.stores.patience import Patience

pytestmark = pytest.mark.anyio

LONG = 60.0


async def test_what_never_waits_needs_no_clock() -> None:
    async def work() -> int:
        return 1

    assert await Patience(0).wait_for(work()) == 1


async def test_what_waits_comes_back() -> None:
    async def work() -> list[int]:
        seen = []
        for number in range(3):
            await asyncio.sleep(0)
            seen.append(await asyncio.to_thread(int, number))
        return seen

    assert await Patience(LONG).wait_for(work()) == [0, 1, 2]


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_an_error_comes_through(waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await Patience(LONG).wait_for(work())


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
        await Patience(0.01).wait_for(work())
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
    assert await Patience(LONG).wait_for(work()) == 7


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

    task = asyncio.create_task(Patience(LONG).wait_for(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert heard == ["cancelled"]
    assert task.cancelled() is not handled
    assert not handled or task.result() == "finished"


async def test_one_timer_ends_all_that_wait_too_long() -> None:
    patience = Patience(0.01)
    over: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.append(name)

    first = asyncio.create_task(patience.wait_for(work("first")))
    answered = asyncio.create_task(patience.wait_for(asyncio.sleep(0, "answered")))
    second = asyncio.create_task(patience.wait_for(work("second")))
    assert await answered == "answered"
    await asyncio.wait([first, second])
    assert over == ["first", "second"]
    assert isinstance(first.exception(), TimeoutError)
    assert isinstance(second.exception(), TimeoutError)
    assert not first.cancelling()
    assert await patience.wait_for(asyncio.sleep(0, "afterwards")) == "afterwards"


async def test_somebody_elses_cancellation_goes_first() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()  # while our own is under way
            await asyncio.sleep(0)

    task = asyncio.create_task(Patience(0.01).wait_for(work()))
    await asyncio.wait([task])
    assert task.cancelled()


def test_it_goes_with_one_event_loop_after_the_other() -> None:
    patience = Patience(0.01)
    for _ in range(2):
        assert asyncio.run(patience.wait_for(asyncio.sleep(0, 1))) == 1
        with pytest.raises(TimeoutError):
            asyncio.run(patience.wait_for(asyncio.sleep(LONG)))
