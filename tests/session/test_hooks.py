"""Hooks run after the commit; their errors have no effect."""

import asyncio
from datetime import timedelta

import pytest

from cartapp.session import Hooks, Session, Sessions
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import key_from_id
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


async def test_hooks_run_after_the_commit(clock: ManualClock) -> None:
    calls: list[tuple[object, ...]] = []

    async def deleted(handle: str, data: object) -> None:
        calls.append(("deleted", handle, data))

    hooks = Hooks(
        on_started=lambda handle, data: calls.append(("started", handle, data)),
        on_deleted=deleted,
        on_regenerated=lambda old, new: calls.append(("regenerated", old, new)),
    )
    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(hooks=hooks))
    session, _ = await layer.load()
    session["a"] = 1
    assert calls == []
    await session.save()
    first = session.id
    session.regenerate()
    await session.save()
    second = session.id
    session.destroy()
    await session.save()
    assert calls == [
        ("started", first, {"a": 1}),
        ("regenerated", first, second),
        ("deleted", second, {"a": 1}),
    ]


async def test_a_failing_hook_has_no_effect(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    def fail(handle: str, data: object) -> None:
        raise RuntimeError("hook")

    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(hooks=Hooks(on_started=fail)))
    assert await layer.read(await layer.begin(a=1)) == {"a": 1}
    assert "A session hook failed" in caplog.text


async def test_on_deleted_runs_in_the_process_that_ends_the_session(clock: ManualClock) -> None:
    calls: list[tuple[str, object]] = []
    hooks = Hooks(on_deleted=lambda handle, data: calls.append((handle, data)))
    current = True

    async def is_current(user_id: str, epoch: int) -> bool:
        return current

    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(hooks=hooks, is_current=is_current))
    sessions = Sessions(layer.store, hooks=hooks, clock=clock)
    cookies = []
    for number in range(5):
        session, request_session = await layer.load()
        session["n"] = number
        if number in (1, 2):
            session.log_in(str(number))
        await session.save()
        cookies.append(request_session.cookie() or "")
    assert await sessions.end(key_from_id(cookies[0]))
    assert await sessions.end_user("1") == 1
    current = False
    assert await layer.read(cookies[2]) == {}
    current = True
    clock.advance(600)
    assert await layer.read(cookies[3]) == {"n": 3}
    session, _ = await layer.load(cookies[3])
    await session.save()  # keep-alive
    assert await sessions.end_idle(timedelta(minutes=5), step=timedelta(0)) == 1
    assert await sessions.clear() == 1
    expected = [(key_from_id(cookies[number]), {"n": number}) for number in (0, 1, 2, 4, 3)]
    assert calls == expected


async def test_a_hook_that_awaits_a_cancelled_task_has_no_effect(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait(handle: str, data: object) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(hooks=Hooks(on_started=wait)))
    assert await layer.read(await layer.begin(a=1)) == {"a": 1}
    assert "A session hook awaited a task that was cancelled" in caplog.text


async def test_a_hook_can_save_the_same_session(clock: ManualClock) -> None:
    held: list[Session] = []

    async def note(handle: str, data: object) -> None:
        held[0]["noted"] = True
        await held[0].save()

    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(hooks=Hooks(on_started=note)))
    session, request_session = await layer.load()
    held.append(session)
    session["a"] = 1
    await asyncio.wait_for(session.save(), 60)
    assert await layer.read(str(request_session.cookie())) == {"a": 1, "noted": True}


async def test_a_cancellation_in_a_hook_skips_no_other_hook(clock: ManualClock) -> None:
    calls: list[str] = []
    entered = asyncio.Event()

    async def deleted(handle: str, data: object) -> None:
        calls.append("deleted")
        entered.set()
        await asyncio.Event().wait()

    hooks = Hooks(on_deleted=deleted, on_started=lambda handle, data: calls.append("started"))
    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(hooks=hooks))
    session, request_session = await layer.load(await layer.begin(a=1))
    calls.clear()
    session.destroy()
    session["b"] = 1
    saving = asyncio.ensure_future(session.save())
    await entered.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert calls == ["deleted", "started"]
    await request_session.finish(session, failed=False)
    assert await layer.read(str(request_session.cookie())) == {"b": 1}
