"""The name of a SQL server moves to its promoted replica while the former primary goes on, read-only.

The replica has all by then, so nothing may be lost; how much a real failover loses is up to the servers.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from cartapp.session.record import now
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import SqlStore

from .layer import Layer
from .servers.proxy import Proxy
from .sql_pairs import PAIRS, Pair
from .traffic import traffic

pytestmark = pytest.mark.anyio


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with PAIRS[request.param]() as pair:
        yield pair


async def test_traffic_follows_the_name_and_loses_nothing(pair: Pair) -> None:
    async with Proxy(make_url(pair.primary.url).port or 0) as proxy:
        url = make_url(pair.primary.url).set(port=proxy.port).render_as_string(hide_password=False)
        store = SqlStore(Database(url, pool_size=5))
        async with traffic(Layer(store, now), keeps=True) as visitors:
            await visitors.more(visitors.answered, 100)
            await pair.demote_primary()
            await visitors.more(visitors.refused, 20)
            await pair.move(proxy)
            await visitors.more(visitors.answered, 100)
        await store.close()
