"""A session at its size limit: its messages never make a change fail that fits without them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest

from cartapp.session.crypto import new_secret
from tests.support.shop import ALICE, messages, shop, undo_fields

pytestmark = pytest.mark.anyio

FIRST = 1000  # product ID
BACKENDS: list[dict[str, Any]] = [
    {"session_backend": "cookie", "secret_key": new_secret()},
    {"session_backend": "memory", "session_max_bytes": 4096},
]


@pytest.fixture(params=BACKENDS, ids=["cookie", "memory"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    async with shop(**request.param) as client:
        client.headers["Accept"] = "text/html"
        yield client


async def fill(client: httpx.AsyncClient, length: int = 23) -> int:
    """Add lines until no character more fits; return their number."""
    number = 0
    while length:
        item = {"product_id": FIRST + number, "name": "x" * length, "price": 79.99}
        if (await client.post("/api/cart/add", json=item)).status_code == 200:
            number += 1
        else:
            length -= 1
    return number


async def stored_lines(client: httpx.AsyncClient) -> dict[int, int]:
    """Return the stored quantities by product ID."""
    cart = (await client.get("/api/cart")).json()
    return {item["product_id"]: item["quantity"] for item in cart["items"]}


async def submit(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Submit a form and return the page that it redirects to."""
    response = await client.post(path, data=fields)
    assert response.status_code == 303, response.text
    return await client.get(response.headers["Location"])


@pytest.mark.parametrize("prefer", ["", "return=representation"], ids=["redirect", "script"])
async def test_a_full_cart_can_be_reduced(client: httpx.AsyncClient, prefer: str) -> None:
    lines = await fill(client)
    for number in range(lines):
        page = await client.post(
            f"/cart/{FIRST + number}", data={"quantity": "0"}, headers={"Prefer": prefer}
        )
        assert page.status_code == (200 if prefer else 303)
        assert FIRST + number not in await stored_lines(client)


async def test_a_full_cart_can_be_changed(client: httpx.AsyncClient) -> None:
    await fill(client)
    for quantity in ("2", "1"):
        await submit(client, f"/cart/{FIRST}", quantity=quantity)
        assert (await stored_lines(client))[FIRST] == int(quantity)


async def test_a_full_cart_can_be_cleared_and_restored(client: httpx.AsyncClient) -> None:
    await fill(client)
    before = await stored_lines(client)
    page = await submit(client, "/cart/clear")
    assert (messages(page), await stored_lines(client)) == (["Cart cleared"], {})
    await client.post("/cart/restore", data={**undo_fields(page), "idempotency_key": ""})
    assert await stored_lines(client) == before


async def test_saved_preferences_need_no_room_for_their_message(client: httpx.AsyncClient) -> None:
    await submit(client, "/preferences", language="en", theme="auto", items_per_page="20")
    await fill(client)
    page = await submit(client, "/preferences", language="de", theme="dark", items_per_page="50")
    assert 'data-theme="dark"' in page.text


async def test_a_saved_profile_needs_no_room_for_its_message(client: httpx.AsyncClient) -> None:
    await submit(client, "/profile/update", name="Alice", email="alice@example.com")
    await fill(client)
    page = await submit(client, "/profile/update", name="Clara", email="clara@example.com")
    assert "Name: Clara" in page.text


async def test_an_addition_needs_no_room_for_its_message(client: httpx.AsyncClient) -> None:
    await client.post("/cart/add", data={"product_id": "1"})
    await client.get("/cart")  # takes the message
    await fill(client)
    await submit(client, "/cart/add", product_id="1")
    assert (await stored_lines(client))[1] == 2


async def test_a_message_that_is_not_shown_yet_makes_room_for_a_log_in(client: httpx.AsyncClient) -> None:
    registered = await client.post("/register", data=ALICE)
    assert registered.status_code == 303
    await client.post("/logout")
    await fill(client, 200)
    removed = await client.post(f"/cart/{FIRST}", data={"quantity": "0"})  # not followed
    assert removed.status_code == 303
    lines = await stored_lines(client)
    logged_in = await client.post("/login", data=ALICE)
    assert logged_in.headers["Location"] == "/dashboard"
    assert await stored_lines(client) == lines
    assert (await client.post("/logout")).status_code == 303


async def test_a_duplicate_is_no_error_without_room_for_its_message(client: httpx.AsyncClient) -> None:
    form = {"product_id": "1", "idempotency_key": "one"}
    await client.post("/cart/add", data=form)
    await client.get("/cart")
    await fill(client)
    await submit(client, "/cart/add", **form)
    assert (await stored_lines(client))[1] == 1


async def test_a_change_that_does_not_fit_is_refused(client: httpx.AsyncClient) -> None:
    await fill(client)
    before = await stored_lines(client)
    refused = await client.post("/cart/add", data={"product_id": "1"})
    assert refused.status_code == 413
    assert "The session would take" in refused.text
    assert await stored_lines(client) == before


async def test_clear_without_room_for_undo_says_so() -> None:
    """Also if the removed lines do not fit into the body of a form."""
    async with shop() as client:
        client.headers["Accept"] = "text/html"
        name = "静音メカニカルキーボード無線接続バックライト付き日本語配列黒色モデル"
        for number in range(200):
            item = {"product_id": FIRST + number, "name": name, "price": 79.99}
            await client.post("/api/cart/add", json=item)
        page = await submit(client, "/cart/clear")
        assert messages(page) == ["Cart cleared; it was too large for an Undo button"]
        assert "/cart/restore" not in page.text
