"""Copying between real stores while visitors use them, in processes that are killed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cartapp.session.policy import Policy
from cartapp.session.record import now
from cartapp.session.stores import open_store
from cartapp.session.transfer import copy_sessions

from .databases import DATABASES
from .layer import Layer
from .pairs import Crowd
from .store_workers import copy_until_told, ended
from .stores import with_prefix
from .waiting import PATIENCE
from .workers import answer, piped

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
async def crowd(urls: list[str]) -> AsyncIterator[Crowd]:
    policy = Policy(timeout=PATIENCE)
    source, target = (Layer(open_store(url, timeout=PATIENCE), now, policy) for url in urls)
    crowd = Crowd(source, target)
    yield crowd
    await source.store.close()
    await target.store.close()


async def test_copies_under_load(urls: list[str], crowd: Crowd) -> None:
    async def visitor() -> None:
        for _ in range(40):
            await crowd.visit_source()
        for _ in range(40):
            await crowd.visit_target()

    await crowd.arrive(100)
    process, pipe = piped(copy_until_told, *urls)
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


async def test_a_copy_that_is_killed_is_completed(urls: list[str], crowd: Crowd) -> None:
    await crowd.arrive(250)
    for _ in range(5):
        for _ in range(40):
            await crowd.visit_source()
        process, pipe = piped(copy_until_told, *urls)
        await asyncio.to_thread(answer, pipe)
        await asyncio.to_thread(process.join, crowd.random.uniform(0, 0.2))
        process.kill()
        for _ in range(30):
            await crowd.visit_target()
    await copy_sessions(crowd.source.store, crowd.target.store)
    await crowd.check()
    assert crowd.moved
    assert crowd.staying
