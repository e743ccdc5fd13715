"""Virtual users that do random things in the shop, several at the same time with one session.

Each person has one browser with a few tabs, which share its cookie. Every tab sends one request after the
other, each to a server chosen at random, so requests with one session meet in several processes. Now and then
a tab sends an ID that the browser has given up, as a request that was delayed would, and another device of
the person ends the browser's session. The choices come from the seed; which requests meet does not.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, get_args

import httpx2 as httpx

from cartapp.session.record import new_id

from .history import Kind, Violation, check
from .shop_calls import request
from .shop_model import DEFAULTS, Act, Call, Value

PRODUCTS = range(1, 7)

WEIGHTS: dict[Act | Literal["undo"], float] = {
    "add": 24, "set": 14, "remove": 8, "undo": 16, "empty": 1, "cart": 10,
    "visit": 9, "prefer": 9, "forget": 2, "preferences": 5,
    "log in": 1.2, "log out": 0.5, "clear": 0.5, "end": 0.8,
}  # fmt: skip
"""How often a tab does what. To end a session takes three requests, the device's log-in and log-out.

To undo the last change matters: a server that has not noticed that change would find nothing to do.
"""

STALE = 0.04
"""The share of requests with an ID that the browser has given up."""

_ACCOUNTS = 5
_PASSWORD = "a long phrase of mine"


@dataclass
class Crowd:
    """All people, and how many requests they are still to send."""

    shops: Sequence[httpx.AsyncClient]
    seed: int
    left: int
    people: list["Person"] = field(default_factory=list)
    _name: str = field(default_factory=new_id)

    async def shop(self, *, people: int, tabs: int) -> None:
        """Send all requests."""
        await asyncio.gather(*(self._register(number) for number in range(_ACCOUNTS)))
        self.people = [Person(self, number) for number in range(people)]
        await asyncio.gather(*(person.arrive() for person in self.people))
        await asyncio.gather(*(person.tab(number) for person in self.people for number in range(tabs)))

    async def look(self) -> None:
        """Let each person read every session that the person ever had."""
        await asyncio.gather(*(person.look() for person in self.people))

    async def _register(self, account: int) -> None:
        response = await self.shops[0].post("/register", json={"name": "Ada", **self.user(account)})
        assert response.status_code == 201, response.text

    def user(self, person: int) -> dict[str, str]:
        """The log-in of a person; several people share an account."""
        return {"email": f"{person % _ACCOUNTS}.{self._name}@example.com", "password": _PASSWORD}

    def take(self) -> bool:
        """Whether there is one more request to send, which the caller then sends."""
        self.left -= 1
        return self.left >= 0

    def violations(self) -> list[Violation]:
        """Every false response."""
        return [violation for person in self.people for violation in check(person.calls)]

    def figures(self, violations: Sequence[Violation]) -> dict[str, int]:
        """What happened, in numbers."""
        calls = [call for person in self.people for call in person.calls]
        kinds = Counter(violation.kind for violation in violations)
        return {
            "requests": len(calls),
            "acknowledged": sum(call.status in (200, 404) for call in calls),
            "session ended": sum(call.status in (401, 409) for call in calls),
            "refused": sum(call.status is None for call in calls),
            **{kind: kinds[kind] for kind in get_args(Kind)},
        }


class Person:
    """One person's browser and other devices; `calls` is the history of all of them."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.calls: list[Call] = []
        self._crowd = crowd
        self._number = number
        self._cookie: str | None = None
        self._given_up: list[str] = []
        # What the browser's pages showed last, and what would undo the change before.
        self._cart: dict[int, int] = {}
        self._preferences = tuple(DEFAULTS.values())
        self._undo: tuple[Act, tuple[Value, ...]] = "cart", ()

    async def arrive(self) -> None:
        """Begin the session that all tabs share."""
        self._receive(await self._send(Random(self._number), "add", None, (1, 1)))

    async def tab(self, number: int) -> None:
        """One tab of the browser, until there are no requests left."""
        choices = Random(f"{self._crowd.seed} {self._number} {number}")
        while self._crowd.take():
            (act,) = choices.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if act == "end":
                await self._end_from_elsewhere(choices)
                continue
            is_stale = bool(self._given_up) and choices.random() < STALE
            sent = choices.choice(self._given_up) if is_stale else self._cookie
            act, args = self._undo if act == "undo" else (act, self._arguments(act, choices))
            self._receive(await self._send(choices, act, sent, args))

    async def look(self) -> None:
        """Read what the sessions hold, one request after the other."""
        reads: tuple[Act, ...] = ("cart", "preferences")
        for sent in {self._cookie, *self._given_up}:
            for act, shop in zip(reads, self._crowd.shops, strict=True):
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

    async def _end_from_elsewhere(self, choices: Random) -> None:
        """End the browser's session from another device of the same user."""
        device = await self._send(choices, "log in", None)
        if device.received and self._cookie and self._crowd.take():
            await self._send(choices, "end", device.received, (self._cookie,))
        if device.received and self._crowd.take():
            await self._send(choices, "log out", device.received)

    def _receive(self, call: Call) -> None:
        """Keep the cookie as a browser does, and what the response shows."""
        if call.received is not None:
            self._given_up += [self._cookie] if self._cookie else []
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
        shop = choices.choice(self._crowd.shops)
        call = await request(shop, act, sent, args, user=self._crowd.user(self._number))
        self.calls.append(call)
        return call
