"""Failover of a SQL server: its name moves to the promoted replica, and the former primary is read-only.

The replica has caught up before, so nothing may be lost. The servers decide what other failovers lose.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from cartapp.session.record import now
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from tests.support.servers.proxy import Proxy
from tests.support.session_layer import SessionLayer
from tests.support.session_load import session_load
from tests.support.sql_pairs import PAIRS, Pair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with PAIRS[request.param]() as pair:
        yield pair


async def test_traffic_follows_the_name_and_loses_nothing(pair: Pair) -> None:
    async with Proxy(make_url(pair.primary.url).port or 0) as proxy:
        url = make_url(pair.primary.url).set(port=proxy.port).render_as_string(hide_password=False)
        store = SqlStore(Database(url, pool_size=5))
        async with session_load(SessionLayer(store, now), keeps=True) as visitors:
            await visitors.wait_for_increase(visitors.answered, 100)
            await pair.demote_primary()
            await visitors.wait_for_increase(visitors.refused, 20)
            await pair.move(proxy)
            await visitors.wait_for_increase(visitors.answered, 100)
        await store.close()
