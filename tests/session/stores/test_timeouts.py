"""The timeout shared by many operations, and its single timer."""

import asyncio
import socket
import time

import pytest

from cartapp.session.stores.timeouts import SharedTimeout
from tests.conftest import ON_BOTH_LOOPS

pytestmark = pytest.mark.anyio

LONG = 60.0


async def test_work_without_a_wait() -> None:
    async def work() -> int:
        return 1

    assert await SharedTimeout(0).wait_for(work()) == 1


async def test_work_with_several_waits() -> None:
    async def work() -> list[int]:
        seen = []
        for number in range(3):
            await asyncio.sleep(0)
            seen.append(await asyncio.to_thread(int, number))
        return seen

    assert await SharedTimeout(LONG).wait_for(work()) == [0, 1, 2]


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_an_error_is_raised(waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await SharedTimeout(LONG).wait_for(work())


@pytest.mark.parametrize("waits", [0, 1])
async def test_a_timeout_cancels_the_work(waits: int) -> None:
    ended = []

    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await SharedTimeout(0.01).wait_for(work())
    assert ended


async def test_work_continues_after_an_error_that_it_handles() -> None:
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        try:
            await broken
        except OSError:
            return await asyncio.to_thread(int, 7)
        return 0

    asyncio.get_running_loop().call_soon(broken.set_exception, OSError("broken"))
    assert await SharedTimeout(LONG).wait_for(work()) == 7


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

    task = asyncio.create_task(SharedTimeout(LONG).wait_for(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert heard == ["cancelled"]
    assert task.cancelled() is not handled
    assert not handled or task.result() == "finished"


async def test_one_timer_expires_several_waits() -> None:
    timeout = SharedTimeout(0.01)
    over: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.append(name)

    first = asyncio.create_task(timeout.wait_for(work("first")))
    answered = asyncio.create_task(timeout.wait_for(asyncio.sleep(0, "answered")))
    second = asyncio.create_task(timeout.wait_for(work("second")))
    assert await answered == "answered"
    await asyncio.wait([first, second])
    assert over == ["first", "second"]
    assert isinstance(first.exception(), TimeoutError)
    assert isinstance(second.exception(), TimeoutError)
    assert not first.cancelling()
    assert await timeout.wait_for(asyncio.sleep(0, "afterwards")) == "afterwards"


async def test_cancellation_by_another_task_takes_precedence() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()  # during the limit's own cancellation
            await asyncio.sleep(0)

    task = asyncio.create_task(SharedTimeout(0.01).wait_for(work()))
    await asyncio.wait([task])
    assert task.cancelled()


# -- a blocked event loop -----------------------------------------------------------------------------------

SHORT = 0.2


def block(seconds: float = 2 * SHORT) -> None:
    """Block the event loop, as a faulty handler does."""
    time.sleep(seconds)


async def answer_of(client: socket.socket, server: socket.socket, size: int = 100) -> bytes:
    """Send a request over a socket pair to an echo server, and read the response."""
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        writer.write(b"question")
        server.sendall(b"x" * size)
        return await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()


async def steps(count: int) -> None:
    """Work that takes this many iterations of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


@ON_BOTH_LOOPS
async def test_responses_that_arrived_during_a_pause_are_read() -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    timeout = SharedTimeout(SHORT)
    asking = []
    for pair in pairs:
        asking.append(asyncio.create_task(timeout.wait_for(answer_of(*pair))))
        await asyncio.sleep(0)
    block()
    assert await asyncio.gather(*asking) == [b"x" * 100] * len(pairs)
    for _, server in pairs:
        server.close()


@ON_BOTH_LOOPS
async def test_a_request_not_sent_before_a_pause_gets_its_response() -> None:
    async def ask() -> int:
        await asyncio.sleep(0)
        return await asyncio.to_thread(int, 7)

    asking = asyncio.create_task(SharedTimeout(SHORT).wait_for(ask()))
    await asyncio.sleep(0)
    block()
    assert await asking == 7


@ON_BOTH_LOOPS
async def test_slow_iterations_of_the_event_loop_count() -> None:
    async def block_again_and_again() -> None:
        while not working.done():
            block(SHORT)
            await asyncio.sleep(0)

    working = asyncio.create_task(SharedTimeout(SHORT).wait_for(steps(10)))
    await asyncio.create_task(block_again_and_again())
    await working


@ON_BOTH_LOOPS
async def test_a_hanging_wait_expires_after_a_pause() -> None:
    timeout = SharedTimeout(SHORT)
    hanging = [asyncio.create_task(timeout.wait_for(asyncio.Event().wait())) for _ in range(2)]
    await asyncio.sleep(0)
    block()
    hanging.append(asyncio.create_task(timeout.wait_for(asyncio.Event().wait())))
    await asyncio.wait(hanging)
    assert [type(task.exception()) for task in hanging] == [TimeoutError] * 3


@ON_BOTH_LOOPS
async def test_a_wait_that_starts_after_a_pause_has_its_full_timeout() -> None:
    timeout = SharedTimeout(3 * SHORT)
    before = asyncio.create_task(timeout.wait_for(asyncio.Event().wait()))
    await asyncio.sleep(0)
    block(4 * SHORT)
    after = asyncio.create_task(timeout.wait_for(asyncio.Event().wait()))
    await asyncio.wait([before])
    assert not after.done()
    await asyncio.wait([after])
    assert [type(task.exception()) for task in (before, after)] == [TimeoutError] * 2


def test_one_event_loop_after_another() -> None:
    timeout = SharedTimeout(0.01)
    for _ in range(2):
        assert asyncio.run(timeout.wait_for(asyncio.sleep(0, 1))) == 1
        with pytest.raises(TimeoutError):
            asyncio.run(timeout.wait_for(asyncio.sleep(LONG)))
