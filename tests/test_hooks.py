"""The hooks: an application is told what happened, after it has."""

import asyncio
from datetime import timedelta

import pytest

from cartapp.session import Hooks, Session, Sessions
from cartapp.session.policy import Policy
from cartapp.session.record import key_of
from cartapp.session.stores.memory import MemoryStore

from .conftest import ManualClock
from .layer import Layer

pytestmark = pytest.mark.anyio


async def test_hooks_tell_what_happened_after_the_commit(clock: ManualClock) -> None:
    told: list[tuple[object, ...]] = []

    async def deleted(handle: str, data: object) -> None:
        told.append(("deleted", handle, data))

    hooks = Hooks(
        on_started=lambda handle, data: told.append(("started", handle, data)),
        on_deleted=deleted,
        on_regenerated=lambda old, new: told.append(("regenerated", old, new)),
    )
    layer = Layer(MemoryStore(clock=clock), clock, Policy(hooks=hooks))
    session, _ = await layer.visit()
    session["a"] = 1
    assert told == []
    await session.save()
    first = session.id
    session.regenerate()
    await session.save()
    second = session.id
    session.destroy()
    await session.save()
    assert told == [
        ("started", first, {"a": 1}),
        ("regenerated", first, second),
        ("deleted", second, {"a": 1}),
    ]


async def test_a_hook_that_fails_harms_nothing(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    def fail(handle: str, data: object) -> None:
        raise RuntimeError("hook")

    layer = Layer(MemoryStore(clock=clock), clock, Policy(hooks=Hooks(on_started=fail)))
    assert await layer.read(await layer.begin(a=1)) == {"a": 1}
    assert "A session hook failed" in caplog.text


async def test_on_deleted_tells_whoever_ended_the_session(clock: ManualClock) -> None:
    told: list[tuple[str, object]] = []
    hooks = Hooks(on_deleted=lambda handle, data: told.append((handle, data)))
    current = True

    async def is_current(user_id: str, epoch: int) -> bool:
        return current

    layer = Layer(MemoryStore(clock=clock), clock, Policy(hooks=hooks, is_current=is_current))
    sessions = Sessions(layer.store, hooks=hooks, clock=clock)
    cookies = []
    for number in range(5):
        session, visit = await layer.visit()
        session["n"] = number
        if number in (1, 2):
            session.log_in(str(number))
        await session.save()
        cookies.append(visit.cookie() or "")
    assert await sessions.end(key_of(cookies[0]))
    assert await sessions.end_user("1") == 1
    current = False
    assert await layer.read(cookies[2]) == {}
    current = True
    clock.advance(600)
    assert await layer.read(cookies[3]) == {"n": 3}
    session, _ = await layer.visit(cookies[3])
    await session.save()  # keep-alive
    assert await sessions.end_idle(timedelta(minutes=5), step=timedelta(0)) == 1
    assert await sessions.clear() == 1
    expected = [(key_of(cookies[number]), {"n": number}) for number in (0, 1, 2, 4, 3)]
    assert told == expected


async def test_a_hook_that_awaits_a_cancelled_task_harms_nothing(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait(handle: str, data: object) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    layer = Layer(MemoryStore(clock=clock), clock, Policy(hooks=Hooks(on_started=wait)))
    assert await layer.read(await layer.begin(a=1)) == {"a": 1}
    assert "A session hook awaited a task that was cancelled" in caplog.text


async def test_a_hook_can_save_the_same_session(clock: ManualClock) -> None:
    held: list[Session] = []

    async def note(handle: str, data: object) -> None:
        held[0]["noted"] = True
        await held[0].save()

    layer = Layer(MemoryStore(clock=clock), clock, Policy(hooks=Hooks(on_started=note)))
    session, visit = await layer.visit()
    held.append(session)
    session["a"] = 1
    await asyncio.wait_for(session.save(), 60)
    assert await layer.read(str(visit.cookie())) == {"a": 1, "noted": True}


async def test_a_cancellation_in_a_hook_skips_no_other_hook(clock: ManualClock) -> None:
    told: list[str] = []
    entered = asyncio.Event()

    async def deleted(handle: str, data: object) -> None:
        told.append("deleted")
        entered.set()
        await asyncio.Event().wait()

    hooks = Hooks(on_deleted=deleted, on_started=lambda handle, data: told.append("started"))
    layer = Layer(MemoryStore(clock=clock), clock, Policy(hooks=hooks))
    session, visit = await layer.visit(await layer.begin(a=1))
    told.clear()
    session.destroy()
    session["b"] = 1
    saving = asyncio.ensure_future(session.save())
    await entered.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert told == ["deleted", "started"]
    await visit.finish(session, failed=False)
    assert await layer.read(str(visit.cookie())) == {"b": 1}
