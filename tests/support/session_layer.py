"""The session layer without HTTP: load and commit sessions of one store as requests do."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from cartapp.session.manager import SessionManager
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Clock, Record, RecordOrSummary, Version
from cartapp.session.request_session import RequestSession
from cartapp.session.session import Session
from cartapp.session.stores.base import Store
from cartapp.session.stores.memory import MemoryStore


@dataclass
class SessionLayer:
    """One process's session layer over a store."""

    store: Store
    clock: Clock
    policy: SessionPolicy = field(default_factory=SessionPolicy)

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.manager = SessionManager(self.store, policy=self.policy, clock=self.clock, on_count=self._count)

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    async def load(self, cookie: str | None = None) -> tuple[Session, RequestSession]:
        """Load a session as a request does; return it with its request state."""
        request_session = RequestSession(self.manager, lambda: cookie)
        return await Session(request_session).load(), request_session

    async def begin(self, **data: object) -> str:
        """Store a session with this data; return its cookie."""
        session, request_session = await self.load()
        session.update(data)
        await session.save()
        cookie = request_session.cookie()
        assert cookie is not None
        return cookie

    async def read(self, cookie: str) -> dict[str, object]:
        """Return the session's data as the next request sees it."""
        session, _ = await self.load(cookie)
        return session.copy()


class YieldingStore(MemoryStore):
    """A memory store that yields to other requests before each operation, as network I/O does."""

    async def create(self, record: Record) -> Version | None:
        await asyncio.sleep(0)
        return await super().create(record)

    async def load(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        return await super().load(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        await asyncio.sleep(0)
        return await super().save(record, expected=expected)

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        await asyncio.sleep(0)
        return await super().delete(key, expected=expected)
