"""`cart backends copy`, with the shop before and after it: nobody is logged out."""

from pathlib import Path

import pytest

from tests.commands import run
from tests.running import running_shop

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
    assert (copied.code, copied.out) == (
        0,
        "1 sessions copied, 0 replaced by a later use, 0 kept as they were.\n",
    )
    again = run("backends", "copy", "file", "database", "--json", **settings)
    assert '"kept": 1' in again.out
    with running_shop(folder, {**settings, "CART_SESSION_BACKEND": "database"}, workers=1) as shop:
        async with shop.client() as client:
            answer = await client.get("/api/cart", headers={"Cookie": f"cart_session={cookie}"})
            assert answer.json()["item_count"] == 1


@pytest.mark.parametrize("pair", [("file", "memory"), ("cookie", "file"), ("file", "file")])
def test_what_cannot_be_copied_is_said(pair: tuple[str, str]) -> None:
    refused = run("backends", "copy", *pair)
    assert refused.code == 1
    assert refused.err.count("\n") == 1
