"""The application's one database, also for sessions."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cartapp.database import open_database, sessions_in
from cartapp.session.record import now
from cartapp.settings import Settings, SettingsError

from .stores import make_record

pytestmark = pytest.mark.anyio


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


async def test_sessions_are_kept_in_the_database_of_the_accounts(tmp_path: Path) -> None:
    chosen = settings(session_backend="database", database_url=f"sqlite+aiosqlite:///{tmp_path}/cart.db")
    database = open_database(chosen)
    store = sessions_in(database, chosen)
    assert store is not None
    record = make_record(now())
    assert await store.create(record) == 1
    found = await database.fetch(text("SELECT skey FROM cart_session"))
    assert [row.skey for row in found] == [record.key]
    await store.close()
    await database.close()


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"session_backend": "file"},
        {"session_backend": "database", "session_url": "sqlite:////tmp/another.db"},
    ],
)
async def test_sessions_may_be_kept_elsewhere(elsewhere: dict[str, str], tmp_path: Path) -> None:
    chosen = settings(database_url=f"sqlite:///{tmp_path}/cart.db", **elsewhere)
    database = open_database(chosen)
    assert sessions_in(database, chosen) is None
    await database.close()


def test_a_database_that_cannot_be_used_names_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL cannot be used\. A SQLite URL must name a file"):
        open_database(settings(database_url="sqlite://"))
