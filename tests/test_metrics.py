"""`/metrics`: figures for Prometheus where CART_METRICS is true, and no cost where it is not."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartapp.session import codec, guard
from cartapp.session.fastapi import load_session
from cartapp.session.record import now
from cartapp.session.stores.memory import MemoryStore

from .running import ROOT, running_shop
from .shop import ALICE, KEYBOARD, browser, shop, started

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
DAY = 24 * 60 * 60 * 1000


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    async with started(metrics=True) as app:
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as client:
        yield client


class Figures:
    """What one answer of `/metrics` says."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for one in text_string_to_metric_families(text) for sample in one.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the figures of this name that have these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def figures(client: httpx.AsyncClient) -> Figures:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert answer.headers["Cache-Control"] == "no-store"
    return Figures(answer.text)


def operations(told: Figures) -> dict[tuple[str, str], int]:
    name = "cart_session_store_operation_duration_seconds_count"
    return {
        (sample.labels["operation"], sample.labels["outcome"]): int(sample.value)
        for sample in told.samples
        if sample.name == name
    }


async def test_requests_by_route_and_status(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    for product in (1, 2, 3):
        await client.put(f"/api/cart/{product}", json={"quantity": 2})
    for path in ("/wp-login.php", "/.env", "/static/style.css"):
        await client.get(path)
    await client.request("BREW", "/api/cart")
    told = await figures(client)
    name = "cart_http_requests_total"
    route = "/api/cart/{product_id}"
    assert told(name, method="POST", route="/api/cart/add", status="200") == 1
    assert told(name, method="PUT", route=route, status="200") == 1
    assert told(name, method="PUT", route=route, status="404") == 2
    assert told(name, route="none", status="404") == 2
    assert told(name, route="/static", status="200") == 1
    assert told(name, method="other", status="405") == 1
    assert told(name) == told("cart_http_request_duration_seconds_count") == 8
    assert told("cart_http_request_duration_seconds_bucket", le="+Inf", route=route) == 3


async def test_operations_on_the_store(client: httpx.AsyncClient) -> None:
    await client.get("/healthz")
    assert operations(await figures(client)) == {}
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.get("/api/cart")
    await client.post("/register", json=ALICE)
    told = await figures(client)
    assert operations(told) == {
        ("create", "created"): 2,
        ("load", "found"): 2,
        ("save", "retired"): 1,
        ("touch", "touched"): 1,
    }
    assert told.labels("cart_session_store_operation_duration_seconds_sum", "backend") == {"memory"}
    assert told("cart_session_store_operation_duration_seconds_sum") > 0


async def test_conflicts_and_overwritten_keys(app: FastAPI, client: httpx.AsyncClient) -> None:
    async def meet(request: Request) -> Response:
        """Another process sets the same key between this request's load and its save."""
        session = await load_session(request)
        record = await app.state.store.load(session.id)
        data = codec.join({"key": codec.encode("key", "theirs")})
        await app.state.store.save(replace(record, data=data), expected=record.version)
        session["key"] = "ours"
        await session.save()
        return Response(session["key"])

    app.router.routes.insert(0, Route("/meet", meet))
    await client.get("/visit-counter")
    assert (await client.get("/meet")).text == "ours"
    told = await figures(client)
    assert (told("cart_session_conflicts_total"), told("cart_session_overwritten_keys_total")) == (1, 1)
    assert operations(told)["save", "conflict"] == 1


async def test_the_breaker(app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_store: MemoryStore, _key: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(guard, "_PROBE_EVERY", 0.0)
    async with shop(metrics=True, session_timeout=0.05) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        assert (await figures(client))("cart_session_store_breaker_open") == 0
        with monkeypatch.context() as hanging:
            hanging.setattr(MemoryStore, "load", hang)
            assert (await client.get("/api/cart")).status_code == 503
        told = await figures(client)
        assert told("cart_session_store_breaker_open") == 1
        assert operations(told)["load", "abandoned"] == 1
        assert (await client.get("/api/cart")).status_code == 200
        assert (await figures(client))("cart_session_store_breaker_open") == 0


async def test_the_sweeper(app: FastAPI, client: httpx.AsyncClient) -> None:
    for _ in range(3):
        client.cookies.clear()
        await client.get("/visit-counter")
    await app.state.store.purge(now() + 8 * DAY)
    await app.state.store.purge(now() + 8 * DAY)
    told = await figures(client)
    assert (told("cart_session_sweeps_total", outcome="purged"), told("cart_sessions_swept_total")) == (2, 3)


async def test_every_figure_is_in_the_docs(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    told = set(re.findall(r"^# HELP (\w+)", text, re.MULTILINE))
    documented = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert told == documented


async def test_nobody_is_named(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ALICE)
    listed = (await client.get("/account/sessions")).json()["sessions"]
    await client.delete(f"/account/sessions/{'A' * 22}")
    text = (await client.get("/metrics")).text
    private = [listed[0]["handle"], "A" * 22, ALICE["email"], *client.cookies.values()]
    assert not [word for word in private if word in text]


@pytest.mark.parametrize("env", ["development", "production"])
async def test_off_there_is_nothing(env: str) -> None:
    async with started(env=env, secret_key=SECRET) as app, browser(app) as client:
        assert "Measured" not in str(app.user_middleware)
        assert not hasattr(app.state, "metrics")
        assert (await client.get("/metrics")).status_code == 404


async def test_on_in_production() -> None:
    async with shop(env="production", secret_key=SECRET, metrics=True) as client:
        assert (await figures(client))("cart_http_requests_total") == 0
        assert (await figures(client))("cart_http_requests_total", route="/metrics") == 1


def test_off_its_package_is_not_even_loaded() -> None:
    code = (
        "import sys; from tests.shop import shop_app; shop_app(); "
        "assert 'cartapp.app' in sys.modules; print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_each_of_several_workers_tells_of_all(tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    with running_shop(tmp_path, {"CART_METRICS": "true", "TMPDIR": str(place)}, workers=2) as shop:
        assert len(list(place.glob("cart-metrics-*"))) == 1

        async def visits() -> Any:
            async with shop.client() as client:  # a connection of its own, which one of the workers takes
                for _ in range(5):
                    await client.get("/visit-counter")
                return await figures(client)

        await asyncio.gather(*(visits() for _ in range(20)))
        async with shop.client() as client:
            told = await figures(client)
        assert told("cart_http_requests_total", route="/visit-counter", status="200") == 100
        assert told("cart_http_requests_total", route="/metrics") >= 20
        done = operations(told)
        assert (done["create", "created"], done["load", "found"], done["save", "saved"]) == (20, 80, 80)
        assert told("cart_session_store_breaker_open") == 0
    assert list(place.iterdir()) == []
