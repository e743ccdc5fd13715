"""Whether requests would succeed now: tried on the session store and the database, once a second at most."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any

from cartapp.accounts import Accounts
from cartapp.catalogue import Catalogue
from cartapp.session import SessionError
from cartapp.session.guard import GuardedStore
from cartapp.session.probe import round_trip
from cartapp.session.stores.base import Store
from cartapp.session.stores.timeouts import SharedTimeout

_FRESH = 1.0  # seconds for which a result is shared, from the beginning of the check
_STEP, _WHOLE = 0.8, 1.0  # seconds for one operation on a store, and for the check of each part

logger = logging.getLogger("cartapp.web")


@dataclass(frozen=True, slots=True)
class Problem:
    """What requests would fail on; the reason is for operators."""

    part: str
    reason: str


class Readiness:
    """Checks the session store and the database of an application; requests within a second share a check.

    `guarded` is the store as requests use it, whose circuit breaker may be open; `store` is the same one
    without instrumentation, so that no check counts as a visitor's session.
    """

    def __init__(self, guarded: GuardedStore, store: Store, accounts: Accounts, catalogue: Catalogue) -> None:
        self._guarded, self._store = guarded, store
        self._accounts, self._catalogue = accounts, catalogue
        self._limit = SharedTimeout(_WHOLE)
        self._checking = asyncio.Lock()
        self._checked = float("-inf")
        self._problems: list[Problem] = []

    async def problems(self) -> list[Problem]:
        """What requests would fail on; empty when all is well."""
        async with self._checking:
            began = monotonic()
            if began - self._checked >= _FRESH:
                parts = {
                    f"the session store ({self._store.name})": self._check_sessions(),
                    "the database of accounts and products": self._check_database(),
                }
                found = await asyncio.gather(*(self._problem(part, check) for part, check in parts.items()))
                self._problems = [problem for problem in found if problem is not None]
                self._checked = began
        return self._problems

    async def _problem(self, part: str, check: Coroutine[Any, Any, None]) -> Problem | None:
        try:
            await self._limit.wait_for(check)
        except (SessionError, TimeoutError) as error:
            reason = str(error) or f"There was no answer within {self._limit.seconds:g} seconds."
            logger.warning("Not ready: %s cannot be used. %s", part, reason)
            return Problem(part, reason)
        return None

    async def _check_sessions(self) -> None:
        await self._guarded.ping()  # fails at once while its circuit breaker is open
        if self._store.name != "cookie":
            await round_trip(self._store, timeout=_STEP)

    async def _check_database(self) -> None:
        await self._accounts.check()
        await self._catalogue.page(1, 1)
