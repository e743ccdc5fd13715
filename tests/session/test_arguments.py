"""An impossible argument of the public API is one sentence at the call, the same with every store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from cartapp.session import SessionManager, Sessions, open_store
from cartapp.session.admin import (
    ByHandle,
    ByUser,
    Query,
    Sweeper,
    copy_sessions,
    count_sessions,
    ping,
    resolve_handle,
    round_trip,
    take_snapshot,
    top_sessions,
)
from cartapp.session.stores import redis_store
from cartapp.session.stores.base import Store
from cartapp.session.stores.memory import MemoryStore
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio

NONE: Any = None
SEVEN: Any = 7
FRACTION: Any = 1.5
TEXT: Any = "5"
HOUR = timedelta(hours=1)


@pytest.fixture(params=["memory", "file", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    urls = {"memory": "memory://", "file": f"file://{tmp_path}", "sqlite": f"sqlite:///{tmp_path}/s.db"}
    store = open_store(urls[request.param])
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((7,), "Session.log_in: user_id: expected a string, got 7."),
        ((None,), "Session.log_in: user_id: expected a string, got None."),
        ((b"7",), "Session.log_in: user_id: expected a string, got b'7'."),
        (("7" * 256,), "Session.log_in: user_id: expected at most 255 characters, got 256."),
        (("\ud800",), r"Session.log_in: user_id: expected text that UTF-8 can encode, got '\ud800'."),
        (("7", None), "Session.log_in: epoch: expected a whole number, got None."),
        (("7", "3"), "Session.log_in: epoch: expected a whole number, got '3'."),
        (("7", 1.5), "Session.log_in: epoch: expected a whole number, got 1.5."),
        (("7", True), "Session.log_in: epoch: expected a whole number, got True."),
        (("7", 2**63), f"Session.log_in: epoch: expected a whole number of 64 bits, got {2**63}."),
    ],
)
async def test_log_in(store: Store, arguments: tuple[Any, ...], sentence: str) -> None:
    manager = SessionManager(store)
    layer = SessionLayer(store, manager.clock)
    session, request_session = await layer.load()
    session["item"] = "tea"
    with pytest.raises((TypeError, ValueError)) as caught:
        session.log_in(*arguments)
    assert str(caught.value) == sentence
    await session.save()
    assert session.user_id is None
    assert await layer.read(str(request_session.cookie())) == {"item": "tea"}


@pytest.mark.parametrize(
    ("user_id", "epoch"),
    [("", 0), ("7", -1), ("7" * 255, 2**63 - 1), ("Zoë 🛒 \0", -(2**63))],
    ids=["empty", "short", "long", "special"],
)
async def test_log_in_accepts_what_every_store_holds(store: Store, user_id: str, epoch: int) -> None:
    layer = SessionLayer(store, SessionManager(store).clock)
    session, request_session = await layer.load()
    session.log_in(user_id, epoch)
    await session.save()
    session, _ = await layer.load(request_session.cookie())
    assert session.record is not None
    assert (session.user_id, session.record.epoch) == (user_id, epoch)


async def find(sessions: Sessions, user: Any) -> None:
    async for _ in sessions.find(user):
        pass


CALLS: list[tuple[Callable[[Sessions], Awaitable[object]], str]] = [
    (lambda sessions: sessions.get(NONE), "Sessions.get: handle: expected a string, got None."),
    (lambda sessions: sessions.end(SEVEN), "Sessions.end: handle: expected a string, got 7."),
    (lambda sessions: sessions.end("A" * 22, user=SEVEN), "Sessions.end: user: expected a string"),
    (
        lambda sessions: sessions.end_user(SEVEN),
        "Sessions.end_user: user: expected a string, got 7.",
    ),
    (lambda sessions: sessions.end_user(NONE), "Sessions.end_user: user: expected a string, got None."),
    (lambda sessions: sessions.end_user("7", keep=SEVEN), "Sessions.end_user: keep: expected a str"),
    (lambda sessions: sessions.end_user("7", rate=0), "rate: expected a number above 0, got 0."),
    (lambda sessions: sessions.clear(rate=TEXT), "rate: expected a number, got '5'."),
    (lambda sessions: sessions.purge(rate=-1), "rate: expected a number above 0, got -1."),
    (
        lambda sessions: sessions.end_idle(SEVEN, step=HOUR),
        "Sessions.end_idle: idle: expected a timedelta, got 7.",
    ),
    (
        lambda sessions: sessions.end_idle(-HOUR, step=HOUR),
        "Sessions.end_idle: idle: expected a timedelta of",
    ),
    (lambda sessions: sessions.end_idle(HOUR, step=NONE), "Sessions.end_idle: step: expected a timedelta"),
    (lambda sessions: find(sessions, 7), "Query.user_id: expected a string, got 7."),
    (lambda sessions: resolve_handle(sessions, NONE), "resolve_handle: prefix: expected a string, got None."),
    (lambda sessions: count_sessions(sessions, Query(prefix=NONE)), "Query.prefix: expected a string"),
    (
        lambda sessions: count_sessions(sessions, Query(used_before=FRACTION)),
        "Query.used_before: expected a whole number, got 1.5.",
    ),
    (
        lambda sessions: top_sessions(sessions, 0, "size"),
        "top_sessions: limit: expected a whole number above 0, got 0.",
    ),
    (
        lambda sessions: top_sessions(sessions, 1, TEXT),
        "top_sessions: order: expected one of last_seen, created, expires, size, user, handle, got '5'.",
    ),
    (
        lambda sessions: take_snapshot(sessions, Query(), "size", TEXT, created_since=0),
        "take_snapshot: limit: expected a whole number above 0, got '5'.",
    ),
    (
        lambda sessions: ByUser(SEVEN).end(sessions),
        "Sessions.end_user: user: expected a string, got 7.",
    ),
    (
        lambda sessions: ByHandle("abc").end(sessions),
        "ByHandle: prefixes: expected a list of strings, got 'abc'.",
    ),
    (
        lambda sessions: copy_sessions(sessions.store, MemoryStore(), rate=0),
        "rate: expected a number above 0, got 0.",
    ),
    (lambda sessions: ping(sessions.store, timeout=0), "ping: timeout: expected seconds above 0"),
    (
        lambda sessions: round_trip(sessions.store, timeout=TEXT),
        "round_trip: timeout: expected a number of seconds, got '5'.",
    ),
]


@pytest.mark.parametrize(("call", "sentence"), CALLS)
async def test_sessions_outside_a_request(
    store: Store, call: Callable[[Sessions], Awaitable[object]], sentence: str
) -> None:
    layer = SessionLayer(store, SessionManager(store).clock)
    cookie = await layer.begin(item="tea")
    with pytest.raises((TypeError, ValueError)) as caught:
        await call(Sessions(store))
    assert str(caught.value).startswith(sentence)
    assert await layer.read(cookie) == {"item": "tea"}


async def test_stores_and_sweepers() -> None:
    with pytest.raises(TypeError, match=r"^Sweeper: every: expected a number of seconds, got '5'\.$"):
        Sweeper(MemoryStore(), every=TEXT)
    with pytest.raises(ValueError, match=r"^redis_store: prefix: expected the beginning of every key, got 7"):
        redis_store(Redis(), prefix=SEVEN)
    with pytest.raises(ValueError, match=r"^redis_store: pool_size: expected a whole number above 0, got 0"):
        redis_store(Redis(), pool_size=0)
