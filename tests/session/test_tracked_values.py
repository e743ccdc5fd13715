"""Lists and dicts in a session: changes in place are detected, and committed on the newest state."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from cartapp.session import Session, values
from cartapp.session.request_session import RequestSession
from tests.conftest import ManualClock
from tests.support.pausable_store import PausableStore
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


class Shop:
    tags: list[str] = []  # noqa: RUF012 - a default of the view; each session gets a copy


async def load_with_view(layer: SessionLayer, cookie: str) -> Session:
    session, _ = await layer.load(cookie)
    session._view = Shop
    return session


async def change(layer: SessionLayer, cookie: str, key: str, function: Callable[[Any], Any]) -> None:
    """Change a key in another request."""
    other, _ = await layer.load(cookie)
    other.modify(key, function)
    await other.save()


# -- defaults of the typed view ---------------------------------------------------------------------------


def _add_by_default(session: Session) -> None:
    session.setdefault("tags", []).append("b")


def _add_by_set(session: Session) -> None:
    session["tags"] = [*session.get("tags", []), "b"]


def _delete_field(session: Session) -> None:
    del session.data.tags


@pytest.mark.parametrize(
    ("act", "result", "stored"),
    [
        (lambda session: "tags" in session, True, ["a"]),
        (lambda session: session.has("tags"), True, ["a"]),
        (lambda session: session.all(), {"tags": ["a"]}, ["a"]),
        (lambda session: list(session), ["tags"], ["a"]),
        (len, 1, ["a"]),
        (lambda session: session.pop("tags", None), ["a"], None),
        (lambda session: session.delete("tags"), None, None),
        (lambda session: session.clear(), None, None),
        (lambda session: session.modify("tags", lambda tags: [*tags, "b"], []), ["a", "b"], ["a", "b"]),
        (_add_by_default, None, ["a", "b"]),
        (_add_by_set, None, ["a", "b"]),
        (_delete_field, None, None),
    ],
)
async def test_every_operation_sees_a_changed_default(
    layer: SessionLayer, act: Callable[[Session], Any], result: object, stored: object
) -> None:
    cookie = await layer.begin(other=1)
    session = await load_with_view(layer, cookie)
    session.delete("other")
    session.data.tags.append("a")
    assert act(session) == result
    await session.save()
    assert (await layer.read(cookie)).get("tags") == stored


async def test_a_default_is_updated_by_another_requests_value(layer: SessionLayer) -> None:
    cookie = await layer.begin(other=1)
    session = await load_with_view(layer, cookie)
    tags = session.data.tags
    await change(layer, cookie, "tags", lambda _: ["x"])
    session["seen"] = 1
    await session.save()
    assert tags == ["x"]
    tags.append("a")
    await session.save()
    assert (await layer.read(cookie))["tags"] == ["x", "a"]


async def test_a_replaced_default_is_not_stored_later(layer: SessionLayer) -> None:
    cookie = await layer.begin(other=1)
    session = await load_with_view(layer, cookie)
    for replace in (_add_by_default, _delete_field, lambda session: session.modify("tags", list, ["m"])):
        session.delete("tags")
        held = session.data.tags
        try:
            replace(session)
        except KeyError:  # no such key
            session.delete("tags")
        shown = session.all()
        held.append("held")
        assert session.all() == shown


# -- what another request changed -------------------------------------------------------------------------


async def test_a_list_is_updated_by_another_requests_append(layer: SessionLayer) -> None:
    cookie = await layer.begin(list=["a"])
    session = await load_with_view(layer, cookie)
    held = session["list"]
    await change(layer, cookie, "list", lambda items: [*items, "other"])
    session["seen"] = 1
    await session.save()
    assert held == ["a", "other"]
    held.append("mine")
    await session.save()
    assert (await layer.read(cookie))["list"] == ["a", "other", "mine"]


@pytest.mark.parametrize("other_change", [None, lambda items: [*items, "other"]], ids=["alone", "conflict"])
async def test_a_change_in_place_during_a_save_is_kept(
    layer: SessionLayer, store: PausableStore, clock: ManualClock, other_change: Callable[[Any], Any] | None
) -> None:
    cookie = await layer.begin(list=["a"])
    session, _ = await layer.load(cookie)
    held = session["list"]
    session["n"] = 1
    store.pause("save")
    saving = asyncio.create_task(session.save())
    await store.paused.wait()
    held.append("b")
    if other_change is not None:
        await change(SessionLayer(store.inner, clock), cookie, "list", other_change)
    store.resumed.set()
    await saving
    assert session["list"] == ["a", "b"]
    assert await layer.read(cookie) == {"list": ["a", "other"] if other_change else ["a"], "n": 1}
    await session.save()
    assert await layer.read(cookie) == {"list": ["a", "b"], "n": 1}


async def test_nested_objects_remain_the_same_where_possible(layer: SessionLayer) -> None:
    cookie = await layer.begin(shop={"cart": [{"id": 1}, {"id": 2}, {"id": 3}], "name": {"first": "A"}})
    session = await load_with_view(layer, cookie)
    cart, first, name = session["shop"]["cart"], session["shop"]["cart"][0], session["shop"]["name"]

    def without_two(shop: dict[str, Any]) -> dict[str, Any]:
        del shop["cart"][1]
        return {**shop, "more": 1}

    await change(layer, cookie, "shop", without_two)
    session["seen"] = 1
    await session.save()
    assert session["shop"] == {"cart": [{"id": 1}, {"id": 3}], "name": {"first": "A"}, "more": 1}
    first["quantity"] = 2
    cart.append({"id": 4})
    name["last"] = "B"
    await session.save()
    cart = [{"id": 1, "quantity": 2}, {"id": 3}, {"id": 4}]
    expected = {"cart": cart, "name": {"first": "A", "last": "B"}, "more": 1}
    assert (await layer.read(cookie))["shop"] == expected


async def test_a_list_is_emptied_when_another_request_removes_its_key(layer: SessionLayer) -> None:
    cookie = await layer.begin(list=["a"])
    session = await load_with_view(layer, cookie)
    held = session["list"]
    other = await load_with_view(layer, cookie)
    other.delete("list")
    await other.save()
    session["seen"] = 1
    await session.save()
    assert held == []
    assert "list" not in session
    held.append("new")
    await session.save()
    assert (await layer.read(cookie))["list"] == ["new"]


async def test_a_failed_save_restores_a_list(layer: SessionLayer) -> None:
    cookie = await layer.begin(list=["a"])
    session = await load_with_view(layer, cookie)
    held = session["list"]
    held.append("b")
    session["big"] = "x" * 70_000
    with pytest.raises(Exception, match="limit"):
        await session.save()
    assert held == ["a"]
    held.append("c")
    await session.save()
    assert await layer.read(cookie) == {"list": ["a", "c"]}


async def test_a_callers_own_list_is_never_updated_by_another_request(layer: SessionLayer) -> None:
    """A documented limit: the list may be a module constant, shared by all sessions."""
    constant = ["a"]
    cookie = await layer.begin(other=1)
    session = await load_with_view(layer, cookie)
    session["list"] = constant
    await session.save()
    await change(layer, cookie, "list", lambda items: [*items, "other"])
    session["seen"] = 1
    await session.save()
    assert constant == ["a"]
    assert session["list"] == ["a", "other"]
    session["list"].append("mine")
    await session.save()
    assert (await layer.read(cookie))["list"] == ["a", "other", "mine"]


# -- reading writes nothing -------------------------------------------------------------------------------


class NoZones(ZoneInfo):
    """A host without time zone data."""

    def __new__(cls, key: str) -> "NoZones":
        raise ZoneInfoNotFoundError(key)


@pytest.mark.parametrize("read", [lambda session: session["list"], lambda session: session.all()])
async def test_reading_a_datetime_of_an_unknown_zone_records_nothing(
    layer: SessionLayer, read: Callable[[Session], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoned = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    cookie = await layer.begin(list=[zoned])
    with monkeypatch.context() as patched:
        patched.setattr(values, "ZoneInfo", NoZones)
        reading = await load_with_view(layer, cookie)
        read(reading)
    await change(layer, cookie, "list", lambda items: [*items, 1])
    with monkeypatch.context() as patched:
        patched.setattr(values, "ZoneInfo", NoZones)
        assert not reading.modified
        await reading.save()
    stored = (await layer.read(cookie))["list"]
    assert stored == [zoned, 1]
    assert stored[0].tzinfo == ZoneInfo("Europe/Berlin")


async def test_a_changed_datetime_in_a_list_is_detected(layer: SessionLayer) -> None:
    cookie = await layer.begin(list=[datetime(2026, 1, 1, tzinfo=UTC)])
    session = await load_with_view(layer, cookie)
    session["list"][0] = datetime(2027, 1, 1, tzinfo=UTC)
    assert session.modified
    await session.save()
    assert await layer.read(cookie) == {"list": [datetime(2027, 1, 1, tzinfo=UTC)]}


# -- Starlette's names ------------------------------------------------------------------------------------


async def test_modified_is_true_after_a_change(layer: SessionLayer) -> None:
    cookie = await layer.begin(list=["a"], n=1)
    changes: list[Callable[[Session], object]] = [
        lambda session: session.set("n", 2),
        lambda session: session["list"].append("b"),
        lambda session: session.data.tags.append("a"),
        lambda session: session.pop("n"),
        Session.clear,
        Session.regenerate,
        Session.mark_modified,
        lambda session: setattr(session, "modified", True),
    ]
    for changing in changes:
        session = await load_with_view(layer, cookie)
        assert session.get("list") == ["a"]
        assert not session.modified
        changing(session)
        assert session.modified
    await session.save()
    assert session.modified
    assert await layer.read(cookie) == {"list": ["a"], "n": 1}


async def test_mark_modified_works_before_loading(layer: SessionLayer) -> None:
    session = Session(RequestSession(layer.manager, lambda: None))
    assert not session.modified
    session.mark_modified()
    assert session.modified
    assert session.accessed
