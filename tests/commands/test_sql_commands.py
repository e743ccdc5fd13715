"""`cart sessions` and `cart backends` on each SQL engine."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import make_url

from cartapp.session.record import Record, now
from cartapp.session.stores.registry import open_store
from tests.support.commands import HOUR, CartCommand, make_handle, make_session, store_sessions
from tests.support.databases import DATABASES, SERVERS
from tests.support.environment import isolate


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return DATABASES[request.param](request)


@pytest.fixture
def cart(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CartCommand:
    isolate(tmp_path, monkeypatch)
    monkeypatch.setenv("CART_SESSION_URL", url)
    monkeypatch.setenv("CART_SESSION_TIMEOUT", "20")
    return CartCommand(monkeypatch, capsys)


def keep(url: str, records: Iterable[Record]) -> None:
    async def create() -> None:
        opened = open_store(url, timeout=20)
        await opened.ping()  # creates a SQLite file
        for record in records:
            assert await opened.create(record) is not None
        await opened.close()

    asyncio.run(create())


def held(url: str) -> list[Record]:
    """Return all live sessions by key, with version 0."""

    async def load() -> list[Record]:
        opened = open_store(url, timeout=20)
        keys = sorted([found.key async for found in opened.scan()])  # type: ignore[attr-defined]
        records = [await opened.load(key) for key in keys]
        await opened.close()
        return [replace(record, version=0) for record in records if record is not None]

    return asyncio.run(load())


THREE = [
    make_session("first", user="Жозе", age=9, idle=3, data=b'{"cart":[1,2]}'),
    make_session("second", age=5, idle=1, data=b'{"visit_count":17}'),
    make_session("third", user="Жозе", age=1, idle=0.2),
]


def test_sessions_commands_on_sql(cart: CartCommand, url: str) -> None:
    keep(url, [])
    assert cart("sessions", "list").err == "No sessions.\n"
    keep(url, [*THREE, replace(make_session("old", age=9, idle=8), expires=now() - HOUR)])
    listed = cart("sessions", "list", "--json").json
    assert [one["handle"] for one in listed] == [make_handle(name) for name in ("third", "second", "first")]
    assert [one["user"] for one in listed] == ["Жозе", None, "Жозе"]
    assert len(cart("sessions", "list", "--user", "Жозе", "--json").json) == 2
    shown = cart("sessions", "show", "sec", "--reveal", "--json")
    assert (shown.code, shown.json["data"]) == (0, {"visit_count": 17})
    assert cart("sessions", "stats", "--json").json["sessions"] == 3
    assert cart("sessions", "purge", "--expired", "--dry-run").out == "Would remove 1 expired session.\n"
    assert cart("sessions", "purge", "--expired").out == "Removed 1 expired session.\n"
    assert cart("sessions", "purge", "--idle", "2h", "--yes").out == "Ended 1 session.\n"
    assert cart("sessions", "purge", "--user", "Жозе", "--yes").out == "Ended 1 session.\n"
    assert cart("sessions", "purge", "--all", "--yes").out == "Ended 1 session.\n"
    assert held(url) == []


def test_backends_check_leaves_no_record(
    cart: CartCommand, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(url, [])  # which creates a SQLite file
    monkeypatch.setenv("DATABASE_URL", url)
    for which in ([], [url], ["database"]):
        checked = cart("backends", "check", *which, "--json")
        assert checked.code == 0
        assert set(checked.json["milliseconds"]) == {"ping", "create", "load", "save", "touch", "delete"}
        password = make_url(url).password
        assert password is None or password not in checked.out
    assert held(url) == []


def test_repeated_copies_change_nothing(cart: CartCommand, url: str) -> None:
    store_sessions(THREE)
    gone = replace(make_session("old", age=9, idle=8), expires=now() - HOUR)
    store_sessions([gone])
    ended = {"changed_in_both": 0, "ended": 0, "ended_in_target": 0, "source_marked": True}
    copied = {"created": 3, "replaced": 0, "kept": 0, "unreadable": 0, **ended}
    assert cart("backends", "copy", "file", url, "--json").json == copied
    assert held(url) == sorted(THREE, key=lambda record: record.key)
    again = {**copied, "created": 0, "kept": 3}
    assert cart("backends", "copy", "file", url, "--json").json == again
    later = f"file://{Path.cwd()}/later"
    keep(later, [replace(THREE[0], last_used=now(), data=b'{"cart":[3]}'), *THREE[1:]])
    won = {**copied, "created": 0, "replaced": 1, "kept": 2}
    differed = {**won, "replaced": 0, "changed_in_both": 1}  # `later` was never copied
    assert cart("backends", "copy", later, url, "--json").json == differed
    assert cart("backends", "copy", "file", url, "--json").json == differed  # the later change is kept
    assert held(url)[0].data == b'{"cart":[3]}'
    assert cart("backends", "copy", url, "file", "--json").json == won
    assert held(f"file://{Path.cwd()}/data/sessions") == held(url) == held(later)


@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_backends_list_pings_an_unused_database(
    cart: CartCommand, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CART_SESSION_URL")
    monkeypatch.setenv("CART_SESSION_TIMEOUT", "4")  # for backends without a server here
    monkeypatch.setenv("DATABASE_URL", url)
    (state,) = [one for one in cart("backends", "list", "--json").json if one["name"] == "database"]
    assert (state["used"], state["remark"]) == (False, "reachable")
    assert state["milliseconds"] > 0
