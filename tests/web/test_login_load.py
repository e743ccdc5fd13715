"""1,000 log-ins a minute for one account, and as many registrations, on `cart serve` with two workers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import pytest

from tests.support.login_load import (
    HOME,
    MALLORY,
    OTHERS,
    OWNER,
    SETTINGS,
    LoginClients,
    ResponseStats,
    log_ins_by_other_users,
    log_ins_by_owner,
    log_ins_to_one_account,
    page_views,
    peak_memory,
    registrations_from_one_network,
    run_concurrently,
)
from tests.support.shop_server import running_shop

pytestmark = pytest.mark.anyio

GROWTH = 64 * 1024
"""Permitted growth of a worker in KiB: two hashes of 19 MiB, and requests."""


@dataclass
class Attack:
    """Responses to the attacker, the account's owner and other users."""

    log_ins: ResponseStats = field(default_factory=ResponseStats)
    registrations: ResponseStats = field(default_factory=ResponseStats)
    owner: ResponseStats = field(default_factory=ResponseStats)
    others: ResponseStats = field(default_factory=ResponseStats)
    pages: ResponseStats = field(default_factory=ResponseStats)
    seconds: float = 0

    async def run(self, clients: LoginClients, seconds: float, name: str) -> None:
        """Attack one account while its owner and other users log in and visitors view pages."""
        start = perf_counter()
        await run_concurrently(
            log_ins_to_one_account(clients, self.log_ins, seconds, name),
            registrations_from_one_network(clients, self.registrations, seconds),
            log_ins_by_owner(clients, self.owner, seconds),
            log_ins_by_other_users(clients, self.others, seconds),
            page_views(clients, self.pages, seconds),
        )
        self.seconds = perf_counter() - start

    def check(self) -> None:
        """Check that the limits hold and neither the owner nor others are locked out."""
        assert set(self.owner.statuses) == set(self.others.statuses) == set(self.pages.statuses) == {200}
        assert set(self.registrations.statuses) <= {201, 429, 503}
        assert 30 <= self.registrations.statuses[201] <= 31 + self.seconds / 2
        assert self.log_ins.without_retry_after == self.registrations.without_retry_after == 0


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[LoginClients]:
    """Yield clients of a shop after each user has logged in once from their network."""
    with running_shop(tmp_path, SETTINGS) as shop:
        clients, seen = LoginClients(shop), ResponseStats()
        async with clients.client:
            await clients.get_page(seen)
            await clients.add_users(OWNER, MALLORY, *OTHERS)
            await clients.log_in(seen, OWNER, HOME)
            for _ in range(3):
                await log_ins_by_other_users(clients, seen, seconds=2)
            assert set(seen.statuses) == {200}
            yield clients


async def test_h4_limits_hold_and_other_users_are_not_locked_out(clients: LoginClients) -> None:
    before = peak_memory(clients.workers)
    attack = Attack()
    await attack.run(clients, 6, OWNER)
    attack.check()
    assert set(attack.log_ins.statuses) <= {401, 429, 503}
    assert attack.log_ins.statuses[401] <= 11 + attack.seconds / 6
    assert all(
        after - start < GROWTH for start, after in zip(before, peak_memory(clients.workers), strict=True)
    )


@pytest.mark.soak
@pytest.mark.parametrize("name", [OWNER, MALLORY])
async def test_h4_attack_at_most_triples_response_times_of_others(clients: LoginClients, name: str) -> None:
    idle, idle_pages = ResponseStats(), ResponseStats()
    await run_concurrently(log_ins_by_other_users(clients, idle, 60), page_views(clients, idle_pages, 60))
    before = peak_memory(clients.workers)
    attack = Attack()
    await attack.run(clients, 60, name)
    print(f"\nidle: {idle}\n  pages: {idle_pages}\nothers: {attack.others}\n  pages: {attack.pages}")
    print(f"owner: {attack.owner}\nlog-ins: {attack.log_ins}\nregistrations: {attack.registrations}")
    print(f"peak memory, KiB: {before}, {peak_memory(clients.workers)}")
    attack.check()
    assert attack.others.percentile(0.99) <= 3 * idle.percentile(0.99)
    assert all(
        after - start < GROWTH for start, after in zip(before, peak_memory(clients.workers), strict=True)
    )
