"""Copies between real stores under load, in processes that are killed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cartapp.session.admin.copy import copy_sessions
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import now
from cartapp.session.stores.registry import open_store
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT
from tests.support.session_layer import SessionLayer
from tests.support.store_pairs import CopyLoad
from tests.support.store_workers import copy_until_stopped, ended
from tests.support.stores import with_prefix
from tests.support.workers import answer, piped

pytestmark = pytest.mark.anyio

URLS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "file": lambda request: f"file://{request.getfixturevalue('tmp_path')}/sessions",
    "redis": lambda request: with_prefix(request.getfixturevalue("redis_server").url),
    "sqlite": DATABASES["sqlite"],
    "postgresql": DATABASES["postgresql"],
}


@pytest.fixture(params=["file-redis", "redis-postgresql", "redis-sqlite"])
def urls(request: pytest.FixtureRequest) -> list[str]:
    return [URLS[name](request) for name in request.param.split("-")]


@pytest.fixture
async def crowd(urls: list[str]) -> AsyncIterator[CopyLoad]:
    policy = SessionPolicy(timeout=STORE_TIMEOUT)
    source, target = (SessionLayer(open_store(url, timeout=STORE_TIMEOUT), now, policy) for url in urls)
    crowd = CopyLoad(source, target)
    yield crowd
    await source.store.close()
    await target.store.close()


async def test_copies_under_load(urls: list[str], crowd: CopyLoad) -> None:
    async def visitor() -> None:
        for _ in range(40):
            await crowd.visit_source()
        for _ in range(40):
            await crowd.visit_target()

    await crowd.add_visitors(100)
    process, pipe = piped(copy_until_stopped, *urls)
    await asyncio.to_thread(answer, pipe)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(visitor())
        for _ in range(3):
            await copy_sessions(crowd.source.store, crowd.target.store)
    pipe.send("stop")
    assert await asyncio.to_thread(answer, pipe) > 0
    assert await ended([process]) == [0]
    await copy_sessions(crowd.source.store, crowd.target.store)
    await crowd.check()


async def test_a_killed_copy_is_completed_by_the_next(urls: list[str], crowd: CopyLoad) -> None:
    await crowd.add_visitors(250)
    for _ in range(5):
        for _ in range(40):
            await crowd.visit_source()
        process, pipe = piped(copy_until_stopped, *urls)
        await asyncio.to_thread(answer, pipe)
        await asyncio.to_thread(process.join, crowd.random.uniform(0, 0.2))
        process.kill()
        for _ in range(30):
            await crowd.visit_target()
    await copy_sessions(crowd.source.store, crowd.target.store)
    await crowd.check()
    assert crowd.on_target
    assert crowd.on_source
