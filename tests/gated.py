"""A store that stops at an operation until a test lets it go on, or that fails on demand."""

import asyncio
from collections.abc import AsyncIterator

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, Seen, Summary, Version
from cartapp.session.stores.base import Listable, Store


class Gated:
    """A store around `inner`.

    Operations named in `pausing` set `waiting` and wait for `open`. Those in `failing` fail with no effect,
    and those in `losing_answers` fail after it.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.name = inner.name
        self.open = asyncio.Event()
        self.waiting = asyncio.Event()
        self.pausing: set[str] = set()
        self.failing: set[str] = set()
        self.losing_answers: set[str] = set()

    def pause(self, name: str) -> None:
        """Stop the operations of this name until `open` is set."""
        self.pausing = {name}
        self.open.clear()

    async def _pass(self, name: str) -> None:
        if name in self.pausing and not self.open.is_set():
            self.waiting.set()
            await self.open.wait()
        await asyncio.sleep(0)
        if name in self.failing:
            raise StoreUnavailable("The store is down for this test.")

    async def load(self, key: str) -> Record | None:
        await self._pass("load")
        return await self.inner.load(key)

    async def create(self, record: Record) -> Version | None:
        await self._pass("create")
        return await self.inner.create(record)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        await self._pass("save")
        version = await self.inner.save(record, expected=expected)
        if "save" in self.losing_answers:
            raise StoreUnavailable("The answer was lost for this test.")
        return version

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        await self._pass("touch")
        return await self.inner.touch(key, expected=expected, last_used=last_used, expires=expires)

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        await self._pass("delete")
        return await self.inner.delete(key, expected=expected)

    async def ping(self) -> None:
        await self.inner.ping()

    async def close(self) -> None:
        await self.inner.close()

    def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        assert isinstance(self.inner, Listable)
        return self.inner.scan(user_id=user_id)


async def live(store: Gated) -> list[Summary]:
    """Everything that a listing finds."""
    return [summary async for summary in store.scan()]
