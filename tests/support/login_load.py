"""Floods of log-ins and registrations, with the response times of other users."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx2 as httpx

from cartapp.accounts import UserAdministration
from tests.support.accounts import open_database
from tests.support.shop_server import Shop

PASSWORD, WRONG = "a long phrase of mine", "not the right phrase"
SETTINGS = {"CART_TRUSTED_PROXIES": "127.0.0.1"}  # each request names its network in X-Forwarded-For


RATE = 1000 / 60
"""Log-ins or registrations per second in an attack."""

OTHERS = [f"other{number}" for number in range(8)]
OWNER, HOME = "owner", "198.51.100.1"
MALLORY = "mallory"
"""An attacker with an account of their own, and so with one valid password."""


@dataclass
class ResponseStats:
    """Statuses and durations of one kind of request."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    def add(self, response: httpx.Response, seconds: float) -> None:
        self.statuses[response.status_code] += 1
        self.seconds.append(seconds)
        if response.status_code in (429, 503) and "retry-after" not in response.headers:
            self.without_retry_after += 1

    def percentile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    def __str__(self) -> str:
        times = ", ".join(f"p{share} {self.percentile(share / 100) * 1000:.0f} ms" for share in (50, 95, 99))
        return f"{dict(self.statuses)}, {times}"


Send = Callable[[int], Awaitable[None]]
Task = Coroutine[Any, Any, None]


class LoginClients:
    """A client that sends no cookies and names a network of its choice with each request."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
        self.client = httpx.AsyncClient(
            base_url=shop.url, cookies=jar, limits=limits, timeout=60, verify=False, trust_env=False
        )

    @property
    def workers(self) -> list[int]:
        """Process IDs of the shop's workers."""
        return self.shop.server.children("multiprocessing")

    async def add_users(self, *names: str) -> None:
        """Add users as the operator does."""
        async with open_database(f"sqlite:///{self.shop.folder}/data/cart.db") as database:
            for name in names:
                await UserAdministration(database).add(address(name), name, PASSWORD)

    async def log_in(self, seen: ResponseStats, name: str, network: str, password: str = PASSWORD) -> None:
        await self._post(seen, "/login", network, {"email": address(name), "password": password})

    async def register(self, seen: ResponseStats, name: str, network: str) -> None:
        body = {"email": address(name), "name": name, "password": PASSWORD}
        await self._post(seen, "/register", network, body)

    async def get_page(self, seen: ResponseStats) -> None:
        """Get the start page without a session."""
        start = perf_counter()
        response = await self.client.get("/")
        seen.add(response, perf_counter() - start)

    async def _post(self, seen: ResponseStats, path: str, network: str, body: dict[str, str]) -> None:
        start = perf_counter()
        response = await self.client.post(path, json=body, headers={"X-Forwarded-For": network})
        seen.add(response, perf_counter() - start)


def address(name: str) -> str:
    return f"{name}@example.com"


async def keep_sending(send: Send, *, per_second: float, seconds: float) -> None:
    """Send at a constant rate, independent of response times."""
    start, tasks = perf_counter(), []
    for number in range(round(seconds * per_second)):
        await asyncio.sleep(max(0, start + number / per_second - perf_counter()))
        tasks.append(asyncio.ensure_future(send(number)))
    await asyncio.gather(*tasks)


async def run_concurrently(*tasks: Task) -> None:
    await asyncio.gather(*tasks)


def peak_memory(pids: Sequence[int]) -> list[int]:
    """Peak resident memory of each process, in KiB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return [int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("VmHWM")]


def log_ins_by_other_users(crowd: LoginClients, seen: ResponseStats, seconds: float) -> Task:
    """Log in legitimate users, each from their usual network."""

    async def send(number: int) -> None:
        place = number % len(OTHERS)
        await crowd.log_in(seen, OTHERS[place], f"192.0.{place}.1")

    return keep_sending(send, per_second=5, seconds=seconds)


def page_views(crowd: LoginClients, seen: ResponseStats, seconds: float) -> Task:
    return keep_sending(lambda _: crowd.get_page(seen), per_second=10, seconds=seconds)


def log_ins_by_owner(crowd: LoginClients, seen: ResponseStats, seconds: float) -> Task:
    return keep_sending(lambda _: crowd.log_in(seen, OWNER, HOME), per_second=1, seconds=seconds)


def log_ins_to_one_account(crowd: LoginClients, seen: ResponseStats, seconds: float, name: str) -> Task:
    """Log in to one account 1,000 times a minute, from as many networks; Mallory's password is right."""
    password = PASSWORD if name == MALLORY else WRONG

    async def send(number: int) -> None:
        await crowd.log_in(seen, name, f"10.{number // 250}.{number % 250}.1", password)

    return keep_sending(send, per_second=RATE, seconds=seconds)


def registrations_from_one_network(crowd: LoginClients, seen: ResponseStats, seconds: float) -> Task:
    """Register 1,000 addresses a minute from one network."""

    async def send(number: int) -> None:
        await crowd.register(seen, f"new{number}", f"203.0.113.{number % 250}")

    return keep_sending(send, per_second=RATE, seconds=seconds)
