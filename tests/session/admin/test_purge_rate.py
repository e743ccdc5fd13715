"""The removal of expired records keeps to a rate, on each backend that purges in batches."""

from itertools import pairwise

import pytest

from cartapp.session import Sessions
from cartapp.session.stores import Store
from cartapp.session.testing import ManualClock
from tests.support.stores import PURGEABLE, STORES, make_record

pytestmark = pytest.mark.anyio

NUMBER = 50
RATE = 100  # a second; a batch is a fifth of it


@pytest.fixture(params=[name for name in PURGEABLE if name != "memory"])  # memory is not purged by operators
def store(request: pytest.FixtureRequest, clock: ManualClock) -> Store:
    return STORES[request.param](request, clock)()


async def test_expired_records_are_removed_in_batches_of_the_rate(store: Store, clock: ManualClock) -> None:
    for _ in range(NUMBER):
        assert await store.create(make_record(clock.now, expires=clock.now + 1000)) is not None
    clock.advance(2)
    counts = [0]
    assert await Sessions(store, clock=clock).purge(progress=counts.append, rate=RATE) == NUMBER
    assert counts[-1] == NUMBER
    batches = [after - before for before, after in pairwise(counts)]
    assert max(batches) <= RATE // 5
    await store.close()
