"""Visitors who count, while a test does something to the server: was every answer they got true?"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cartapp.session.errors import SessionEnded, StoreUnavailable

from .layer import Layer
from .rounds import Rounds
from .waiting import answer_to


@dataclass
class Visitor:
    """One browser: it adds one to a number in its session, again and again, and checks what it is told."""

    layer: Layer
    keeps: bool
    """Whether the server keeps what it has; otherwise a session may vanish, but only as a whole."""
    cookie: str | None = None
    count: int = 0
    """What it was told last; the number may be higher by `unknown`, the writes of which nobody knows."""
    unknown: int = 0
    answered: int = 0
    refused: int = 0
    vanished: int = 0

    async def visit(self) -> None:
        """One request."""
        try:
            session, visit = await self.layer.visit(self.cookie)
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
        told = session["count"]
        assert self.count < told <= self.count + 1 + self.unknown
        self.count, self.unknown = told, 0
        self.cookie = visit.cookie() or self.cookie
        self.answered += 1

    def _begin_again(self) -> None:
        if self.cookie is not None:
            assert not self.keeps
            self.vanished += 1
        self.cookie, self.count, self.unknown = None, 0, 0

    async def check(self) -> None:
        """When all is over an answer comes: what it was told, or one of the writes that nobody knew of."""
        session, _ = await answer_to(lambda: self.layer.visit(self.cookie))
        if session.is_new:
            self._begin_again()
            return
        assert self.count <= session["count"] <= self.count + self.unknown


class Traffic(Rounds):
    """All visitors, each doing one request after the other."""

    def __init__(self, visitors: Sequence[Visitor]) -> None:
        super().__init__()
        self.visitors = visitors

    def answered(self) -> int:
        return sum(visitor.answered for visitor in self.visitors)

    def refused(self) -> int:
        return sum(visitor.refused for visitor in self.visitors)


@asynccontextmanager
async def traffic(layer: Layer, *, keeps: bool, visitors: int = 10) -> AsyncIterator[Traffic]:
    """Visitors, coming until the block ends; then each one's session is checked."""
    running = Traffic([Visitor(layer, keeps) for _ in range(visitors)])
    async with running.of(*((visitor.visit, 0.002) for visitor in running.visitors)):
        yield running
    for visitor in running.visitors:
        await visitor.check()
