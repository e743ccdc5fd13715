"""A wrapper of the memory store: each call waits for the scheduler to execute it and to deliver its result.

A call has two steps, its effect and the delivery of its result, so a response can be delayed.
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
"""The request of the running task; tasks that it starts inherit it."""

_NOT_SENT: Any = object()


class Effect(Protocol):
    """One pending store call."""

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
        """Whether the call took effect."""
        return self.result is not _NOT_SENT

    @property
    def wrote(self) -> bool:
        """Whether the call changed the store."""
        return self.name != "load" and self.result not in (None, False)

    def send(self) -> None:
        """Execute the call. A memory store never waits, so one step completes it."""
        try:
            self.effect().send(None)
        except StopIteration as done:
            self.result = done.value
        else:
            raise AssertionError("The store waits for something else than the scheduler.")

    def deliver(self) -> None:
        """Deliver the result to the request."""
        self.response.set_result(self.result)

    def fail(self) -> None:
        """Fail: the store is unavailable."""
        self.response.set_exception(StoreUnavailable("The store failed on purpose."))


class GatedStore:
    """The operations of `store`; each waits in `calls` for the scheduler."""

    name = "gated"

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[Call] = []
        self.closed = False  # whether all further calls fail

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
