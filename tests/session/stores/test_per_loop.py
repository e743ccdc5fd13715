"""Values of several event loops: one for each, closed when its event loop ends."""

import asyncio

from cartapp.session.stores.per_loop import PerLoop


class Opened:
    """A value that knows its event loop, and whether it was closed there."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_closed = False

    async def close(self) -> None:
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0)
        self.is_closed = True


async def _get(values: PerLoop[Opened]) -> Opened:
    assert values.get() is values.get()
    return values.get()


def test_a_value_is_closed_when_its_event_loop_ends() -> None:
    values = PerLoop(Opened, Opened.close)
    first, second = asyncio.run(_get(values)), asyncio.run(_get(values))
    assert first is not second
    assert first.is_closed
    assert second.is_closed
    assert values.values() == []


def test_a_closed_value_is_replaced_on_the_next_use() -> None:
    values = PerLoop(Opened, Opened.close)

    async def use() -> None:
        await values.close()  # nothing is open
        first = values.get()
        await values.close()
        assert first.is_closed
        assert values.get() is not first

    asyncio.run(use())
    assert values.values() == []


def test_close_leaves_other_event_loops_alone() -> None:
    values = PerLoop(Opened, Opened.close)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        first, second = one.run(_get(values)), other.run(_get(values))
        other.run(values.close())
        assert second.is_closed
        assert not first.is_closed
        assert one.run(_get(values)) is first
    assert first.is_closed


def test_an_event_loop_that_was_only_closed_is_forgotten() -> None:
    values = PerLoop(Opened, Opened.close)
    loop = asyncio.new_event_loop()
    lost = loop.run_until_complete(_get(values))
    loop.close()
    asyncio.run(_get(values))
    assert not lost.is_closed
    assert values.values() == []


def test_an_early_value_is_that_of_the_first_event_loop() -> None:
    numbers = iter(range(9))
    values = PerLoop(lambda: next(numbers), early=True)

    async def get() -> int:
        return values.get()

    assert next(numbers) == 1
    assert [asyncio.run(get()) for _ in range(2)] == [0, 2]
