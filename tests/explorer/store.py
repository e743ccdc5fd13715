"""A store in front of the memory store: each call waits until the scheduler sends it and delivers its result.

A call has two steps, so a response can be slow: its effect in the store, and the delivery of the result.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, Version
from cartapp.session.stores.base import Store

T = TypeVar("T")

request_name: ContextVar[str] = ContextVar("request_name")
"""The request on whose behalf a task runs; the tasks that it starts inherit it."""

_NOT_SENT: Any = object()


class Effect(Protocol):
    """One store call, ready to be made."""

    def __call__(self) -> Coroutine[Any, Any, Any]: ...


@dataclass(eq=False)
class Call:
    """One store call of one request."""

    request: str
    name: str
    key: str
    effect: Effect
    record: Record | None
    response: asyncio.Future[Any] = field(init=False)
    result: Any = _NOT_SENT

    def __post_init__(self) -> None:
        self.response = asyncio.get_running_loop().create_future()

    @property
    def sent(self) -> bool:
        """Whether the effect took place."""
        return self.result is not _NOT_SENT

    @property
    def wrote(self) -> bool:
        """Whether the effect, which took place, changed the store."""
        return self.name != "load" and self.result not in (None, False)

    def send(self) -> None:
        """Let the effect take place. A memory store never waits, so one step completes it."""
        try:
            self.effect().send(None)
        except StopIteration as done:
            self.result = done.value
        else:
            raise AssertionError("The store waits for something else than the scheduler.")

    def deliver(self) -> None:
        """Give the request the result."""
        self.response.set_result(self.result)

    def fail(self) -> None:
        """Fail: the store is unavailable."""
        self.response.set_exception(StoreUnavailable("The store failed on purpose."))


class GatedStore:
    """The operations of `store`, each of which waits in `calls` for the scheduler."""

    name = "gated"

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[Call] = []
        self.closed = False  # whether every further call fails

    async def create(self, record: Record) -> Version | None:
        effect = partial(self._store.create, record)
        version: Version | None = await self._call("create", record.key, effect, record)
        return version

    async def load(self, key: str) -> Record | None:
        record: Record | None = await self._call("load", key, partial(self._store.load, key))
        return record

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        effect = partial(self._store.save, record, expected=expected)
        version: Version | None = await self._call("save", record.key, effect, record)
        return version

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        effect = partial(self._store.touch, key, expected=expected, last_used=last_used, expires=expires)
        done: bool = await self._call("touch", key, effect)
        return done

    async def delete(self, key: str, *, expected: Any = None) -> bool:
        done: bool = await self._call("delete", key, partial(self._store.delete, key, expected=expected))
        return done

    async def ping(self) -> None:
        await self._call("ping", "", self._store.ping)

    async def close(self) -> None:
        await self._store.close()

    async def _call(self, name: str, key: str, effect: Effect, record: Record | None = None) -> Any:
        if self.closed:
            raise StoreUnavailable("The run is over.")
        call = Call(request_name.get(), name, key, effect, record)
        self.calls.append(call)
        return await call.response
