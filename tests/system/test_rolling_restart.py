"""Replicas behind nginx, restarted one after the other while clients send requests."""

import asyncio
import re
import sys
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.environment import clean_environment
from tests.support.polling import poll_until
from tests.support.servers import nginx
from tests.support.servers.process import Server, accepts, free_port
from tests.support.servers.redis import RedisServer
from tests.support.shop_server import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

DEPLOY = ROOT / "deploy" / "nginx"
DRAIN = 2
"""Seconds; longer than nginx keeps idle connections, here for one second."""
CLIENTS = 8


def replica(folder: Path, port: int, redis: RedisServer) -> Server:
    """`cart serve --drain` on a port; all replicas share Redis, a database and a secret key."""
    folder.mkdir()
    env = clean_environment(
        CART_SECRET_KEY="A1b2C3d4E5f6G7h8A1b2C3d4E5f6G7h8I9j0K1l2M3o",
        CART_SESSION_URL=redis.url,
        DATABASE_URL=f"sqlite+aiosqlite:///{folder.parent}/shop.db",
        CART_TRUSTED_PROXIES="127.0.0.1",
        CART_LOG_LEVEL="WARNING",
    )
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", str(port), "--drain", str(DRAIN)]
    return Server(command, folder=folder, ready=lambda: accepts(port), env=env)


def proxied(folder: Path, ports: list[int], port: int) -> AbstractContextManager[None]:
    """Run nginx with the files of deploy/nginx on the ports of a test, without the limits for one address."""
    cart = (DEPLOY / "cart.conf").read_text().replace("listen 8080;", f"listen 127.0.0.1:{port};")
    (folder / "cart.conf").write_text(re.sub(r"^\s*limit_.*\n", "", cart, flags=re.MULTILINE))
    upstream = (DEPLOY / "upstream.conf").read_text()
    for number, replica in zip((7147, 7148, 7149), ports, strict=True):
        upstream = upstream.replace(f"127.0.0.1:{number} ", f"127.0.0.1:{replica} ")
    assert "keepalive_timeout 4s" in upstream
    (folder / "upstream.conf").write_text(upstream.replace("keepalive_timeout 4s", "keepalive_timeout 1s"))
    return nginx.running(folder, port, f"include {folder}/cart.conf; include {folder}/upstream.conf;")


async def send_requests(url: str, statuses: Counter[int], stopped: asyncio.Event) -> None:
    """Add to a cart and read it until stopped; each response must show the quantity just stored."""
    async with httpx.AsyncClient(base_url=url, timeout=20, verify=False, trust_env=False) as client:
        quantity = 0
        while not stopped.is_set():
            quantity += 1
            line = {"product_id": 1, "name": "Keyboard", "price": 9.5, "quantity": 1}
            response = await client.post("/api/cart/add", json=line)
            statuses[response.status_code] += 1
            if response.status_code == 200:
                assert response.json()["item_count"] == quantity
            response = await client.get("/api/cart")
            statuses[response.status_code] += 1
            await asyncio.sleep(0.005)


async def readiness(port: int) -> httpx.Response:
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}/readyz")


async def is_draining(port: int) -> bool:
    response = await readiness(port)
    return (response.status_code, response.headers.get("Connection")) == (503, "close")


async def restart(server: Server, port: int) -> None:
    """Stop a replica as `systemctl` and Kubernetes do, look at it while it drains, and start it again."""
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    await poll_until(lambda: is_draining(port))
    await stopping
    await asyncio.to_thread(server.start)
    assert (await readiness(port)).status_code == 200


async def test_no_request_fails_while_each_replica_is_restarted(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    port, *ports = [free_port() for _ in range(4)]
    statuses: Counter[int] = Counter()
    stopped = asyncio.Event()
    with ExitStack() as stack:
        servers = [stack.enter_context(replica(tmp_path / str(each), each, redis_server)) for each in ports]
        stack.enter_context(proxied(tmp_path, ports, port))
        url = f"http://127.0.0.1:{port}"
        clients = [asyncio.create_task(send_requests(url, statuses, stopped)) for _ in range(CLIENTS)]
        for server, each in zip(servers, ports, strict=True):
            await restart(server, each)
        stopped.set()
        await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert statuses[200] > 100
