"""Fixtures for tests of sessions in memory. A module with another store overrides `store`."""

import pytest

from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.pausable_store import PausableStore
from tests.support.session_layer import SessionLayer
from tests.support.starlette_app import AppFactory, app_factory


@pytest.fixture
def store(clock: ManualClock) -> PausableStore:
    return PausableStore(MemoryStore(clock=clock))


@pytest.fixture
def layer(store: PausableStore, clock: ManualClock) -> SessionLayer:
    return SessionLayer(store, clock)


@pytest.fixture
def wrap(store: PausableStore, clock: ManualClock) -> AppFactory:
    return app_factory(store, clock)
