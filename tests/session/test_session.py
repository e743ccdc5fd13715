"""The session object: a dict with changes that survive concurrent requests."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartapp.session import REMOVE, SessionNotLoaded, UnsupportedValue
from cartapp.session.record import new_id
from cartapp.session.request_session import RequestSession
from cartapp.session.session import Session
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


async def test_a_session_behaves_as_a_dict(layer: SessionLayer) -> None:
    session, _ = await layer.load()
    session.update({"a": 1}, b=[2])
    session |= {"c": {"d": 3}}
    plain = {"a": 1, "b": [2], "c": {"d": 3}}
    assert isinstance(session, dict)
    assert session == plain
    assert plain == session
    assert session != {"a": 1}
    assert dict(session) == {**session} == session.copy() == session.all() == plain
    assert json.loads(json.dumps(session)) == plain
    assert session | {"a": 9} == {**plain, "a": 9}
    assert {"a": 9} | session == plain
    assert list(session) == list(session.keys()) == ["a", "b", "c"]
    assert list(reversed(session)) == ["c", "b", "a"]
    assert list(session.values()) == list(plain.values())
    assert session.items() == plain.items()
    assert len(session) == 3
    assert session.setdefault("a", 5) == 1
    assert session.setdefault("e", 5) == 5
    assert session.pop("e") == 5
    assert session.pop("e", None) is None
    assert session.popitem() == ("c", {"d": 3})
    assert session.get("nothing") is None
    assert session.get("nothing", 7) == 7
    assert session.has("a")
    assert "a" in session
    del session["a"]
    session.delete("a")
    assert not session.has("a")
    with pytest.raises(KeyError):
        session["a"]
    with pytest.raises(KeyError):
        del session["a"]
    with pytest.raises(KeyError):
        session.pop("a")
    with pytest.raises(TypeError):
        hash(session)
    session.clear()
    assert not session


keys = st.sampled_from("abc")
small = st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
steps = st.one_of(
    st.tuples(st.just("set"), keys, small),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("setdefault"), keys, small),
    st.tuples(st.just("pop"), keys),
    st.tuples(st.just("append"), keys, st.integers(0, 3)),
    st.tuples(st.just("count"), keys),
    st.tuples(st.just("clear")),
    st.tuples(st.just("popitem")),
)


def count(value: Any) -> Any:
    return value + 1 if isinstance(value, int) else [*value, 1]


def do(step: tuple[Any, ...], target: dict[str, Any]) -> None:
    """Apply one step to a session or a plain dict."""
    match step:
        case ["set", key, value]:
            target[key] = value
        case ["delete", key]:
            target.pop(key, None)
        case ["setdefault", key, value]:
            target.setdefault(key, value)
        case ["pop", key]:
            target.pop(key, 0)
        case ["append", key, value] if isinstance(target.get(key), list):
            target[key].append(value)
        case ["count", key]:
            if isinstance(target, Session):
                target.modify(key, count, 0)
            else:
                target[key] = count(target.get(key, 0))
        case ["clear"]:
            target.clear()
        case ["popitem"] if target:
            target.popitem()


@settings(deadline=None)
@given(st.lists(steps | st.just(("save",)) | st.just(("reload",)), max_size=25))
async def test_any_sequence_of_operations_matches_a_dict(sequence: list[tuple[Any, ...]]) -> None:
    clock = ManualClock()
    layer = SessionLayer(MemoryStore(clock=clock), clock)
    cookie = await layer.begin(a=0)
    session, _ = await layer.load(cookie)
    plain: dict[str, Any] = {"a": 0}
    for step in sequence:
        if step[0] in ("save", "reload"):
            await session.save()
        if step[0] == "reload":
            session, _ = await layer.load(cookie)
        # A copy: a plain dict keeps the object itself, through which the session could be changed.
        copied = json.loads(json.dumps(step))
        do(tuple(copied), session)
        do(tuple(json.loads(json.dumps(step))), plain)
        assert session == plain
    await session.save()
    assert await layer.read(cookie) == plain


independent = st.lists(
    st.tuples(
        st.sampled_from([0, 1]), st.sampled_from(["set", "append", "delete", "count", "save", "reload"])
    ),
    max_size=30,
)


@settings(deadline=None)
@given(independent)
async def test_changes_of_two_requests_are_all_kept(sequence: list[tuple[int, str]]) -> None:
    """Each writes separate keys and increments a shared counter; all changes are kept."""
    clock = ManualClock()
    layer = SessionLayer(MemoryStore(clock=clock), clock)
    cookie = await layer.begin(shared=0)
    sessions = [(await layer.load(cookie))[0] for _ in range(2)]
    expected: dict[str, Any] = {"shared": 0}
    for number, (index, what) in enumerate(sequence):
        session, mine = sessions[index], f"own{index}"
        match what:
            case "set":
                session[mine] = [number]
                expected[mine] = [number]
            case "append" if mine in session:
                session[mine].append(number)
                expected[mine] = [*expected[mine], number]
            case "delete":
                session.delete(mine)
                expected.pop(mine, None)
            case "count":
                session.modify("shared", count, 0)
                expected["shared"] += 1
            case "save":
                await session.save()
            case "reload":
                await session.save()
                sessions[index] = (await layer.load(cookie))[0]
    for session in sessions:
        await session.save()
    assert await layer.read(cookie) == expected


@pytest.mark.parametrize(
    "touch",
    [
        lambda session: session.get("a"),
        lambda session: "a" in session,
        lambda session: len(session),
        lambda session: bool(session),
        lambda session: list(session),
        lambda session: session == {},
        lambda session: session.keys(),
        lambda session: session.values(),
        lambda session: session.items(),
        lambda session: session.copy(),
        lambda session: session.all(),
        lambda session: session | {},
        lambda session: {} | session,
        lambda session: json.dumps(session) and session.items(),
        lambda session: session.pop("a", 1),
        lambda session: session.setdefault("a", 1),
        lambda session: session.update(a=1),
        lambda session: session.set("a", 1),
        lambda session: session.delete("a"),
        lambda session: session.clear(),
        lambda session: session.modify("a", count, 1),
        lambda session: session.flash("a"),
        lambda session: session.flash("a", 1),
        lambda session: session.regenerate(),
        lambda session: session.destroy(),
        lambda session: session.log_in("1"),
        lambda session: session.id,
        lambda session: session.is_new,
        lambda session: session.user_id,
        lambda session: session.created_at,
        lambda session: session.has_expired,
        lambda session: session.peek("key"),
        lambda session: session.last_used_at,
        lambda session: session.expires_at,
    ],
)
async def test_access_is_noted_and_requires_loading(
    layer: SessionLayer, touch: Callable[[Session], object]
) -> None:
    unloaded = Session(RequestSession(layer.manager, lambda: None))
    with pytest.raises(SessionNotLoaded):
        touch(unloaded)
    loaded, _ = await layer.load()
    assert not loaded.accessed
    touch(loaded)
    assert loaded.accessed


async def test_peeked_values_are_not_tracked(layer: SessionLayer) -> None:
    cookie = await layer.begin(cart=[1], name="Ada")
    session, _ = await layer.load(cookie)
    assert (session.peek("name"), session.peek("gone"), session.peek("gone", ())) == ("Ada", None, ())
    session.peek("cart").append(2)
    assert not session.modified
    session["cart"].append(3)
    assert session.peek("cart") == [1, 3]
    session.modify("cart", lambda cart: [*cart, 5])
    assert session.peek("cart") == [1, 3, 5]
    await session.save()
    assert session.peek("cart") == [1, 3, 5]
    session.get_or_default("more", []).append(6)
    assert session.peek("more") == [6]


async def test_session_of_an_unknown_cookie_has_expired(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    assert [(await layer.load(sent))[0].has_expired for sent in (None, cookie, new_id(), "malformed")] == [
        False,
        False,
        True,
        True,
    ]


async def test_an_unsupported_value_changes_nothing(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    with pytest.raises(UnsupportedValue, match="'b'"):
        session.update(a=2, b=object())
    with pytest.raises(UnsupportedValue, match="'b'"):
        session["b"] = {(1, 2): 3}
    with pytest.raises(UnsupportedValue, match="'a'"):
        session.modify("a", lambda _: object())
    assert session == {"a": 1}
    await session.save()
    assert await layer.read(cookie) == {"a": 1}


async def test_an_unsupported_value_in_a_list_raises_at_the_commit(layer: SessionLayer) -> None:
    cookie = await layer.begin(cart=[1])
    session, _ = await layer.load(cookie)
    session["cart"].append(object())
    with pytest.raises(UnsupportedValue, match="'cart'"):
        await session.save()
    assert session == {"cart": [1]}
    assert await layer.read(cookie) == {"cart": [1]}


async def test_nested_changes_are_detected(layer: SessionLayer) -> None:
    cookie = await layer.begin(cart=[], deep={"a": [{"b": 1}]}, untouched=[1])
    session, _ = await layer.load(cookie)
    session["cart"].append(1)
    for value in session.values():
        if isinstance(value, dict):
            value["a"][0]["b"] = 2
    assert [type(operation).__name__ for operation in session.recorded().operations] == ["Set", "Set"]
    await session.save()
    assert await layer.read(cookie) == {"cart": [1], "deep": {"a": [{"b": 2}]}, "untouched": [1]}


async def test_reading_a_list_records_nothing(layer: SessionLayer) -> None:
    cookie = await layer.begin(cart=[1])
    session, _ = await layer.load(cookie)
    assert session["cart"] == [1]
    assert not session.recorded()


async def test_modify_passes_a_copy(layer: SessionLayer) -> None:
    cookie = await layer.begin(cart=[1])
    session, _ = await layer.load(cookie)

    def fail(cart: list[int]) -> list[int]:
        cart.append(2)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        session.modify("cart", fail)
    assert session == {"cart": [1]}
    assert not session.recorded()


async def test_modify_can_remove_the_key(layer: SessionLayer) -> None:
    cookie = await layer.begin(cart=[1], other=1)
    session, _ = await layer.load(cookie)
    session.modify("cart", lambda _: REMOVE)
    assert session == {"other": 1}
    await session.save()
    assert await layer.read(cookie) == {"other": 1}


async def test_a_mutable_default_is_fresh_on_every_run(layer: SessionLayer) -> None:
    cookie = await layer.begin(other=1)
    first, _ = await layer.load(cookie)
    second, _ = await layer.load(cookie)

    def add(value: int) -> Callable[[list[int]], list[int]]:
        def added(cart: list[int]) -> list[int]:
            cart.append(value)
            return cart

        return added

    first.modify("cart", add(1), [])
    second.modify("cart", add(2), [])
    await first.save()
    await second.save()
    assert await layer.read(cookie) == {"other": 1, "cart": [1, 2]}


async def test_flashes_are_queued_and_removed(layer: SessionLayer) -> None:
    session, _ = await layer.load()
    session.flash("message", "Saved", "success")
    session.flash("message", "Again")
    assert session.flash("message", with_category=True) == ("Saved", "success")
    assert session.flash("message") == "Again"
    assert session.flash("message") is None
    assert session.flash("message", with_category=True) == (None, None)
    assert session == {}
    session.flash("empty", None)
    assert await session.take_flash("empty", with_category=True) == (None, None)
    assert session == {}


async def test_repr_contains_no_data(layer: SessionLayer) -> None:
    session, _ = await layer.load(await layer.begin(password="hunter2"))
    assert "hunter2" not in repr(session) + str(session) + f"{session}"
