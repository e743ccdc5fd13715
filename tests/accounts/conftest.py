"""Accounts on each database engine."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import ManualClock
from tests.support.accounts import AccountsEnvironment, open_database
from tests.support.databases import DATABASES
from tests.support.schema import with_schema


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
async def env(url: str, clock: ManualClock) -> AsyncIterator[AccountsEnvironment]:
    async with open_database(url) as database:
        yield AccountsEnvironment(database, clock)
