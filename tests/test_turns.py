"""Turns at hashing passwords: whose is next, and what is refused."""

import asyncio
from contextlib import ExitStack, suppress

import pytest

from cartapp.accounts import TooBusy
from cartapp.accounts.passwords import THREADS
from cartapp.accounts.turns import ROOM, ROOM_OF_ONE, Turns

pytestmark = pytest.mark.anyio


class Attempts:
    """Attempts that wait for a turn; each keeps its turn until `finish`."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.running: list[str] = []
        self.began: list[str] = []
        self.refused: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, name: str, *, account: str, network: str, is_known: bool = True) -> None:
        """Let an attempt begin, and wait until it runs, waits or is refused."""
        self._ends[name] = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._attempt(name, account, network, is_known)))
        await _settled()

    async def finish(self, name: str) -> None:
        """End an attempt's turn, and wait until the next one has begun."""
        self._ends[name].set()
        await _settled()

    async def finish_all(self) -> None:
        while self.running:
            await self.finish(self.running[0])
        await asyncio.gather(*self._tasks)

    async def cancel_last(self) -> None:
        self._tasks[-1].cancel()
        with suppress(asyncio.CancelledError):
            await self._tasks.pop()

    async def _attempt(self, name: str, account: str, network: str, is_known: bool) -> None:
        try:
            async with self.turns.take(account, network, is_known=is_known):
                self.running.append(name)
                self.began.append(name)
                await self._ends[name].wait()
                self.running.remove(name)
        except TooBusy:
            self.refused.append(name)


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_another_network_waits_for_one_hash_of_a_busy_one() -> None:
    attempts = Attempts()
    for number in range(6):
        await attempts.come(f"busy-{number}", account=f"{number}", network="busy")
    await attempts.come("first", account="a", network="first")
    assert attempts.running == ["busy-0", "first"]
    await attempts.come("second", account="b", network="second")
    await attempts.finish("busy-0")
    assert attempts.running == ["first", "second"]
    await attempts.finish_all()
    assert attempts.began[3:] == [f"busy-{number}" for number in range(1, 6)]


async def test_another_account_waits_for_one_hash_of_a_busy_one() -> None:
    attempts = Attempts()
    for number in range(6):
        await attempts.come(f"busy-{number}", account="busy", network=f"{number}")
    await attempts.come("other", account="other", network="home")
    assert attempts.running == ["busy-0", "other"]
    await attempts.finish_all()
    assert len(attempts.began) == 7


async def test_a_busy_network_does_not_hold_up_the_owner_elsewhere() -> None:
    attempts = Attempts()
    await attempts.come("busy-0", account="other", network="busy")
    await attempts.come("busy-1", account="owner", network="busy")
    await attempts.come("owner", account="owner", network="home")
    assert attempts.running == ["busy-0", "owner"]
    await attempts.finish_all()


async def test_no_more_at_a_time_than_threads() -> None:
    attempts = Attempts()
    for number in range(6):
        await attempts.come(f"{number}", account=f"{number}", network=f"{number}")
    assert len(attempts.running) == THREADS
    await attempts.finish("1")
    assert attempts.running == ["0", "2"]
    await attempts.finish_all()


async def test_unknown_networks_leave_a_thread_to_known_ones() -> None:
    attempts = Attempts()
    for number in range(6):
        await attempts.come(f"{number}", account=f"{number}", network=f"{number}", is_known=False)
    assert attempts.running == ["0"]
    await attempts.come("known", account="known", network="known")
    assert attempts.running == ["0", "known"]
    await attempts.finish_all()
    assert len(attempts.began) == 7


async def test_one_account_has_so_much_room() -> None:
    attempts = Attempts()
    for number in range(ROOM_OF_ONE + 1):
        await attempts.come(f"{number}", account="one", network=f"{number}")
    assert attempts.refused == [f"{ROOM_OF_ONE}"]
    await attempts.come("other", account="other", network="other")
    assert "other" in attempts.running
    await attempts.finish_all()
    assert len(attempts.began) == ROOM_OF_ONE + 1


def test_one_network_has_so_much_room() -> None:
    turns = Turns()
    with ExitStack() as taken:
        for _ in range(ROOM_OF_ONE):
            taken.enter_context(turns.room("one", is_known=True))
        with pytest.raises(TooBusy):
            taken.enter_context(turns.room("one", is_known=False))
        taken.enter_context(turns.room("other", is_known=True))
    with turns.room("one", is_known=True):
        pass


@pytest.mark.parametrize("is_known", [True, False])
def test_known_and_unknown_networks_have_room_of_their_own(is_known: bool) -> None:
    turns = Turns()
    with ExitStack() as taken:
        for number in range(ROOM):
            taken.enter_context(turns.room(f"{number}", is_known=is_known))
        with pytest.raises(TooBusy):
            taken.enter_context(turns.room("other", is_known=is_known))
        taken.enter_context(turns.room("other", is_known=not is_known))
    assert not turns._taken


async def test_nothing_is_left_of_turns_that_are_over_or_given_up() -> None:
    attempts = Attempts()
    for name in ("running", "waiting"):
        await attempts.come(name, account="one", network="one")
    await attempts.cancel_last()
    await attempts.finish_all()
    assert (attempts.turns._lines, attempts.began) == ({}, ["running"])
