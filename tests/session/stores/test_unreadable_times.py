"""A record with a time that no `datetime` holds: absent, logged, and no obstacle to other sessions."""

import logging

import pytest
from msgspec.structs import replace

from cartapp.session import Sessions, UnreadableRecord
from cartapp.session.admin import Query, statistics, take_snapshot, top_sessions
from cartapp.session.stores import Store
from cartapp.session.testing import ManualClock
from tests.support.stores import LISTABLE, STORES, make_record

pytestmark = pytest.mark.anyio

TOO_LATE = 9_000_000_000_000_000  # milliseconds: the year 287,000


@pytest.fixture(params=[name for name in LISTABLE if name != "memory"])  # memory holds no bytes
def store(request: pytest.FixtureRequest, clock: ManualClock) -> Store:
    return STORES[request.param](request, clock)()


@pytest.mark.parametrize("field", ["created", "last_used", "expires"])
async def test_a_time_out_of_range_hides_one_session(
    store: Store, clock: ManualClock, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    readable, broken = make_record(clock.now), make_record(clock.now, **{field: TOO_LATE})
    for record in (readable, broken):
        assert await store.create(record) is not None
    sessions = Sessions(store, clock=clock)
    with pytest.raises(UnreadableRecord):
        await store.load(broken.key)
    assert await sessions.get(broken.key) is None
    with caplog.at_level(logging.WARNING, "cartapp.session"):
        assert [info.handle async for info in sessions.find()] == [readable.key]
    assert [line for line in caplog.messages if broken.key in line]
    first, _ = await top_sessions(sessions, 10, "last_seen")
    assert [info.handle for info in first] == [readable.key]
    assert (await statistics(sessions)).sessions >= 1  # SQL and MongoDB count the record without reading it
    snapshot = await take_snapshot(sessions, Query(), "created", 10, created_since=0)
    assert [info.handle for info in snapshot.first] == [readable.key]
    assert await store.delete(broken.key)
    assert await store.create(replace(readable, key=broken.key)) is not None
    await store.close()
