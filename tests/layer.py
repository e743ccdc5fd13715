"""The session layer without HTTP: visits to one store, as requests make them."""

from dataclasses import dataclass, field

from cartapp.session.carriers import IdCarrier
from cartapp.session.guard import GuardedStore
from cartapp.session.manager import Manager, Visit
from cartapp.session.policy import Policy
from cartapp.session.record import Clock
from cartapp.session.session import Session
from cartapp.session.stores.base import Store


@dataclass
class Layer:
    """One process's session layer over a store."""

    store: Store
    clock: Clock
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self.manager = Manager(
            IdCarrier(GuardedStore(self.store, self.policy.timeout)), self.policy, clock=self.clock
        )

    async def visit(self, cookie: str | None = None) -> tuple[Session, Visit]:
        """What a request does first: its session, loaded."""
        visit = self.manager.visit(lambda: cookie)
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
