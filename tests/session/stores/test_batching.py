"""Command batches: their composition, and the effect of one failed or cancelled command on others."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from cartapp.session.stores.batching import BatcherClosed, CommandBatcher

pytestmark = pytest.mark.anyio

OnResponse = Callable[[object], None]


class Echo:
    """Responds to each command with the command once `gate` is open, and records the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.in_flight = self.max_concurrent = 0

    async def __call__(self, commands: Sequence[str], on_response: OnResponse) -> None:
        self.batches.append(list(commands))
        self.in_flight += 1
        self.max_concurrent = max(self.max_concurrent, self.in_flight)
        try:
            await self.gate.wait()
            for command in commands:
                on_response(command)
        finally:
            self.in_flight -= 1


@pytest.fixture
async def echo() -> Echo:
    return Echo()


def make_batcher(
    echo: Echo, *, max_batch: int = 100, max_in_flight: int = 10, timeout: float = 60
) -> CommandBatcher[str]:
    return CommandBatcher(echo, max_batch=max_batch, max_in_flight=max_in_flight, timeout=timeout)


async def turns(count: int = 5) -> None:
    """Let the event loop run all ready callbacks."""
    for _ in range(count):
        await asyncio.sleep(0)


def submit_all(batcher: CommandBatcher[str], *commands: str) -> list[asyncio.Task[object]]:
    async def submit(command: str) -> object:
        return await batcher.submit(command)

    return [asyncio.create_task(submit(command)) for command in commands]


async def test_concurrent_commands_share_a_batch(echo: Echo) -> None:
    answers = await asyncio.gather(*submit_all(make_batcher(echo), *"abc"))
    assert answers == ["a", "b", "c"]
    assert echo.batches == [["a", "b", "c"]]


async def test_command_waits_for_batches_in_flight(echo: Echo) -> None:
    batcher = make_batcher(echo)
    echo.gate.clear()
    first = submit_all(batcher, "a")
    await turns()
    others = submit_all(batcher, "b", "c")
    echo.gate.set()
    assert await asyncio.gather(*first, *others) == ["a", "b", "c"]
    assert echo.batches == [["a"], ["b", "c"]]
    assert echo.max_concurrent == 1


async def test_command_waits_a_few_milliseconds_at_most(echo: Echo) -> None:
    batcher = make_batcher(echo)
    echo.gate.clear()
    first = submit_all(batcher, "a")
    await turns()
    second = submit_all(batcher, "b")
    async with asyncio.timeout(60):
        while echo.in_flight < 2:  # noqa: ASYNC110 - the loop's own clock is what is waited for
            await asyncio.sleep(0)
    assert echo.batches == [["a"], ["b"]]
    echo.gate.set()
    assert await asyncio.gather(*first, *second) == ["a", "b"]


async def test_full_batch_is_sent_immediately(echo: Echo) -> None:
    batcher = make_batcher(echo, max_batch=2)
    echo.gate.clear()
    tasks = submit_all(batcher, "a")
    await turns()
    tasks += submit_all(batcher, "b", "c")
    await turns()
    assert echo.batches == [["a"], ["b", "c"]]
    echo.gate.set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]


async def test_batches_are_bounded_in_size_and_in_number(echo: Echo) -> None:
    commands = [str(number) for number in range(100)]
    echo.gate.clear()
    tasks = submit_all(make_batcher(echo, max_batch=7, max_in_flight=3), *commands)
    await turns()
    assert [len(batch) for batch in echo.batches] == [7, 7, 7]
    echo.gate.set()
    assert await asyncio.gather(*tasks) == commands
    assert [command for batch in echo.batches for command in batch] == commands
    assert max(map(len, echo.batches)) == 7
    assert echo.max_concurrent == 3


async def test_command_cancelled_while_waiting_is_not_sent(echo: Echo) -> None:
    batcher = make_batcher(echo, max_in_flight=1)
    echo.gate.clear()
    first = submit_all(batcher, "a")
    await turns()
    waiting = submit_all(batcher, "b", "c", "d")
    await turns()
    waiting[1].cancel()
    await turns()
    echo.gate.set()
    assert await asyncio.gather(*first, waiting[0], waiting[2]) == ["a", "b", "d"]
    assert echo.batches == [["a"], ["b", "d"]]


async def test_nothing_is_sent_if_all_waiting_commands_are_cancelled(echo: Echo) -> None:
    batcher = make_batcher(echo)
    tasks = submit_all(batcher, "a", "b")
    tasks[0].cancel()  # before its first step
    await asyncio.sleep(0)
    tasks[1].cancel()  # before the end of the iteration
    await turns()
    assert echo.batches == []
    assert await batcher.submit("c") == "c"


async def test_cancellation_after_sending_affects_no_other_command(echo: Echo) -> None:
    echo.gate.clear()
    tasks = submit_all(make_batcher(echo), *"abc")
    await turns()
    tasks[0].cancel()
    await turns()
    echo.gate.set()
    assert await asyncio.gather(*tasks[1:]) == ["b", "c"]
    assert tasks[0].cancelled()


async def test_error_response_goes_to_one_caller() -> None:
    async def send(commands: Sequence[str], on_response: OnResponse) -> None:
        for command in commands:
            on_response(ValueError(command) if command == "b" else command)

    batcher = CommandBatcher(send, max_batch=10, max_in_flight=1, timeout=60)
    first, refused, third = await asyncio.gather(*submit_all(batcher, *"abc"))
    assert (first, third) == ("a", "c")
    assert isinstance(refused, ValueError)


async def test_responses_before_a_broken_connection_are_kept() -> None:
    async def send(commands: Sequence[str], on_response: OnResponse) -> None:
        on_response(commands[0])
        raise ConnectionResetError

    batcher = CommandBatcher(send, max_batch=10, max_in_flight=1, timeout=60)
    first, *others = await asyncio.gather(*submit_all(batcher, *"abc"))
    assert first == "a"
    assert [type(other) for other in others] == [ConnectionResetError] * 2


async def test_response_is_passed_on_at_once() -> None:
    slow = asyncio.Event()

    async def send(commands: Sequence[str], on_response: OnResponse) -> None:
        on_response(commands[0])
        await slow.wait()
        on_response(commands[1])

    quick, late = submit_all(CommandBatcher(send, max_batch=10, max_in_flight=1, timeout=60), *"ab")
    assert await quick == "a"
    assert not late.done()
    slow.set()
    assert await late == "b"


async def test_batch_times_out_and_frees_its_connection(echo: Echo) -> None:
    batcher = make_batcher(echo, max_in_flight=1, timeout=0.01)
    echo.gate.clear()
    answers = await asyncio.gather(*submit_all(batcher, *"ab"))
    assert [type(answer) for answer in answers] == [TimeoutError] * 2
    echo.gate.set()
    assert await batcher.submit("c") == "c"


async def test_a_queued_command_has_the_timeout_from_its_submission(echo: Echo) -> None:
    batcher = make_batcher(echo, max_batch=1, max_in_flight=1, timeout=0.2)
    echo.gate.clear()
    responses = await asyncio.gather(*submit_all(batcher, *"abcdefghij"))
    assert [type(response) for response in responses] == [TimeoutError] * 10
    assert echo.batches == [["a"]]  # the others expired with it: none took its place


async def test_a_batch_without_callers_is_cancelled_after_the_timeout(echo: Echo) -> None:
    batcher = make_batcher(echo, max_in_flight=1, timeout=0.05)
    echo.gate.clear()
    (task,) = submit_all(batcher, "a")
    await turns()
    task.cancel()
    async with asyncio.timeout(60):
        while echo.in_flight:  # noqa: ASYNC110 - the loop's own clock is what is waited for
            await asyncio.sleep(0)
    echo.gate.set()
    assert await batcher.submit("b") == "b"


async def test_close_ends_batches_and_queued_commands(echo: Echo) -> None:
    batcher = make_batcher(echo, max_batch=1, max_in_flight=1)
    echo.gate.clear()
    tasks = submit_all(batcher, *"ab")
    await turns()
    await batcher.close()
    answers = await asyncio.gather(*tasks)
    assert [type(answer) for answer in answers] == [BatcherClosed] * 2
    assert echo.batches == [["a"]]
    assert echo.in_flight == 0


async def test_close_ends_a_batch_that_has_not_started(echo: Echo) -> None:
    batcher = make_batcher(echo)
    (task,) = submit_all(batcher, "a")
    await asyncio.sleep(0)  # submit_all has run
    await asyncio.sleep(0)  # the batch's task exists
    await batcher.close()
    assert isinstance(await task, BatcherClosed)
