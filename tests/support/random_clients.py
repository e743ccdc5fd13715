"""Virtual users that send random concurrent requests with shared sessions.

The tabs of a user's browser share one cookie. Every tab sends requests one after the other, each to a random
server, so requests with one session meet in several processes. Some requests carry an ID that the browser has
replaced, like delayed requests, and some come from another device that ends the browser's session. The
choices depend on the seed alone; the interleaving of requests does not.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, get_args

import httpx2 as httpx

from cartapp.session.record import new_id
from tests.support.history import Kind, Violation, check
from tests.support.recorded_requests import request
from tests.support.sequential_model import DEFAULTS, Act, Call, Value

PRODUCTS = range(1, 7)

WEIGHTS: dict[Act | Literal["undo"], float] = {
    "add": 24, "set": 14, "remove": 8, "undo": 16, "empty": 1, "cart": 10,
    "visit": 9, "prefer": 9, "forget": 2, "preferences": 5,
    "log in": 1.2, "log out": 0.5, "clear": 0.5, "end": 0.8,
}  # fmt: skip
"""Weight of each action in a tab; ending a session takes two more requests, a log-in and a log-out.

`undo` reverts the last change: a server with stale data would take it for a change without effect.
"""

STALE = 0.04
"""Share of requests with an ID that the browser has replaced."""

_ACCOUNTS = 5
_PASSWORD = "a long phrase of mine"


@dataclass
class RandomClients:
    """All users and the number of requests left to send."""

    shops: Sequence[httpx.AsyncClient]
    seed: int
    left: int
    users: list["RandomUser"] = field(default_factory=list)
    _name: str = field(default_factory=new_id)

    async def run(self, *, users: int, tabs: int) -> None:
        """Send all requests and wait for their responses."""
        await asyncio.gather(*(self._register(number) for number in range(_ACCOUNTS)))
        self.users = [RandomUser(self, number) for number in range(users)]
        await asyncio.gather(*(user.start_session() for user in self.users))
        await asyncio.gather(*(user.run_tab(number) for user in self.users for number in range(tabs)))

    async def read_sessions(self) -> None:
        """Read every session that each user ever had."""
        await asyncio.gather(*(user.read_sessions() for user in self.users))

    async def _register(self, account: int) -> None:
        response = await self.shops[0].post("/register", json={"name": "Ada", **self.credentials(account)})
        assert response.status_code == 201, response.text

    def credentials(self, number: int) -> dict[str, str]:
        """Return a user's log-in; several users share an account."""
        return {"email": f"{number % _ACCOUNTS}.{self._name}@example.com", "password": _PASSWORD}

    def take_request(self) -> bool:
        """Reserve one more request for the caller; False if none is left."""
        self.left -= 1
        return self.left >= 0

    def violations(self) -> list[Violation]:
        """Return every false response."""
        return [violation for user in self.users for violation in check(user.calls)]

    def figures(self, violations: Sequence[Violation]) -> dict[str, int]:
        """Return counts of requests, outcomes and violations."""
        calls = [call for user in self.users for call in user.calls]
        kinds = Counter(violation.kind for violation in violations)
        return {
            "requests": len(calls),
            "acknowledged": sum(call.status in (200, 404) for call in calls),
            "session ended": sum(call.status in (401, 409) for call in calls),
            "refused": sum(call.status is None for call in calls),
            **{kind: kinds[kind] for kind in get_args(Kind)},
        }


class RandomUser:
    """One user's browser and other devices; `calls` is their common history."""

    def __init__(self, clients: RandomClients, number: int) -> None:
        self.calls: list[Call] = []
        self._clients = clients
        self._number = number
        self._cookie: str | None = None
        self._replaced: list[str] = []
        # The last content shown in the browser, and the call that would undo the last change.
        self._cart: dict[int, int] = {}
        self._preferences = tuple(DEFAULTS.values())
        self._undo: tuple[Act, tuple[Value, ...]] = "cart", ()

    async def start_session(self) -> None:
        """Start the session that all tabs share."""
        self._receive(await self._send(Random(self._number), "add", None, (1, 1)))

    async def run_tab(self, number: int) -> None:
        """Send requests from one tab until none are left."""
        choices = Random(f"{self._clients.seed} {self._number} {number}")
        while self._clients.take_request():
            (act,) = choices.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if act == "end":
                await self._end_from_other_device(choices)
                continue
            is_stale = bool(self._replaced) and choices.random() < STALE
            sent = choices.choice(self._replaced) if is_stale else self._cookie
            act, args = self._undo if act == "undo" else (act, self._arguments(act, choices))
            self._receive(await self._send(choices, act, sent, args))

    async def read_sessions(self) -> None:
        """Read all sessions, one request after the other."""
        reads: tuple[Act, ...] = ("cart", "preferences")
        for sent in {self._cookie, *self._replaced}:
            for act, shop in zip(reads, self._clients.shops, strict=True):
                self.calls.append(await request(shop, act, sent, user={}))

    def _arguments(self, act: Act, choices: Random) -> tuple[Value, ...]:
        product, quantity = choices.choice(PRODUCTS), choices.randint(1, 2)
        known = choices.choice([product, *sorted(self._cart)])  # mostly a product in the cart
        arguments: dict[Act, tuple[Value, ...]] = {
            "add": (product, quantity),
            "set": (known, quantity),
            "remove": (known,),
            "prefer": (choices.choice(("en", "fr")), choices.choice(("light", "dark")), 20),
            "forget": (choices.choice(list(DEFAULTS)),),
        }
        return arguments.get(act, ())

    async def _end_from_other_device(self, choices: Random) -> None:
        """End the browser's session from another device of the same user."""
        device = await self._send(choices, "log in", None)
        if device.received and self._cookie and self._clients.take_request():
            await self._send(choices, "end", device.received, (self._cookie,))
        if device.received and self._clients.take_request():
            await self._send(choices, "log out", device.received)

    def _receive(self, call: Call) -> None:
        """Store the cookie as a browser does, and the content shown."""
        if call.received is not None:
            self._replaced += [self._cookie] if self._cookie else []
            self._cookie = call.received or None
        if call.status != 200:
            return
        if call.act in ("add", "set"):
            product = int(call.args[0])
            before = self._cart.get(product)
            self._undo = ("set", (product, before)) if before else ("remove", (product,))
        if call.act in ("add", "set", "remove", "empty", "cart"):
            self._cart = dict(call.shown)
        elif call.act in ("prefer", "preferences"):
            self._undo = "prefer", self._preferences
            self._preferences = call.shown

    async def _send(self, choices: Random, act: Act, sent: str | None, args: tuple[Value, ...] = ()) -> Call:
        shop = choices.choice(self._clients.shops)
        call = await request(shop, act, sent, args, user=self._clients.credentials(self._number))
        self.calls.append(call)
        return call
