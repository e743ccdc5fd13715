"""The first three promises over HTTP, with two worker processes, on every backend that can be had here."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.running import Shop, running_shop

pytestmark = pytest.mark.anyio

BACKENDS = ["file"]


@pytest.fixture(scope="module", params=BACKENDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    with running_shop(folder, {"CART_SESSION_BACKEND": request.param}) as running:
        yield running


KEYBOARD: dict[str, Any] = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}


async def begun(client: httpx.AsyncClient) -> None:
    """Give the client a session, so that what follows meets in it."""
    answer = await client.post("/api/preferences", json={})
    assert answer.status_code == 200
    assert "cart_session" in client.cookies


async def test_two_hundred_adds_of_one_product(shop: Shop) -> None:
    async with shop.client() as client:
        await begun(client)
        answers = await asyncio.gather(*(client.post("/api/cart/add", json=KEYBOARD) for _ in range(200)))
        assert {answer.status_code for answer in answers} == {200}
        assert sorted(answer.json()["item_count"] for answer in answers) == list(range(1, 201))
        cart = (await client.get("/api/cart")).json()
    assert cart["item_count"] == 200
    assert cart["unique_items"] == 1
    assert cart["total"] == 15998.0


async def test_twenty_products_at_once(shop: Shop) -> None:
    async with shop.client() as client:
        await begun(client)
        await asyncio.gather(
            *(
                client.post("/api/cart/add", json={**KEYBOARD, "product_id": number})
                for number in range(1, 21)
            )
        )
        cart = (await client.get("/api/cart")).json()
    assert sorted(item["product_id"] for item in cart["items"]) == list(range(1, 21))


async def test_two_hundred_visits_are_counted_once_each(shop: Shop) -> None:
    async with shop.client() as client:
        await begun(client)
        answers = await asyncio.gather(*(client.get("/visit-counter") for _ in range(200)))
    assert sorted(answer.json()["visit_count"] for answer in answers) == list(range(1, 201))


async def test_one_flash_for_ten_pages(shop: Shop) -> None:
    async with shop.client() as client:
        await begun(client)
        await client.post("/profile/update", data={"name": "Ada", "email": "ada@example.com"})
        pages = await asyncio.gather(*(client.get("/profile") for _ in range(10)))
    assert sum("Profile updated successfully" in page.text for page in pages) == 1


async def test_an_id_given_up_amid_fifty_writers_stays_dead(shop: Shop) -> None:
    async with shop.client() as client:
        await begun(client)
        old = client.cookies["cart_session"]
        header = {"Cookie": f"cart_session={old}"}

        async def write(number: int) -> httpx.Response:
            async with shop.client() as late:  # no jar of its own: what it is sent must not be set
                return await late.post(
                    "/api/cart/add", json={**KEYBOARD, "product_id": number}, headers=header
                )

        writers = [asyncio.create_task(write(number)) for number in range(1, 51)]
        cleared = await client.post("/api/session/clear")
        answers = await asyncio.gather(*writers)
        assert cleared.status_code == 200
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert not any("set-cookie" in answer.headers for answer in answers)
        async with shop.client() as late:
            again = await late.post("/api/cart/add", json=KEYBOARD, headers=header)
            assert again.status_code == 409
            assert (await late.get("/api/cart", headers=header)).json()["items"] == []
        assert (await client.get("/api/cart")).json()["items"] == []
