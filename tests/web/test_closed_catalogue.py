"""C12c: `CART_CATALOG=closed` shows current names and prices in every response and on every page."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from cartapp.cart import MAX_LINES, Offer
from cartapp.catalogue import Catalogue, Product
from tests.support.accounts import create_database
from tests.support.shop import EMPTY, browser, line, messages, running_app, undo_fields

pytestmark = pytest.mark.anyio

HUB, DESK = Product(2, "Hub", 4999, ""), Product(3, "Desk", 20000, "")
GONE, CHANGED = "No longer available and removed from your cart: ", "The price has changed: "


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    async with running_app(catalog="closed") as app:
        await app.state.catalogue.replace([HUB, DESK])
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as client:
        yield client


async def add(http: httpx.AsyncClient, product: int, quantity: int = 1, **fields: Any) -> Any:
    body = {"product_id": product, "name": "Mine", "price": 0.01, "quantity": quantity, **fields}
    response = await http.post("/api/cart/add", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def lines(cart: Any) -> list[tuple[str, float, int]]:
    return [(item["name"], item["price"], item["quantity"]) for item in cart["items"]]


async def load_session_data(app: FastAPI) -> bytes:
    """Return the data of the only session."""
    (handle,) = [info.handle async for info in app.state.sessions.find()]
    return bytes((await app.state.session_manager.store.load(handle)).data)


# -- the API ------------------------------------------------------------------------------------------------


async def test_c12c_every_response_has_current_name_and_price(app: FastAPI, http: httpx.AsyncClient) -> None:
    assert lines(await add(http, 2)) == [("Hub", 49.99, 1)]
    await add(http, 3)
    await app.state.catalogue.replace([Product(2, "Hub II", 5999, ""), DESK])
    expected = {"product_id": 2, "name": "Hub II", "price": 59.99}
    shown = (await http.get("/api/cart")).json()
    assert shown["items"][0] == line(expected, 59.99, quantity=1)
    assert shown["total"] == 259.99
    assert (await add(http, 2))["items"][0] == line(expected, 119.98, quantity=2)
    changed = (await http.put("/api/cart/3", json={"quantity": 2})).json()
    assert lines(changed) == [("Hub II", 59.99, 2), ("Desk", 200.0, 2)]
    changed = (await http.delete("/api/cart/3")).json()
    assert changed["items"] == [line(expected, 119.98, quantity=2)]
    assert (await http.delete("/api/cart")).json() == EMPTY


async def test_c12c_removed_product_leaves_the_cart(app: FastAPI, http: httpx.AsyncClient) -> None:
    await add(http, 2)
    await add(http, 3, 5)
    await app.state.catalogue.replace([HUB])
    for response in (
        await http.get("/api/cart"),
        await http.put("/api/cart/2", json={"quantity": 1}),
        await http.post("/api/cart/add", json={"product_id": 2, "name": "x", "price": 1, "quantity": 1}),
    ):
        cart = response.json()
        assert [item["product_id"] for item in cart["items"]] == [2]
        assert cart["unique_items"] == 1
    before = await load_session_data(app)
    for method, body in (("PUT", {"quantity": 3}), ("PUT", {"quantity": 0}), ("DELETE", None)):
        response = await http.request(method, "/api/cart/3", json=body)
        assert (response.status_code, response.json()) == (404, {"error": "Product not in cart"})
    assert await load_session_data(app) == before


async def test_c12c_line_from_open_catalogue_gets_current_price(tmp_path: Path) -> None:
    settings = {
        "session_backend": "file",
        "session_path": str(tmp_path / "sessions"),
        "database_url": f"sqlite:///{tmp_path}/cart.db",
    }
    async with running_app(**settings) as open_app, browser(open_app) as http:
        assert lines(await add(http, 1)) == [("Mine", 0.01, 1)]
        await add(http, 999, name="No product")
        assert (await http.get("/api/cart")).json()["total"] == 0.02
        cookies = dict(http.cookies)
    async with running_app(**settings, catalog="closed") as app, browser(app) as http:
        http.cookies.update(cookies)
        for cart in ((await http.get("/api/cart")).json(), await add(http, 2)):
            assert lines(cart)[0] == ("Wireless Keyboard", 79.99, 1)
            assert 999 not in [item["product_id"] for item in cart["items"]]
        page = await http.get("/cart")
        assert messages(page) == [f"{GONE}No product", f"{CHANGED}Wireless Keyboard"]


async def test_c12c_removed_product_frees_its_line_in_a_full_cart(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    products = [Product(number, f"No. {number}", number, "") for number in range(1, MAX_LINES + 3)]
    await app.state.catalogue.replace(products)
    for product in products[:MAX_LINES]:
        await add(http, product.id)
    body = {"product_id": MAX_LINES + 1, "name": "x", "price": 1}
    assert (await http.post("/api/cart/add", json=body)).status_code == 409
    await app.state.catalogue.replace(products[1:])
    assert (await add(http, MAX_LINES + 1))["unique_items"] == MAX_LINES
    body["product_id"] = MAX_LINES + 2
    assert (await http.post("/api/cart/add", json=body)).status_code == 409


async def test_c12c_concurrent_changes_are_all_kept(app: FastAPI, http: httpx.AsyncClient) -> None:
    """A request keeps a line added concurrently, although it has loaded no offer for its product."""
    products = [Product(number, f"No. {number}", 100, "") for number in range(1, 21)]
    await app.state.catalogue.replace(products)
    await add(http, 1)
    forms = [http.post("/cart/add", data={"product_id": str(number)}) for number in range(11, 21)]
    calls = [add(http, number) for number in range(2, 11)]
    await asyncio.gather(*calls, *forms)
    cart = (await http.get("/api/cart")).json()
    assert {item["product_id"] for item in cart["items"]} == set(range(1, 21))
    assert cart["total"] == 20.0


async def test_c12c_one_catalogue_query_per_cart(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: Counter[str] = Counter()
    fetch = app.state.database.fetch

    async def count_query(statement: Any) -> Any:
        queries["all"] += "cart_product" in str(statement)
        return await fetch(statement)

    monkeypatch.setattr(app.state.database, "fetch", count_query)
    for method, path, body, number in [
        ("GET", "/api/cart", None, 0),  # empty cart
        ("GET", "/preferences", None, 0),
        ("POST", "/api/cart/add", {"product_id": 2, "name": "x", "price": 1}, 1),
        ("POST", "/cart/add", {"product_id": 3}, 1),
        ("GET", "/api/cart", None, 1),
        ("PUT", "/api/cart/2", {"quantity": 3}, 1),
        ("GET", "/cart", None, 1),
        ("POST", "/cart/2", {"quantity": 3}, 1),
        ("GET", "/preferences", None, 1),
        ("DELETE", "/api/cart/2", None, 1),
        ("GET", "/visit-counter", None, 0),
        ("DELETE", "/api/cart", None, 0),
    ]:
        queries.clear()
        response = await http.request(method, path, json=body)
        assert response.status_code in (200, 303)
        assert queries["all"] == number, (method, path)


# -- the pages ----------------------------------------------------------------------------------------------


async def test_c12c_cart_page_reports_changes_and_stores_nothing(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    await add(http, 2)
    await add(http, 3)
    await app.state.catalogue.replace([Product(2, "Hub", 5999, "")])
    before = await load_session_data(app)
    for _ in range(2):
        page = await http.get("/cart")
        assert messages(page) == [f"{GONE}Desk", f"{CHANGED}Hub"]
        assert "$59.99" in page.text
        assert "$49.99" not in page.text
    assert await load_session_data(app) == before
    await http.post("/api/cart/add", json={"product_id": 2, "name": "x", "price": 1})
    assert messages(await http.get("/cart")) == [f"{GONE}Desk", f"{CHANGED}Hub"]


@pytest.mark.parametrize(
    ("path", "form", "done"),
    [
        ("/cart/add", {"product_id": "2"}, "Added to cart: Hub"),
        ("/cart/2", {"quantity": "4"}, "Cart updated"),
        ("/cart/3", {"quantity": "0"}, f"{GONE}Desk"),  # from an outdated page
    ],
)
async def test_c12c_form_stores_the_current_cart_and_reports_changes_once(
    app: FastAPI, http: httpx.AsyncClient, path: str, form: dict[str, str], done: str
) -> None:
    await add(http, 2)
    await add(http, 3)
    await app.state.catalogue.replace([Product(2, "Hub", 5999, "")])
    assert (await http.post(path, data=form)).status_code == 303
    assert set(messages(await http.get("/cart"))) == {f"{GONE}Desk", f"{CHANGED}Hub", done}
    assert messages(await http.get("/cart")) == []
    assert b"4999" not in await load_session_data(app)
    assert b"Desk" not in await load_session_data(app)


async def test_undo_respects_the_catalogue(app: FastAPI, http: httpx.AsyncClient) -> None:
    """Restored lines have the present names and prices; a product no longer sold stays removed."""
    for product_id in (2, 3):
        await add(http, product_id)
    await http.post("/cart/clear")
    undo = undo_fields(await http.get("/cart"))
    await app.state.catalogue.replace([Product(2, "Hub", 5999, "")])
    page = await http.post("/cart/restore", data=undo, follow_redirects=True)
    assert messages(page) == [f"{GONE}Desk", f"{CHANGED}Hub", "Restored: Hub"]
    assert "$59.99" in page.text
    gone = {"items": '[{"product_id": 3, "name": "Desk", "price": 1}]'}
    assert (await http.post("/cart/restore", data=gone)).status_code == 404


async def test_c12c_form_of_removed_product_returns_404(app: FastAPI, http: httpx.AsyncClient) -> None:
    await add(http, 2)
    await add(http, 3)
    await app.state.catalogue.replace([HUB])
    page = await http.post("/cart/3", data={"quantity": "2"})
    assert page.status_code == 404
    assert set(messages(page)) == {f"{GONE}Desk", "Product not in cart"}
    page = await http.post("/cart/add", data={"product_id": "3"})
    assert page.status_code == 404
    assert "Product not in the catalogue" in messages(page)


async def test_c12c_many_changes_are_summarized(app: FastAPI, http: httpx.AsyncClient) -> None:
    products = [Product(number, f"No. {number}", 100, "") for number in range(1, 9)]
    await app.state.catalogue.replace(products)
    for product in products:
        await add(http, product.id)
    await app.state.catalogue.replace([Product(one.id, one.name, 200, "") for one in products[:4]])
    assert messages(await http.get("/cart")) == [f"{GONE}4 products", f"{CHANGED}4 products"]
    german = await http.get("/cart", headers={"Accept-Language": "de"})
    assert messages(german) == [
        "Nicht mehr erhältlich und aus dem Warenkorb entfernt: 4 Produkte",
        "Der Preis hat sich geändert: 4 Produkte",
    ]


async def test_c12c_badge_counts_only_available_products(app: FastAPI, http: httpx.AsyncClient) -> None:
    await add(http, 2, 4)
    await add(http, 3, 3)
    await app.state.catalogue.replace([HUB])
    for path in ("/", "/cart", "/preferences", "/profile", "/login", "/register"):
        assert badge(await http.get(path)) == "4", path
    page = await http.get("/nowhere", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert badge(page) is None  # an error page does not query the catalogue


def badge(page: httpx.Response) -> str | None:
    _, found, rest = page.text.partition('<span class="badge"><span aria-hidden="true">')
    return rest.partition("<")[0] if found else None


async def test_c12c_pages_omit_the_badge_without_catalogue(app: FastAPI, http: httpx.AsyncClient) -> None:
    await add(http, 2)
    unreachable = create_database("postgresql+asyncpg://127.0.0.1:1/nowhere")
    app.state.shop_catalogue.products = Catalogue(unreachable)
    page = await http.get("/preferences")
    assert page.status_code == 200
    assert badge(page) is None
    for path in ("/cart", "/api/cart"):
        assert (await http.get(path)).status_code == 503
    await unreachable.close()


async def test_c12c_open_catalogue_is_not_queried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_app() as app, browser(app) as http:

        async def unexpected(_products: Iterable[int]) -> dict[int, Offer | None]:
            raise AssertionError("The catalogue was queried.")

        monkeypatch.setattr(app.state.catalogue, "get_offers", unexpected)
        assert lines(await add(http, 1)) == [("Mine", 0.01, 1)]
        await http.put("/api/cart/1", json={"quantity": 2})
        assert lines((await http.get("/api/cart")).json()) == [("Mine", 0.01, 2)]
        page = await http.get("/cart")
        assert (badge(page), messages(page)) == ("2", [])
