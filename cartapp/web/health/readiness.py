"""Readiness: a check of the session store and the database, shared by concurrent requests."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any

from cartapp.accounts import Accounts
from cartapp.catalogue import Catalogue
from cartapp.session import SessionError, SessionManager
from cartapp.session.admin import round_trip
from cartapp.session.stores import Store
from cartapp.session.stores.single_flight import SingleFlight
from cartapp.session.stores.timeouts import SharedTimeout

_FRESH = 1.0  # seconds from its beginning for which a successful check is valid
_FRESH_FAILURE = 0.1  # seconds from its end for which a failed check is valid
_STEP, _WHOLE = 0.8, 1.0  # seconds for one operation on a store, and for the check of each part

logger = logging.getLogger("cartapp.web")


@dataclass(frozen=True, slots=True)
class Problem:
    """An unusable part of the shop; the reason is for operators."""

    part: str
    reason: str


class Readiness:
    """Checks the session store and the database of an application, at most once a second while it is ready.

    `sessions` pings the store through the circuit breaker, as requests do; `store` is the same store without
    instrumentation, so that no check counts as a visitor's session. `registration`: whether visitors may
    register.
    """

    def __init__(
        self,
        sessions: SessionManager,
        store: Store,
        accounts: Accounts,
        catalogue: Catalogue,
        *,
        registration: bool,
    ) -> None:
        self._sessions, self._store = sessions, store
        self._accounts, self._catalogue = accounts, catalogue
        self._registration = registration
        self._limit = SharedTimeout(_WHOLE)
        self._checking = SingleFlight(self._check)
        self._valid_until = float("-inf")  # time of the monotonic clock
        self._problems: list[Problem] = []

    async def problems(self) -> list[Problem]:
        """Return the unusable parts; empty if the shop is ready."""
        if monotonic() >= self._valid_until:
            await self._checking.run()
        return self._problems

    async def _check(self) -> None:
        began = monotonic()
        parts = {
            f"the session store ({self._store.name})": self._check_sessions(),
            "the database of accounts and products": self._check_database(),
        }
        found = await asyncio.gather(*(self._problem(part, check) for part, check in parts.items()))
        self._problems = [problem for problem in found if problem is not None]
        self._valid_until = monotonic() + _FRESH_FAILURE if self._problems else began + _FRESH

    async def _problem(self, part: str, check: Coroutine[Any, Any, None]) -> Problem | None:
        try:
            await self._limit.wait_for(check)
        except (SessionError, TimeoutError) as error:
            reason = str(error) or f"There was no response within {self._limit.seconds:g} seconds."
            logger.warning("Not ready: %s cannot be used. %s", part, reason)
            return Problem(part, reason)
        return None

    async def _check_sessions(self) -> None:
        await self._sessions.ping()  # fails at once while its circuit breaker is open
        if self._store.name != "cookie":
            await round_trip(self._store, timeout=_STEP)

    async def _check_database(self) -> None:
        await self._accounts.check(registration=self._registration)
        await self._catalogue.get_page(1, 1)
