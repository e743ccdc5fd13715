"""A store that a test can pause at an operation or make fail."""

import asyncio
from collections.abc import AsyncIterator

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, RecordOrSummary, Summary, Version
from cartapp.session.stores.base import Listable, Store


class PausableStore:
    """Wrap `inner`.

    Operations named in `pausing` set `paused` and wait for `resumed`. Those in `failing` raise without an
    effect, those in `losing_responses` raise after it.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.name = inner.name
        self.resumed = asyncio.Event()
        self.paused = asyncio.Event()
        self.pausing: set[str] = set()
        self.failing: set[str] = set()
        self.losing_responses: set[str] = set()

    def pause(self, name: str) -> None:
        """Pause operations of this name until `resumed` is set."""
        self.pausing = {name}
        self.resumed.clear()

    async def _enter(self, name: str) -> None:
        if name in self.pausing and not self.resumed.is_set():
            self.paused.set()
            await self.resumed.wait()
        await asyncio.sleep(0)
        if name in self.failing:
            raise StoreUnavailable("The store is down for this test.")

    async def load(self, key: str) -> Record | None:
        await self._enter("load")
        return await self.inner.load(key)

    async def create(self, record: Record) -> Version | None:
        await self._enter("create")
        return await self.inner.create(record)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        await self._enter("save")
        version = await self.inner.save(record, expected=expected)
        if "save" in self.losing_responses:
            raise StoreUnavailable("The response was lost for this test.")
        return version

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        await self._enter("touch")
        return await self.inner.touch(key, expected=expected, last_used=last_used, expires=expires)

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        await self._enter("delete")
        return await self.inner.delete(key, expected=expected)

    async def ping(self) -> None:
        await self.inner.ping()

    async def close(self) -> None:
        await self.inner.close()

    def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        assert isinstance(self.inner, Listable)
        return self.inner.scan(user_id=user_id)


async def list_sessions(store: PausableStore) -> list[Summary]:
    """Return the summaries of all sessions in the store."""
    return [summary async for summary in store.scan()]
