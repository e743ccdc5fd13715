"""`cart backends copy`, with the shop before and after it: no visitor is logged out, and no end is undone."""

import re
import signal
from pathlib import Path

import pytest

from cartapp.session.record import key_of
from tests.commands import process, run, session, store
from tests.running import running_shop
from tests.servers.process import free_port
from tests.stores import files_in
from tests.waiting import DEADLINE, wait_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("folder")]

ITEM = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99}


@pytest.mark.parametrize("encrypt", ["false", "true"])
async def test_carts_and_log_ins_move_from_files_to_a_database(folder: Path, encrypt: str) -> None:
    settings = {"CART_SESSION_ENCRYPT": encrypt}
    with running_shop(folder, settings, workers=1) as shop:
        async with shop.client() as client:
            await client.post("/api/cart/add", json=ITEM)
            cookie = client.cookies["cart_session"]
    copied = run("backends", "copy", "file", "database", **settings)
    assert (copied.code, copied.out) == (0, "1 sessions copied, 0 updated, 0 kept, 0 ended.\n")
    again = run("backends", "copy", "file", "database", "--json", **settings)
    assert again.json["kept"] == 1
    with running_shop(folder, {**settings, "CART_SESSION_BACKEND": "database"}, workers=1) as shop:
        async with shop.client() as client:
            answer = await client.get("/api/cart", headers={"Cookie": f"cart_session={cookie}"})
            assert answer.json()["item_count"] == 1


async def test_what_was_purged_stays_ended(folder: Path) -> None:
    """Before the switch, or after it: the old cookies show an empty cart, the others what is in it."""
    cookies = []
    with running_shop(folder, {}, workers=1) as shop:
        for _ in range(3):
            async with shop.client() as client:
                await client.post("/api/cart/add", json=ITEM)
                cookies.append(client.cookies["cart_session"])
    before, after, kept = cookies
    copy = ("backends", "copy", "file", "database")
    assert run(*copy).out == "3 sessions copied, 0 updated, 0 kept, 0 ended.\n"
    assert run("sessions", "purge", "--yes", "--", key_of(before)).code == 0
    there = {"CART_SESSION_BACKEND": "database"}
    assert run("sessions", "purge", "--yes", "--", key_of(after), **there).code == 0
    again = run(*copy)
    assert (again.code, again.out) == (0, "0 sessions copied, 0 updated, 1 kept, 1 ended.\n")
    assert again.err == "1 had ended in the target and were not copied again.\n"
    with running_shop(folder, there, workers=1) as shop:
        async with shop.client() as client:
            for cookie, items in ((before, 0), (after, 0), (kept, 1)):
                response = await client.get("/api/cart", headers={"Cookie": f"cart_session={cookie}"})
                assert response.json()["item_count"] == items


def test_an_interrupt_says_what_was_done(folder: Path) -> None:
    store(session(f"{number:05}") for number in range(3000))
    target = folder / "target"
    command = ("backends", "copy", "file", f"file://{target}")
    with process(*command) as running:
        wait_for(lambda: len(files_in(target)) > 100)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=DEADLINE)
    assert running.returncode == 130
    counted = r"\d+ sessions copied, 0 updated, 0 kept, 0 ended\."
    assert re.fullmatch(rf"Stopped after at least {counted} The copy can be run again\.\n", err)
    completed = run(*command, "--json")
    assert completed.json["created"] + completed.json["kept"] == 3000


def test_a_source_out_of_reach_is_one_sentence() -> None:
    failed = run("backends", "copy", f"redis://127.0.0.1:{free_port()}", "file")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.count("\n") == 1
    assert "cannot be used" in failed.err


@pytest.mark.parametrize("pair", [("file", "memory"), ("cookie", "file"), ("file", "file")])
def test_what_cannot_be_copied_is_said(pair: tuple[str, str]) -> None:
    refused = run("backends", "copy", *pair)
    assert refused.code == 1
    assert refused.err.count("\n") == 1
