"""The name of the table in the URL of a SQL store."""

import re

import pytest

from cartapp.session import InvalidStoreURL, open_store
from cartapp.session.stores.sql.store import table_sql
from cartapp.session.testing import ManualClock
from cartapp.session.testing.records import make_record
from cartapp.session.testing.store_contract import (
    ListableStoreContract,
    PurgeableStoreContract,
    StoreContract,
    StoreFactory,
)
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT

pytestmark = pytest.mark.anyio


def with_table(url: str, name: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}table={name}"


class TestOtherTable(StoreContract, ListableStoreContract, PurgeableStoreContract):
    @pytest.fixture
    def store_factory(self, request: pytest.FixtureRequest, clock: ManualClock) -> StoreFactory:
        url = with_table(DATABASES["sqlite"](request), "shop_sessions")
        return lambda: open_store(url, clock=clock, timeout=STORE_TIMEOUT)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return DATABASES[request.param](request)


async def test_tables_in_one_database_are_separate(url: str, clock: ManualClock) -> None:
    urls = [url, with_table(url, "blog_sessions")]
    stores = [open_store(url, clock=clock, timeout=STORE_TIMEOUT) for url in urls]
    record = make_record(clock(), user_id="7")
    for number, store in enumerate(stores):
        assert await store.load(record.key) is None, number
        assert await store.create(record) is not None
    assert await stores[0].delete(record.key)
    assert await stores[1].load(record.key) is not None
    for store in stores:
        await store.close()


@pytest.mark.parametrize("name", ["", "Shop", "1shop", "a-b", "a" * 21, "%61"])
def test_a_bad_name_is_one_sentence(name: str) -> None:
    with pytest.raises(InvalidStoreURL, match=r"^The table in a store's URL must be a lower-case letter and"):
        open_store(with_table("sqlite:///sessions.db", name))


def test_the_sql_for_a_dba_has_the_name() -> None:
    sql = table_sql("postgresql://host/shop?table=blog_sessions")
    assert "cart_session" not in sql
    assert re.findall(r"CREATE TABLE (\w+)", sql) == ["blog_sessions"]
    assert "blog_sessions_user" in sql
