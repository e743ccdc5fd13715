"""1,000 log-ins a minute for one account, and as many registrations, at `cart serve` with two workers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import pytest

from .attack import (
    HOME,
    MALLORY,
    OTHERS,
    OWNER,
    SETTINGS,
    Crowd,
    Seen,
    log_ins_of_others,
    log_ins_of_the_owner,
    log_ins_to_one_account,
    looks_of_others,
    peak_memory,
    registrations_of_one_network,
    together,
)
from .running import running_shop

pytestmark = pytest.mark.anyio

GROWTH = 64 * 1024
"""KiB that a worker may grow by: two hashes of 19 MiB, and what requests hold."""


@dataclass
class Attack:
    """What all sides saw of an attack."""

    log_ins: Seen = field(default_factory=Seen)
    registrations: Seen = field(default_factory=Seen)
    owner: Seen = field(default_factory=Seen)
    others: Seen = field(default_factory=Seen)
    looks: Seen = field(default_factory=Seen)
    seconds: float = 0

    async def run(self, crowd: Crowd, seconds: float, name: str) -> None:
        """Attack one account, while the owner and others log in and visitors look at the shop."""
        start = perf_counter()
        await together(
            log_ins_to_one_account(crowd, self.log_ins, seconds, name),
            registrations_of_one_network(crowd, self.registrations, seconds),
            log_ins_of_the_owner(crowd, self.owner, seconds),
            log_ins_of_others(crowd, self.others, seconds),
            looks_of_others(crowd, self.looks, seconds),
        )
        self.seconds = perf_counter() - start

    def check(self) -> None:
        """The limits hold, and neither the owner nor others are locked out."""
        assert set(self.owner.statuses) == set(self.others.statuses) == set(self.looks.statuses) == {200}
        assert set(self.registrations.statuses) <= {201, 429, 503}
        assert 30 <= self.registrations.statuses[201] <= 31 + self.seconds / 2
        assert self.log_ins.without_retry_after == self.registrations.without_retry_after == 0


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[Crowd]:
    """Clients of a shop that has an owner and other users, each logged in once from where they are."""
    with running_shop(tmp_path, SETTINGS) as shop:
        crowd, seen = Crowd(shop), Seen()
        async with crowd.client:
            await crowd.look(seen)
            await crowd.add_users(OWNER, MALLORY, *OTHERS)
            await crowd.log_in(seen, OWNER, HOME)
            for _ in range(3):
                await log_ins_of_others(crowd, seen, seconds=2)
            assert set(seen.statuses) == {200}
            yield crowd


async def test_h4_the_limits_hold_and_nobody_else_is_locked_out(crowd: Crowd) -> None:
    before = peak_memory(crowd.workers)
    attack = Attack()
    await attack.run(crowd, 6, OWNER)
    attack.check()
    assert set(attack.log_ins.statuses) <= {401, 429, 503}
    assert attack.log_ins.statuses[401] <= 11 + attack.seconds / 6
    assert all(
        after - start < GROWTH for start, after in zip(before, peak_memory(crowd.workers), strict=True)
    )


@pytest.mark.soak
@pytest.mark.parametrize("name", [OWNER, MALLORY])
async def test_h4_others_wait_no_three_times_as_long(crowd: Crowd, name: str) -> None:
    idle, idle_looks = Seen(), Seen()
    await together(log_ins_of_others(crowd, idle, 60), looks_of_others(crowd, idle_looks, 60))
    before = peak_memory(crowd.workers)
    attack = Attack()
    await attack.run(crowd, 60, name)
    print(f"\nidle: {idle}\n  pages: {idle_looks}\nothers: {attack.others}\n  pages: {attack.looks}")
    print(f"owner: {attack.owner}\nlog-ins: {attack.log_ins}\nregistrations: {attack.registrations}")
    print(f"peak memory, KiB: {before}, {peak_memory(crowd.workers)}")
    attack.check()
    assert attack.others.percentile(0.99) <= 3 * idle.percentile(0.99)
    assert all(
        after - start < GROWTH for start, after in zip(before, peak_memory(crowd.workers), strict=True)
    )
