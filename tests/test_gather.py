"""Gathering commands: who travels with whom, and what one's misfortune does to the others."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from cartapp.session.stores.gather import Closed, Gatherer

pytestmark = pytest.mark.anyio

Answered = Callable[[object], None]


class Echo:
    """Answers each command with itself, as soon as `gate` is open; remembers what travelled together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    async def __call__(self, commands: Sequence[str], answered: Answered) -> None:
        self.batches.append(list(commands))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            for command in commands:
                answered(command)
        finally:
            self.at_once -= 1


@pytest.fixture
async def echo() -> Echo:
    return Echo()


def gatherer(echo: Echo, *, most: int = 100, at_once: int = 10, timeout: float = 60) -> Gatherer[str]:
    return Gatherer(echo, most=most, at_once=at_once, timeout=timeout)


async def turns(count: int = 5) -> None:
    """Let the event loop run all that is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


def asked(gathering: Gatherer[str], *commands: str) -> list[asyncio.Task[object]]:
    async def ask(command: str) -> object:
        return await gathering.ask(command)

    return [asyncio.create_task(ask(command)) for command in commands]


async def test_what_waits_at_the_same_moment_travels_together(echo: Echo) -> None:
    answers = await asyncio.gather(*asked(gatherer(echo), *"abc"))
    assert answers == ["a", "b", "c"]
    assert echo.batches == [["a", "b", "c"]]


async def test_while_others_are_under_way_a_command_waits_for_them(echo: Echo) -> None:
    gathering = gatherer(echo)
    echo.gate.clear()
    first = asked(gathering, "a")
    await turns()
    others = asked(gathering, "b", "c")
    echo.gate.set()
    assert await asyncio.gather(*first, *others) == ["a", "b", "c"]
    assert echo.batches == [["a"], ["b", "c"]]
    assert echo.most_at_once == 1


async def test_but_not_for_long(echo: Echo) -> None:
    gathering = gatherer(echo)
    echo.gate.clear()
    first = asked(gathering, "a")
    await turns()
    second = asked(gathering, "b")
    async with asyncio.timeout(60):
        while echo.at_once < 2:  # noqa: ASYNC110 - the loop's own clock is what is waited for
            await asyncio.sleep(0)
    assert echo.batches == [["a"], ["b"]]
    echo.gate.set()
    assert await asyncio.gather(*first, *second) == ["a", "b"]


async def test_a_full_batch_waits_for_nobody(echo: Echo) -> None:
    gathering = gatherer(echo, most=2)
    echo.gate.clear()
    tasks = asked(gathering, "a")
    await turns()
    tasks += asked(gathering, "b", "c")
    await turns()
    assert echo.batches == [["a"], ["b", "c"]]
    echo.gate.set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]


async def test_batches_are_bounded_in_size_and_in_number(echo: Echo) -> None:
    commands = [str(number) for number in range(100)]
    echo.gate.clear()
    tasks = asked(gatherer(echo, most=7, at_once=3), *commands)
    await turns()
    assert [len(batch) for batch in echo.batches] == [7, 7, 7]
    echo.gate.set()
    assert await asyncio.gather(*tasks) == commands
    assert [command for batch in echo.batches for command in batch] == commands
    assert max(map(len, echo.batches)) == 7
    assert echo.most_at_once == 3


async def test_who_is_cancelled_while_waiting_is_not_sent(echo: Echo) -> None:
    gathering = gatherer(echo, at_once=1)
    echo.gate.clear()
    first = asked(gathering, "a")
    await turns()
    waiting = asked(gathering, "b", "c", "d")
    await turns()
    waiting[1].cancel()
    await turns()
    echo.gate.set()
    assert await asyncio.gather(*first, waiting[0], waiting[2]) == ["a", "b", "d"]
    assert echo.batches == [["a"], ["b", "d"]]


async def test_when_all_who_wait_are_cancelled_nothing_is_sent(echo: Echo) -> None:
    gathering = gatherer(echo)
    tasks = asked(gathering, "a", "b")
    tasks[0].cancel()  # before its first step
    await asyncio.sleep(0)
    tasks[1].cancel()  # before the end of the turn
    await turns()
    assert echo.batches == []
    assert await gathering.ask("c") == "c"


async def test_who_is_cancelled_after_sending_takes_nobody_down(echo: Echo) -> None:
    echo.gate.clear()
    tasks = asked(gatherer(echo), *"abc")
    await turns()
    tasks[0].cancel()
    await turns()
    echo.gate.set()
    assert await asyncio.gather(*tasks[1:]) == ["b", "c"]
    assert tasks[0].cancelled()


async def test_a_refusal_is_one_callers_own() -> None:
    async def send(commands: Sequence[str], answered: Answered) -> None:
        for command in commands:
            answered(ValueError(command) if command == "b" else command)

    gathering = Gatherer(send, most=10, at_once=1, timeout=60)
    first, refused, third = await asyncio.gather(*asked(gathering, *"abc"))
    assert (first, third) == ("a", "c")
    assert isinstance(refused, ValueError)


async def test_a_break_in_the_middle_leaves_the_answers_before_it() -> None:
    async def send(commands: Sequence[str], answered: Answered) -> None:
        answered(commands[0])
        raise ConnectionResetError

    gathering = Gatherer(send, most=10, at_once=1, timeout=60)
    first, *others = await asyncio.gather(*asked(gathering, *"abc"))
    assert first == "a"
    assert [type(other) for other in others] == [ConnectionResetError] * 2


async def test_an_answer_counts_as_soon_as_it_is_there() -> None:
    slow = asyncio.Event()

    async def send(commands: Sequence[str], answered: Answered) -> None:
        answered(commands[0])
        await slow.wait()
        answered(commands[1])

    quick, late = asked(Gatherer(send, most=10, at_once=1, timeout=60), *"ab")
    assert await quick == "a"
    assert not late.done()
    slow.set()
    assert await late == "b"


async def test_a_batch_has_its_time_and_then_makes_room(echo: Echo) -> None:
    gathering = gatherer(echo, at_once=1, timeout=0.01)
    echo.gate.clear()
    answers = await asyncio.gather(*asked(gathering, *"ab"))
    assert [type(answer) for answer in answers] == [TimeoutError] * 2
    echo.gate.set()
    assert await gathering.ask("c") == "c"


async def test_closing_ends_what_is_under_way_and_what_waits(echo: Echo) -> None:
    gathering = gatherer(echo, most=1, at_once=1)
    echo.gate.clear()
    tasks = asked(gathering, *"ab")
    await turns()
    await gathering.close()
    answers = await asyncio.gather(*tasks)
    assert [type(answer) for answer in answers] == [Closed] * 2
    assert echo.batches == [["a"]]
    assert echo.at_once == 0


async def test_closing_ends_a_batch_that_has_not_begun(echo: Echo) -> None:
    gathering = gatherer(echo)
    (task,) = asked(gathering, "a")
    await asyncio.sleep(0)  # it has asked
    await asyncio.sleep(0)  # the batch's task is made
    await gathering.close()
    assert isinstance(await task, Closed)
