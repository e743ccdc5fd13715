"""The timeout that many operations share, and that is set only once one of them waits."""

import asyncio
import socket
import time

import pytest

from cartapp.session.stores.timeouts import SharedTimeout

from .conftest import ON_BOTH_LOOPS

pytestmark = pytest.mark.anyio

LONG = 60.0


async def test_what_never_waits_needs_no_clock() -> None:
    async def work() -> int:
        return 1

    assert await SharedTimeout(0).wait_for(work()) == 1


async def test_what_waits_comes_back() -> None:
    async def work() -> list[int]:
        seen = []
        for number in range(3):
            await asyncio.sleep(0)
            seen.append(await asyncio.to_thread(int, number))
        return seen

    assert await SharedTimeout(LONG).wait_for(work()) == [0, 1, 2]


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_an_error_comes_through(waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await SharedTimeout(LONG).wait_for(work())


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
        await SharedTimeout(0.01).wait_for(work())
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


async def test_one_timer_ends_all_that_wait_too_long() -> None:
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


async def test_somebody_elses_cancellation_goes_first() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()  # while our own is under way
            await asyncio.sleep(0)

    task = asyncio.create_task(SharedTimeout(0.01).wait_for(work()))
    await asyncio.wait([task])
    assert task.cancelled()


# -- an event loop that is blocked --------------------------------------------------------------------------

SHORT = 0.2


def block(seconds: float = 2 * SHORT) -> None:
    """What a handler must not do."""
    time.sleep(seconds)


async def answer_of(client: socket.socket, server: socket.socket, size: int = 100) -> bytes:
    """Ask a server on the other end of a pair of sockets, which answers at once, and read what it says."""
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        writer.write(b"question")
        server.sendall(b"x" * size)
        return await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()


async def steps(count: int) -> None:
    """Work that takes as many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


@ON_BOTH_LOOPS
async def test_what_has_arrived_meanwhile_is_read() -> None:
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
async def test_a_request_that_was_not_sent_before_is_answered_afterwards() -> None:
    async def ask() -> int:
        await asyncio.sleep(0)
        return await asyncio.to_thread(int, 7)

    asking = asyncio.create_task(SharedTimeout(SHORT).wait_for(ask()))
    await asyncio.sleep(0)
    block()
    assert await asking == 7


@ON_BOTH_LOOPS
async def test_turns_that_are_slow_one_after_the_other_count_as_turns() -> None:
    async def block_again_and_again() -> None:
        while not working.done():
            block(SHORT)
            await asyncio.sleep(0)

    working = asyncio.create_task(SharedTimeout(SHORT).wait_for(steps(10)))
    await asyncio.create_task(block_again_and_again())
    await working


@ON_BOTH_LOOPS
async def test_what_hangs_is_ended_though_the_event_loop_was_blocked() -> None:
    timeout = SharedTimeout(SHORT)
    hanging = [asyncio.create_task(timeout.wait_for(asyncio.Event().wait())) for _ in range(2)]
    await asyncio.sleep(0)
    block()
    hanging.append(asyncio.create_task(timeout.wait_for(asyncio.Event().wait())))
    await asyncio.wait(hanging)
    assert [type(task.exception()) for task in hanging] == [TimeoutError] * 3


@ON_BOTH_LOOPS
async def test_what_begins_after_a_pause_has_its_time() -> None:
    timeout = SharedTimeout(3 * SHORT)
    before = asyncio.create_task(timeout.wait_for(asyncio.Event().wait()))
    await asyncio.sleep(0)
    block(4 * SHORT)
    after = asyncio.create_task(timeout.wait_for(asyncio.Event().wait()))
    await asyncio.wait([before])
    assert not after.done()
    await asyncio.wait([after])
    assert [type(task.exception()) for task in (before, after)] == [TimeoutError] * 2


def test_it_goes_with_one_event_loop_after_the_other() -> None:
    timeout = SharedTimeout(0.01)
    for _ in range(2):
        assert asyncio.run(timeout.wait_for(asyncio.sleep(0, 1))) == 1
        with pytest.raises(TimeoutError):
            asyncio.run(timeout.wait_for(asyncio.sleep(LONG)))
