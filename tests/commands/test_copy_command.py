"""`cart backends copy` between runs of the shop: sessions stay logged in, ended ones stay ended."""

import json
import re
import signal
from pathlib import Path

import httpx2 as httpx
import pytest

from cartapp.session.record import key_from_id
from tests.support.commands import make_session, run_cart, start_cart, store_sessions
from tests.support.polling import DEADLINE, wait_for
from tests.support.servers.process import free_port
from tests.support.shop_server import running_shop
from tests.support.stores import files_in

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("folder")]

ITEM = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99}


@pytest.mark.parametrize("encrypt", ["false", "true"])
async def test_copy_from_files_to_a_database(folder: Path, encrypt: str) -> None:
    settings = {"CART_SESSION_ENCRYPT": encrypt}
    with running_shop(folder, settings, workers=1) as shop:
        async with shop.client() as client:
            await client.post("/api/cart/add", json=ITEM)
            cookie = client.cookies["cart_session"]
    copied = run_cart("backends", "copy", "file", "database", **settings)
    assert (copied.code, copied.out) == (0, "Sessions: 1 copied, 0 updated, 0 unchanged, 0 ended.\n")
    again = run_cart("backends", "copy", "file", "database", "--json", **settings)
    assert again.json["kept"] == 1
    with running_shop(folder, {**settings, "CART_SESSION_BACKEND": "database"}, workers=1) as shop:
        async with shop.client() as client:
            answer = await client.get("/api/cart", headers={"Cookie": f"cart_session={cookie}"})
            assert answer.json()["item_count"] == 1


async def test_copy_counts_sessions_changed_in_both(folder: Path) -> None:
    """As in a move without an interruption: p1, copy, p2 on files, p3 on the database, copy."""
    there = {"CART_SESSION_BACKEND": "database"}
    cookies: list[str] = []

    async def add(client: httpx.AsyncClient, product: int, cookie: str | None = None) -> None:
        headers = {"Cookie": f"cart_session={cookie}"} if cookie else {}
        item = {**ITEM, "product_id": product}
        assert (await client.post("/api/cart/add", json=item, headers=headers)).status_code == 200

    copy = ("backends", "copy", "file", "database")
    with running_shop(folder, {}, workers=1) as shop:
        for _ in range(2):
            async with shop.client() as client:
                await add(client, 1)
                cookies.append(client.cookies["cart_session"])
        changed, unchanged = cookies
        assert run_cart(*copy).err == ""
        async with shop.client() as client:
            await add(client, 2, changed)
    with running_shop(folder, there, workers=1) as shop:
        async with shop.client() as client:
            await add(client, 3, changed)
            await add(client, 3, unchanged)
            again = run_cart(*copy)
            cart = await client.get("/api/cart", headers={"Cookie": f"cart_session={changed}"})
    assert again.out == "Sessions: 0 copied, 0 updated, 1 unchanged, 0 ended.\n"
    assert again.err == "Changed in FROM and TO: 1. The later change was kept, the other is lost.\n"
    assert [item["product_id"] for item in cart.json()["items"]] == [1, 3]


async def test_copy_keeps_purged_sessions_ended(folder: Path) -> None:
    """Sessions purged before or after the switch stay empty; the others keep their carts."""
    cookies = []
    with running_shop(folder, {}, workers=1) as shop:
        for _ in range(3):
            async with shop.client() as client:
                await client.post("/api/cart/add", json=ITEM)
                cookies.append(client.cookies["cart_session"])
    before, after, kept = cookies
    copy = ("backends", "copy", "file", "database")
    assert run_cart(*copy).out == "Sessions: 3 copied, 0 updated, 0 unchanged, 0 ended.\n"
    assert run_cart("sessions", "purge", "--yes", "--", key_from_id(before)).code == 0
    there = {"CART_SESSION_BACKEND": "database"}
    assert run_cart("sessions", "purge", "--yes", "--", key_from_id(after), **there).code == 0
    again = run_cart(*copy)
    assert (again.code, again.out) == (0, "Sessions: 0 copied, 0 updated, 1 unchanged, 1 ended.\n")
    assert again.err == "Not copied, because they had ended in TO: 1.\n"
    with running_shop(folder, there, workers=1) as shop:
        async with shop.client() as client:
            for cookie, items in ((before, 0), (after, 0), (kept, 1)):
                response = await client.get("/api/cart", headers={"Cookie": f"cart_session={cookie}"})
                assert response.json()["item_count"] == items


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_interrupted_copy_reports_its_progress(folder: Path, number: signal.Signals, status: int) -> None:
    store_sessions(make_session(f"{number:05}") for number in range(3000))
    target = folder / "target"
    command = ("backends", "copy", "file", f"file://{target}")
    with start_cart(*command) as running:
        wait_for(lambda: len(files_in(target)) > 100)
        running.send_signal(number)
        _, err = running.communicate(timeout=DEADLINE)
    assert running.returncode == status
    assert json.loads(Path("data/audit.log").read_text())["completed"] is False
    counts = r"\d+ copied, 0 updated, 0 unchanged, 0 ended\."
    assert re.fullmatch(rf"Stopped. So far: {counts} Repeat the command to continue\.\n", err)
    completed = run_cart(*command, "--json")
    assert completed.json["created"] + completed.json["kept"] == 3000


def test_copy_from_an_unreachable_source_is_one_message() -> None:
    failed = run_cart("backends", "copy", f"redis://127.0.0.1:{free_port()}", "file")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.count("\n") == 1
    assert "cannot be used" in failed.err


@pytest.mark.parametrize("pair", [("file", "memory"), ("cookie", "file"), ("file", "file")])
def test_copy_rejects_unsupported_pairs(pair: tuple[str, str]) -> None:
    refused = run_cart("backends", "copy", *pair)
    assert refused.code == 1
    assert refused.err.count("\n") == 1
