"""HashingQueue: order of attempts, and limits."""

import asyncio
from contextlib import ExitStack, suppress

import pytest

from cartapp.accounts import TooBusy
from cartapp.accounts.hashing_queue import MAX_ATTEMPTS, MAX_ATTEMPTS_PER_SUBJECT, HashingQueue
from cartapp.accounts.passwords import MAX_CONCURRENT_HASHES

pytestmark = pytest.mark.anyio


class Attempts:
    """Attempts that wait for a thread and hold it until `finish`."""

    def __init__(self) -> None:
        self.queue = HashingQueue()
        self.running: list[str] = []
        self.began: list[str] = []
        self.refused: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, name: str, *, account: str, network: str, is_known: bool = True) -> None:
        """Start an attempt and wait until it runs, waits or is rejected."""
        self._ends[name] = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._attempt(name, account, network, is_known)))
        await _settled()

    async def finish(self, name: str) -> None:
        """Finish an attempt and wait until the next one runs."""
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
            async with self.queue.acquire(account, network, is_known=is_known):
                self.running.append(name)
                self.began.append(name)
                await self._ends[name].wait()
                self.running.remove(name)
        except TooBusy:
            self.refused.append(name)


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_busy_network_delays_others_by_one_hash() -> None:
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


async def test_busy_account_delays_others_by_one_hash() -> None:
    attempts = Attempts()
    for number in range(6):
        await attempts.come(f"busy-{number}", account="busy", network=f"{number}")
    await attempts.come("other", account="other", network="home")
    assert attempts.running == ["busy-0", "other"]
    await attempts.finish_all()
    assert len(attempts.began) == 7


async def test_busy_network_does_not_delay_the_owner_elsewhere() -> None:
    attempts = Attempts()
    await attempts.come("busy-0", account="other", network="busy")
    await attempts.come("busy-1", account="owner", network="busy")
    await attempts.come("owner", account="owner", network="home")
    assert attempts.running == ["busy-0", "owner"]
    await attempts.finish_all()


async def test_concurrent_hashes_are_limited_to_the_threads() -> None:
    attempts = Attempts()
    for number in range(6):
        await attempts.come(f"{number}", account=f"{number}", network=f"{number}")
    assert len(attempts.running) == MAX_CONCURRENT_HASHES
    await attempts.finish("1")
    assert attempts.running == ["0", "2"]
    await attempts.finish_all()


async def test_unknown_networks_leave_a_thread_for_known_ones() -> None:
    attempts = Attempts()
    for number in range(6):
        await attempts.come(f"{number}", account=f"{number}", network=f"{number}", is_known=False)
    assert attempts.running == ["0"]
    await attempts.come("known", account="known", network="known")
    assert attempts.running == ["0", "known"]
    await attempts.finish_all()
    assert len(attempts.began) == 7


@pytest.mark.parametrize(
    ("account", "network"), [("owner", "elsewhere"), ("other", "home")], ids=["one account", "one network"]
)
async def test_known_network_never_waits_for_a_queued_unknown_one(account: str, network: str) -> None:
    attempts = Attempts()
    await attempts.come("attack", account="a", network="b", is_known=False)
    await attempts.come("queued", account=account, network=network, is_known=False)
    await attempts.come("owner", account="owner", network="home")
    assert attempts.running == ["attack", "owner"]
    await attempts.finish_all()
    assert attempts.began == ["attack", "owner", "queued"]


async def test_guesses_from_unknown_networks_do_not_fill_the_owners_queue() -> None:
    attempts = Attempts()
    for number in range(MAX_ATTEMPTS_PER_SUBJECT):
        await attempts.come(f"{number}", account="owner", network=f"{number}", is_known=False)
    await attempts.come("owner", account="owner", network="home")
    assert (attempts.running, attempts.refused) == (["0", "owner"], [])
    await attempts.finish_all()


async def test_attempts_per_account_are_limited() -> None:
    attempts = Attempts()
    for number in range(MAX_ATTEMPTS_PER_SUBJECT + 1):
        await attempts.come(f"{number}", account="one", network=f"{number}")
    assert attempts.refused == [f"{MAX_ATTEMPTS_PER_SUBJECT}"]
    await attempts.come("other", account="other", network="other")
    assert "other" in attempts.running
    await attempts.finish_all()
    assert len(attempts.began) == MAX_ATTEMPTS_PER_SUBJECT + 1


def test_attempts_per_network_are_limited() -> None:
    queue = HashingQueue()
    with ExitStack() as taken:
        for _ in range(MAX_ATTEMPTS_PER_SUBJECT):
            taken.enter_context(queue.admit("one", is_known=True))
        with pytest.raises(TooBusy):
            taken.enter_context(queue.admit("one", is_known=True))
        taken.enter_context(queue.admit("other", is_known=True))
        taken.enter_context(queue.admit("one", is_known=False))
    with queue.admit("one", is_known=True):
        pass


@pytest.mark.parametrize("is_known", [True, False])
def test_known_and_unknown_networks_have_separate_limits(is_known: bool) -> None:
    queue = HashingQueue()
    with ExitStack() as taken:
        for number in range(MAX_ATTEMPTS):
            taken.enter_context(queue.admit(f"{number}", is_known=is_known))
        with pytest.raises(TooBusy):
            taken.enter_context(queue.admit("other", is_known=is_known))
        taken.enter_context(queue.admit("other", is_known=not is_known))
    assert not queue._admitted


async def test_finished_and_cancelled_attempts_leave_no_state() -> None:
    attempts = Attempts()
    for name in ("running", "waiting"):
        await attempts.come(name, account="one", network="one")
    await attempts.cancel_last()
    await attempts.finish_all()
    assert (attempts.queue._queues, attempts.began) == ({}, ["running"])
