"""The HTTP contract in JSON: responses, limits, methods, and an unavailable store."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import ANY

import httpx2 as httpx
import pytest

from tests.support.polling import poll_until
from tests.support.shop import EMPTY, HUB, KEYBOARD, browser, line, operations, running_app, shop
from tests.support.shop_server import running_shop

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
TOO_LONG = "x" * 65_537


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        yield client


# -- responses ------------------------------------------------------------------------------------------


async def test_visits_are_counted(client: httpx.AsyncClient) -> None:
    texts = [(await client.get("/visit-counter")).text for _ in range(2)]
    assert texts == [
        '{"visit_count":1,"message":"You have visited this page 1 time"}',
        '{"visit_count":2,"message":"You have visited this page 2 times"}',
    ]


async def test_two_hundred_concurrent_visits(client: httpx.AsyncClient) -> None:
    await client.get("/visit-counter")
    responses = await asyncio.gather(*(client.get("/visit-counter") for _ in range(199)))
    assert sorted(response.json()["visit_count"] for response in responses) == list(range(2, 201))


async def test_cart_json_of_the_exercise(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    added = await client.post("/api/cart/add", json=HUB)
    assert added.text == (
        '{"items":[{"product_id":1,"name":"Wireless Keyboard","price":79.99,"quantity":1,"subtotal":79.99},'
        '{"product_id":2,"name":"USB-C Hub","price":49.99,"quantity":2,"subtotal":99.98}],'
        '"item_count":3,"unique_items":2,"total":179.97}'
    )
    assert (await client.get("/api/cart")).text == added.text
    emptied = await client.delete("/api/cart")
    assert emptied.json() == (await client.get("/api/cart")).json() == EMPTY


async def test_adding_a_product_again_keeps_its_first_name_and_price(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    again = await client.post("/api/cart/add", json={**KEYBOARD, "name": "Other", "price": 1, "quantity": 2})
    assert again.json()["items"] == [line(KEYBOARD, 239.97, quantity=3)]


async def test_quantity_changes_and_removal(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.post("/api/cart/add", json=HUB)
    assert (await client.put("/api/cart/1", json={"quantity": 3})).json()["items"] == [
        line(KEYBOARD, 239.97, quantity=3),
        line(HUB, 99.98),
    ]
    assert (await client.put("/api/cart/1", json={"quantity": 0})).json()["items"] == [line(HUB, 99.98)]
    assert (await client.delete("/api/cart/2")).json() == EMPTY


async def test_concurrent_adds_are_all_kept(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=HUB)
    await asyncio.gather(*(client.post("/api/cart/add", json=KEYBOARD) for _ in range(50)))
    assert (await client.get("/api/cart")).json()["items"][1]["quantity"] == 50


async def test_preferences(client: httpx.AsyncClient) -> None:
    defaults = {"language": "en", "theme": "light", "items_per_page": 20}
    chosen = {"language": "fr", "theme": "dark", "items_per_page": 50}
    assert (await client.get("/api/preferences")).text == json.dumps(defaults, separators=(",", ":"))
    saved = await client.post("/api/preferences", json=chosen)
    assert saved.text == json.dumps(
        {"message": "Preferences saved", "preferences": chosen}, separators=(",", ":")
    )
    removed = await client.delete("/api/preferences/theme")
    assert removed.json() == {"message": "Preference 'theme' removed"}
    assert (await client.get("/api/preferences")).json() == {**chosen, "theme": "light"}
    assert (await client.post("/api/preferences")).json()["preferences"] == defaults


async def test_clearing_the_session_rotates_its_id(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    before = client.cookies["__Host-cart_session"]
    assert (await client.post("/api/session/clear")).json() == {"message": "Session cleared"}
    assert client.cookies["__Host-cart_session"] != before
    assert (await client.get("/api/cart")).json() == EMPTY


async def test_language_cookie(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/get-language")).json() == {"language": "en"}
    response = await client.post("/api/set-language", json={"language": "fr"})
    assert response.json() == {"message": "Language set to fr"}
    assert response.headers["Set-Cookie"] == "language=fr; Path=/; Max-Age=31536000; SameSite=Lax; Secure"
    assert (await client.get("/api/get-language")).json() == {"language": "fr"}
    cleared = await client.post("/api/clear-language")
    assert cleared.json() == {"message": "Language cookie cleared"}
    assert (await client.get("/api/get-language")).json() == {"language": "en"}


@pytest.mark.parametrize(
    ("scheme", "setting", "is_secure"),
    [("https", "auto", True), ("http", "auto", False), ("http", True, True), ("https", False, False)],
)
async def test_language_cookie_has_the_secure_attribute_of_the_session_cookie(
    scheme: str, setting: object, is_secure: bool
) -> None:
    async with running_app(session_secure=setting) as app, browser(app, f"{scheme}://testserver") as client:
        responses = [await client.post("/api/set-language"), await client.post("/api/clear-language")]
        responses.append(await client.post("/api/cart/add", json=KEYBOARD))
    assert ["; Secure" in response.headers["Set-Cookie"] for response in responses] == [is_secure] * 3


@pytest.mark.parametrize("value", ['"><script>', "x" * 36, '"fr"', "", "fr_FR"])
async def test_invalid_language_cookie_is_ignored(client: httpx.AsyncClient, value: str) -> None:
    response = await client.get("/api/get-language", headers={"Cookie": f"language={value}"})
    assert response.json() == {"language": "fr" if value == '"fr"' else "en"}


# -- limits ---------------------------------------------------------------------------------------------


async def test_line_quantity_limit(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json={**KEYBOARD, "quantity": 9_999})
    response = await client.post("/api/cart/add", json={**KEYBOARD, "quantity": 2})
    assert (response.status_code, response.json()) == (
        409,
        {"error": "The cart holds at most 10000 of one product"},
    )
    assert (await client.get("/api/cart")).json()["item_count"] == 9_999


async def test_concurrent_adds_respect_the_line_limit(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json={**KEYBOARD, "quantity": 9_998})
    body = {**KEYBOARD, "quantity": 2}
    responses = await asyncio.gather(*(client.post("/api/cart/add", json=body) for _ in range(8)))
    assert sorted(response.status_code for response in responses) == [200] + [409] * 7
    assert (await client.get("/api/cart")).json()["item_count"] == 10_000


async def test_cart_line_limit(client: httpx.AsyncClient) -> None:
    for product in range(1, 201):
        await client.post("/api/cart/add", json={**KEYBOARD, "product_id": product})
    response = await client.post("/api/cart/add", json={**KEYBOARD, "product_id": 201})
    assert (response.status_code, response.json()) == (
        409,
        {"error": "The cart holds at most 200 different products"},
    )
    assert (await client.get("/api/cart")).json()["unique_items"] == 200


async def test_session_size_limit() -> None:
    async with shop(session_max_bytes=200) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        response = await client.post("/api/cart/add", json={**HUB, "name": "x" * 200})
        assert response.status_code == 413
        assert "200" in response.json()["error"]
        assert (await client.get("/api/cart")).json()["unique_items"] == 1


async def test_body_size_limit(client: httpx.AsyncClient) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    for method, path in (("POST", "/api/cart/add"), ("DELETE", "/api/cart"), ("POST", "/profile/update")):
        for content in (TOO_LONG, in_pieces()):
            response = await client.request(method, path, content=content, headers=JSON)
            assert response.status_code == 413
            assert response.headers["connection"] == "close"
            assert "65536 bytes" in response.json()["error"]
    exact = json.dumps(KEYBOARD).ljust(65_536)
    assert (await client.post("/api/cart/add", content=exact, headers=JSON)).status_code == 200


# -- methods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/cart", "DELETE, GET, HEAD, OPTIONS"),
        ("/api/cart/1", "DELETE, OPTIONS, PUT"),
        ("/api/cart/add", "OPTIONS, POST"),
        ("/api/preferences", "GET, HEAD, OPTIONS, POST"),
        ("/preferences", "GET, HEAD, OPTIONS, POST"),
        ("/static/style.css", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
    ],
)
async def test_unsupported_method_returns_405_with_allow(
    client: httpx.AsyncClient, path: str, allow: str
) -> None:
    for method in ("PATCH", "TRACE", "FOO"):
        response = await client.request(method, path)
        assert (response.status_code, response.json()) == (405, {"error": "Method not allowed"})
        assert response.headers["Allow"] == allow
    options = await client.options(path)
    assert (options.status_code, options.headers["Allow"]) == (204, allow)


def without_times(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "server-timing"}


async def test_head_has_the_headers_of_get_and_no_effect() -> None:
    async with running_app() as app, browser(app) as client:
        await client.post("/profile/update", data={"name": "Alice"})
        await client.get("/visit-counter")
        gets = [path for method, path in operations(app) if method == "GET" and path != "/visit-counter"]
        for path in [*gets, "/static/style.css"]:
            head = await client.head(path, headers={"X-Request-ID": "1"})
            assert head.content == b""
            if path != "/profile":  # GET consumes the flash, HEAD does not
                get = await client.get(path, headers={"X-Request-ID": "1"})
                assert without_times(head.headers) == without_times(get.headers), path
        assert "Profile updated successfully" in (await client.get("/profile")).text
        assert (await client.head("/visit-counter")).status_code == 200
        assert (await client.get("/visit-counter")).json()["visit_count"] == 2


async def test_head_creates_no_session(client: httpx.AsyncClient) -> None:
    response = await client.head("/visit-counter")
    assert (response.status_code, "Set-Cookie" in response.headers) == (200, False)


@pytest.mark.parametrize(
    "path", ["/nope", "/api/nope", "/api/cart/", "/api/preferences/a/b", "/static/", "/static/../app.py"]
)
async def test_unknown_path_returns_404(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json()) == (404, {"error": "Not found"})


# -- cookies, stores, catalogue -------------------------------------------------------------------------


async def test_reading_sets_no_cookie() -> None:
    async with running_app() as app, browser(app) as client:
        for method, path in operations(app):
            if method == "GET" and path != "/visit-counter":
                assert "Set-Cookie" not in (await client.get(path)).headers, path
        for response in (
            await client.delete("/api/cart"),
            await client.delete("/api/preferences/theme"),
            await client.post("/api/session/clear"),
        ):
            assert (response.status_code, "Set-Cookie" in response.headers) == (200, False)


@pytest.mark.promise(6, backend="file")
async def test_unavailable_store_returns_503(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    async with shop(session_backend="file", session_path=str(folder)) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        cookies = dict(client.cookies)
        folder.rename(tmp_path / "away")
        folder.write_text("A file in place of the folder.")

        async def is_down() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await poll_until(is_down)  # results are cached for a second
        down = await client.get("/readyz")
        assert (down.status_code, down.json()) == (
            503,
            {"error": "Not ready: the session store (file) cannot be used", "details": [ANY]},
        )
        for response in (await client.get("/api/cart"), await client.post("/api/cart/add", json=KEYBOARD)):
            assert (response.status_code, list(response.json())) == (503, ["error"])
            assert int(response.headers["Retry-After"]) > 0
            assert "Set-Cookie" not in response.headers
        page = await client.get("/cart", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.post("/api/set-language")).status_code == 200
        client.cookies.clear()
        assert (await client.get("/api/cart")).json() == EMPTY

        folder.unlink()
        (tmp_path / "away").rename(folder)
        client.cookies.update(cookies)
        assert (await client.get("/api/cart")).json()["item_count"] == 1


async def test_closed_catalogue() -> None:
    async with shop(catalog="closed") as client:
        response = await client.post("/api/cart/add", json={**KEYBOARD, "name": "Mine", "price": 0.01})
        assert response.json()["items"] == [line(KEYBOARD, 79.99)]
        unknown = await client.post("/api/cart/add", json={**KEYBOARD, "product_id": 999})
        assert (unknown.status_code, unknown.json()) == (404, {"error": "Product not in the catalogue"})
        missing = await client.post("/api/cart/add", json={"product_id": 1})
        assert missing.json() == {"error": "product_id, name, and price are required"}


# -- through a real server ------------------------------------------------------------------------------


async def test_on_a_server(tmp_path: Path) -> None:
    # `cart serve`: plain uvicorn resets connections with an unread body.
    with running_shop(tmp_path, {}, workers=1) as server:
        async with server.client() as client:
            added = await client.post("/api/cart/add", json=KEYBOARD)
            assert added.json()["items"] == [line(KEYBOARD, 79.99)]
            assert "Secure" not in added.headers["Set-Cookie"]  # plain http
            assert (await client.get("/api/cart")).text == added.text

            head = await client.head("/api/cart")
            assert (head.content, head.headers["Content-Length"]) == (b"", str(len(added.content)))

            async def endless() -> AsyncIterator[bytes]:
                for _ in range(1000):
                    yield b" " * 1000

            for content in (b" " * 65_537, endless()):
                response = await client.post("/api/cart/add", content=content, headers=JSON)
                assert response.status_code == 413
            assert (await client.get("/api/cart")).json()["item_count"] == 1
    assert len([path for path in (tmp_path / "data" / "sessions").rglob("*") if path.is_file()]) == 1
