"""Clients that increment a number in their sessions and check each value while a test disturbs the server."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cartapp.session.errors import SessionEnded, StoreUnavailable
from tests.support.polling import retry_while_unavailable
from tests.support.request_loops import RequestLoops
from tests.support.session_layer import SessionLayer


@dataclass
class CountingClient:
    """A client that increments a number in its session and checks the values it reads."""

    layer: SessionLayer
    keeps: bool
    """Whether the server keeps its data; otherwise a session may vanish, but only as a whole."""
    cookie: str | None = None
    count: int = 0
    """Last value confirmed; the stored value may be higher by up to `unknown`, the unconfirmed writes."""
    unknown: int = 0
    answered: int = 0
    refused: int = 0
    vanished: int = 0

    async def send(self) -> None:
        """Send one request."""
        try:
            session, request_session = await self.layer.load(self.cookie)
            if session.is_new:
                self._begin_again()
            session.modify("count", lambda number: number + 1, 0)
            await session.save()
        except StoreUnavailable:
            self.refused += 1
            self.unknown += 1
            return
        except SessionEnded:  # it vanished between loading and saving
            assert not self.keeps
            return
        count = session["count"]
        assert self.count < count <= self.count + 1 + self.unknown
        self.count, self.unknown = count, 0
        self.cookie = request_session.cookie() or self.cookie
        self.answered += 1

    def _begin_again(self) -> None:
        if self.cookie is not None:
            assert not self.keeps
            self.vanished += 1
        self.cookie, self.count, self.unknown = None, 0, 0

    async def check(self) -> None:
        """Wait for the store and check the value: the last confirmed one or an unconfirmed write."""
        session, _ = await retry_while_unavailable(lambda: self.layer.load(self.cookie))
        if session.is_new:
            self._begin_again()
            return
        assert self.count <= session["count"] <= self.count + self.unknown


class SessionLoad(RequestLoops):
    """All clients. Each sends one request after the other."""

    def __init__(self, visitors: Sequence[CountingClient]) -> None:
        super().__init__()
        self.visitors = visitors

    def answered(self) -> int:
        return sum(visitor.answered for visitor in self.visitors)

    def refused(self) -> int:
        return sum(visitor.refused for visitor in self.visitors)


@asynccontextmanager
async def session_load(layer: SessionLayer, *, keeps: bool, visitors: int = 10) -> AsyncIterator[SessionLoad]:
    """Run clients until the block ends, then check each client's session."""
    load = SessionLoad([CountingClient(layer, keeps) for _ in range(visitors)])
    async with load.running(*((visitor.send, 0.002) for visitor in load.visitors)):
        yield load
    for visitor in load.visitors:
        await visitor.check()
