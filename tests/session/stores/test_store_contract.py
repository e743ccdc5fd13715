"""The store contract for every store."""

import pytest

from cartapp.session.stores.base import Store
from cartapp.session.testing import ManualClock
from cartapp.session.testing.store_contract import (
    ListableStoreContract,
    PurgeableStoreContract,
    StoreContract,
    StoreFactory,
)
from tests.support.stores import LISTABLE, PURGEABLE, STORES


class TestStore(StoreContract):
    @pytest.fixture(params=STORES)
    def store_factory(self, request: pytest.FixtureRequest, clock: ManualClock) -> StoreFactory:
        return STORES[request.param](request, clock)

    async def test_name_is_that_of_the_settings(self, store: Store, request: pytest.FixtureRequest) -> None:
        assert store.name in request.node.name


class TestListing(ListableStoreContract):
    @pytest.fixture(params=LISTABLE)
    def store_factory(self, request: pytest.FixtureRequest, clock: ManualClock) -> StoreFactory:
        return STORES[request.param](request, clock)


class TestPurging(PurgeableStoreContract):
    @pytest.fixture(params=PURGEABLE)
    def store_factory(self, request: pytest.FixtureRequest, clock: ManualClock) -> StoreFactory:
        return STORES[request.param](request, clock)
