"""`/metrics`: metrics for Prometheus with CART_METRICS=true, no cost without."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartapp.session import codec, open_store
from cartapp.session.errors import StoreTimeout
from cartapp.session.fastapi import load_session
from cartapp.session.record import now
from cartapp.session.stores import Estimable, Pooled, Store
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.wrappers import circuit_breaker
from cartapp.web.metrics import figures, store_gauges
from tests.conftest import ManualClock
from tests.support.metrics import Metrics, get_metrics
from tests.support.polling import poll_until
from tests.support.shop import ALICE, KEYBOARD, browser, running_app, shop
from tests.support.shop_server import ROOT, running_shop
from tests.support.stores import STORES, make_record

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
DAY = 24 * 60 * 60 * 1000


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    async with running_app(metrics=True) as app:
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as client:
        yield client


def operations(metrics: Metrics) -> dict[tuple[str, str], int]:
    name = "cart_session_store_operation_duration_seconds_count"
    return {
        (sample.labels["operation"], sample.labels["outcome"]): int(sample.value)
        for sample in metrics.samples
        if sample.name == name
    }


async def test_requests_by_route_and_status(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    for product in (1, 2, 3):
        await client.put(f"/api/cart/{product}", json={"quantity": 2})
    for path in ("/wp-login.php", "/.env", "/static/style.css"):
        await client.get(path)
    await client.request("BREW", "/api/cart")
    metrics = await get_metrics(client)
    name = "cart_http_requests_total"
    route = "/api/cart/{product_id}"
    assert metrics(name, method="POST", route="/api/cart/add", status="200") == 1
    assert metrics(name, method="PUT", route=route, status="200") == 1
    assert metrics(name, method="PUT", route=route, status="404") == 2
    assert metrics(name, route="none", status="404") == 2
    assert metrics(name, route="/static", status="200") == 1
    assert metrics(name, method="other", status="405") == 1
    assert metrics(name) == metrics("cart_http_request_duration_seconds_count") == 8
    assert metrics("cart_http_request_duration_seconds_bucket", le="+Inf", route=route) == 3


async def test_store_operations(client: httpx.AsyncClient) -> None:
    await client.get("/healthz")
    assert operations(await get_metrics(client)) == {}
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.get("/api/cart")
    await client.post("/register", json=ALICE)
    metrics = await get_metrics(client)
    assert operations(metrics) == {
        ("create", "created"): 2,
        ("load", "found"): 2,
        ("save", "tombstone"): 1,
        ("touch", "touched"): 2,  # a check, before the account is created, that the store is writable
    }
    assert metrics.labels("cart_session_store_operation_duration_seconds_sum", "backend") == {"memory"}
    assert metrics("cart_session_store_operation_duration_seconds_sum") > 0


async def test_conflicts_and_overwritten_keys(app: FastAPI, client: httpx.AsyncClient) -> None:
    async def meet(request: Request) -> Response:
        """Another process sets the same key between this request's load and its save."""
        session = await load_session(request)
        record = await app.state.session_manager.store.load(session.id)
        data = codec.join({"key": codec.encode("key", "theirs")})
        await app.state.session_manager.store.save(replace(record, data=data), expected=record.version)
        session["key"] = "ours"
        await session.save()
        return Response(session["key"])

    app.router.routes.insert(0, Route("/meet", meet))
    await client.get("/visit-counter")
    assert (await client.get("/meet")).text == "ours"
    metrics = await get_metrics(client)
    assert (metrics("cart_session_conflicts_total"), metrics("cart_session_overwritten_keys_total")) == (1, 1)
    assert operations(metrics)["save", "conflict"] == 1


async def test_circuit_breaker(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_store: MemoryStore, _key: str) -> None:
        raise StoreTimeout("The store hangs.")

    monkeypatch.setattr(circuit_breaker, "_PAUSE", 0.0)
    async with shop(metrics=True) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        assert (await get_metrics(client))("cart_session_store_breaker_open") == 0
        with monkeypatch.context() as hanging:
            hanging.setattr(MemoryStore, "load", hang)
            assert (await client.get("/api/cart")).status_code == 503
        metrics = await get_metrics(client)
        assert metrics("cart_session_store_breaker_open") == 1
        assert operations(metrics)["load", "timeout"] == 1
        assert (await client.get("/api/cart")).status_code == 200
        assert (await get_metrics(client))("cart_session_store_breaker_open") == 0


async def test_sweeper(app: FastAPI, client: httpx.AsyncClient) -> None:
    for _ in range(3):
        client.cookies.clear()
        await client.get("/visit-counter")
    await app.state.session_manager.store.purge(now() + 8 * DAY)
    await app.state.session_manager.store.purge(now() + 8 * DAY)
    metrics = await get_metrics(client)
    assert (metrics("cart_session_sweeps_total", outcome="purged"), metrics("cart_sessions_swept_total")) == (
        2,
        3,
    )


async def test_every_metric_is_documented(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    exported = set(re.findall(r"^# HELP (cart_\w+)", text, re.MULTILINE))
    documented = set(
        re.findall(r"^\| `(cart_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    )
    assert exported == documented


async def test_metrics_contain_no_personal_data(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ALICE)
    listed = (await client.get("/account/sessions")).json()["sessions"]
    await client.delete(f"/account/sessions/{'A' * 22}")
    text = (await client.get("/metrics")).text
    private = [listed[0]["handle"], "A" * 22, ALICE["email"], *client.cookies.values()]
    assert not [word for word in private if word in text]


@pytest.mark.parametrize("env", ["development", "production"])
async def test_disabled_metrics_have_no_route_or_middleware(env: str) -> None:
    async with running_app(env=env, secret_key=SECRET) as app, browser(app) as client:
        assert "MetricsMiddleware" not in str(app.user_middleware)
        assert not hasattr(app.state, "metrics")
        assert (await client.get("/metrics")).status_code == 404


async def test_enabled_in_production() -> None:
    async with shop(env="production", secret_key=SECRET, metrics=True) as client:
        assert (await get_metrics(client))("cart_http_requests_total") == 0
        assert (await get_metrics(client))("cart_http_requests_total", route="/metrics") == 1


def test_disabled_metrics_do_not_import_prometheus_client() -> None:
    code = (
        "import sys; from tests.support.shop import shop_app; shop_app(); "
        "assert 'cartapp.app' in sys.modules; print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_every_worker_reports_all_workers(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with running_shop(tmp_path, {"CART_METRICS": "true", "TMPDIR": str(temporary)}, workers=2) as shop:
        assert len(list(temporary.glob("cart-metrics-*"))) == 1

        async def visits() -> Any:
            async with shop.client() as client:  # a separate connection, accepted by one of the workers
                for _ in range(5):
                    await client.get("/visit-counter")
                return await get_metrics(client)

        await asyncio.gather(*(visits() for _ in range(20)))
        async with shop.client() as client:
            metrics = await get_metrics(client)
        assert metrics("cart_http_requests_total", route="/visit-counter", status="200") == 100
        assert metrics("cart_http_requests_total", route="/metrics") >= 20
        done = operations(metrics)
        assert (done["create", "created"], done["load", "found"], done["save", "saved"]) == (20, 80, 80)
        assert metrics("cart_session_store_breaker_open") == 0
    assert list(temporary.iterdir()) == []


async def test_events_of_sessions(client: httpx.AsyncClient) -> None:
    def events(metrics: Metrics) -> dict[str, float]:
        names = ("created", "rotated", "ended", "expired")
        return {name: metrics("cart_session_events_total", event=name) for name in names}

    assert set(events(await get_metrics(client)).values()) == {0}
    await client.get("/visit-counter")
    assert events(await get_metrics(client)) == {"created": 1, "rotated": 0, "ended": 0, "expired": 0}
    await client.post("/register", json=ALICE)
    assert events(await get_metrics(client)) == {"created": 2, "rotated": 1, "ended": 0, "expired": 0}
    await client.post("/logout", json={})
    assert events(await get_metrics(client))["ended"] == 1


async def test_process_and_build(client: httpx.AsyncClient) -> None:
    metrics = await get_metrics(client)
    assert metrics("cart_build_info", backend="memory") == 1
    assert metrics("process_open_fds") > 0
    assert metrics("process_resident_memory_bytes") > 1 << 20


async def test_number_of_records_is_estimated_at_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/sessions.db")
    measured = figures.Metrics("database", 7)
    gauges = store_gauges.StoreGauges(store, measured)
    monkeypatch.setattr(store_gauges, "_WAIT", 60)

    async def refreshed() -> float:
        assert await store.create(make_record(now())) is not None
        await gauges.refresh()
        return Metrics(measured.text().decode())("cart_session_records")

    assert await refreshed() == 1
    assert await refreshed() == 1  # not estimated again within a minute
    gauges._next_estimate = 0
    assert await refreshed() == 3
    assert Metrics(measured.text().decode())("cart_session_store_pool_size") == 7
    await store.close()


@pytest.mark.parametrize("name", ["memory", "file", "redis", "memcached", "database-sqlite"])
async def test_a_figure_that_a_backend_lacks_is_absent(
    name: str, request: pytest.FixtureRequest, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of a false 0."""
    monkeypatch.setattr(store_gauges, "_WAIT", 60)
    store, measured = STORES[name](request, clock)(), figures.Metrics(name, 7)
    await store.create(make_record(clock.now))
    await store_gauges.StoreGauges(store, measured).refresh()
    metrics = Metrics(measured.text().decode())
    exported = {sample.name for sample in metrics.samples}
    assert ("cart_session_records" in exported) == isinstance(store, Estimable)
    assert ("cart_session_store_connections_in_use" in exported) == isinstance(store, Pooled)
    assert metrics("cart_session_store_up") == 1
    await store.close()


@pytest.fixture(params=["redis", "database-postgresql"])
def open_pooled(request: pytest.FixtureRequest, clock: ManualClock) -> Callable[[], Store]:
    return STORES[request.param](request, clock)


async def test_connections_in_use(open_pooled: Callable[[], Store], clock: ManualClock) -> None:
    store = open_pooled()
    assert isinstance(store, Pooled)

    async def is_unused() -> bool:
        return store.connections_in_use() == 0

    await store.ping()
    await poll_until(is_unused)
    loads = [asyncio.create_task(store.load(make_record(clock.now).key)) for _ in range(300)]
    in_use = set()
    while not all(load.done() for load in loads):
        await asyncio.sleep(0)
        in_use.add(store.connections_in_use())
    assert max(in_use) >= 1
    await poll_until(is_unused)
    await store.close()
