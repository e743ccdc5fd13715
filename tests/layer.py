"""The session layer without HTTP: visits to one store, as requests make them."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from cartapp.session.carriers import IdCarrier
from cartapp.session.guard import GuardedStore
from cartapp.session.manager import Manager, Visit
from cartapp.session.policy import Policy
from cartapp.session.record import Clock, Record, Seen, Version
from cartapp.session.session import Session
from cartapp.session.stores.base import Store
from cartapp.session.stores.memory import MemoryStore


@dataclass
class Layer:
    """One process's session layer over a store."""

    store: Store
    clock: Clock
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        carrier = IdCarrier(GuardedStore(self.store, self.policy.timeout))
        self.manager = Manager(carrier, self.policy, clock=self.clock, on_count=self._count)

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    async def visit(self, cookie: str | None = None) -> tuple[Session, Visit]:
        """What a request does first: its session, loaded."""
        visit = Visit(self.manager, lambda: cookie)
        return await Session(visit).load(), visit

    async def begin(self, **data: object) -> str:
        """A stored session with this data; returns its cookie."""
        session, visit = await self.visit()
        session.update(data)
        await session.save()
        cookie = visit.cookie()
        assert cookie is not None
        return cookie

    async def read(self, cookie: str) -> dict[str, object]:
        """What the next request would see."""
        session, _ = await self.visit(cookie)
        return session.copy()


class Yielding(MemoryStore):
    """A store whose every operation lets other requests run first, as a network does."""

    async def create(self, record: Record) -> Version | None:
        await asyncio.sleep(0)
        return await super().create(record)

    async def load(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        return await super().load(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        await asyncio.sleep(0)
        return await super().save(record, expected=expected)

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        await asyncio.sleep(0)
        return await super().delete(key, expected=expected)
