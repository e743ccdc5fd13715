"""The HTTP contract in JSON: answers as printed, limits, methods, and a store out of reach."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import ANY

import httpx2 as httpx
import pytest

from .running import running_shop
from .shop import EMPTY, HUB, KEYBOARD, browser, line, operations, shop, started
from .waiting import until

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
TOO_LONG = "x" * 65_537


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        yield client


# -- as printed -----------------------------------------------------------------------------------------


async def test_visits_are_counted(client: httpx.AsyncClient) -> None:
    texts = [(await client.get("/visit-counter")).text for _ in range(2)]
    assert texts == [
        '{"visit_count":1,"message":"You have visited this page 1 time"}',
        '{"visit_count":2,"message":"You have visited this page 2 times"}',
    ]


async def test_two_hundred_visits_at_once(client: httpx.AsyncClient) -> None:
    await client.get("/visit-counter")
    answers = await asyncio.gather(*(client.get("/visit-counter") for _ in range(199)))
    assert sorted(answer.json()["visit_count"] for answer in answers) == list(range(2, 201))


async def test_the_cart_of_the_exercise(client: httpx.AsyncClient) -> None:
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


async def test_a_product_again_keeps_its_first_name_and_price(client: httpx.AsyncClient) -> None:
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


async def test_products_at_once_are_all_kept(client: httpx.AsyncClient) -> None:
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


async def test_clearing_the_session_renews_its_id(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    before = client.cookies["__Host-cart_session"]
    assert (await client.post("/api/session/clear")).json() == {"message": "Session cleared"}
    assert client.cookies["__Host-cart_session"] != before
    assert (await client.get("/api/cart")).json() == EMPTY


async def test_the_language_cookie(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/get-language")).json() == {"language": "en"}
    answer = await client.post("/api/set-language", json={"language": "fr"})
    assert answer.json() == {"message": "Language set to fr"}
    assert answer.headers["Set-Cookie"] == "language=fr; Path=/; Max-Age=31536000; SameSite=Lax; Secure"
    assert (await client.get("/api/get-language")).json() == {"language": "fr"}
    cleared = await client.post("/api/clear-language")
    assert cleared.json() == {"message": "Language cookie cleared"}
    assert (await client.get("/api/get-language")).json() == {"language": "en"}


@pytest.mark.parametrize(
    ("scheme", "setting", "is_secure"),
    [("https", "auto", True), ("http", "auto", False), ("http", True, True), ("https", False, False)],
)
async def test_the_language_cookie_is_secure_where_the_sessions_is(
    scheme: str, setting: object, is_secure: bool
) -> None:
    async with started(session_secure=setting) as app, browser(app, f"{scheme}://testserver") as client:
        answers = [await client.post("/api/set-language"), await client.post("/api/clear-language")]
        answers.append(await client.post("/api/cart/add", json=KEYBOARD))
    assert ["; Secure" in answer.headers["Set-Cookie"] for answer in answers] == [is_secure] * 3


@pytest.mark.parametrize("value", ['"><script>', "x" * 36, '"fr"', "", "fr_FR"])
async def test_a_language_cookie_that_is_no_tag(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get("/api/get-language", headers={"Cookie": f"language={value}"})
    assert answer.json() == {"language": "fr" if value == '"fr"' else "en"}


# -- limits ---------------------------------------------------------------------------------------------


async def test_a_line_has_a_limit(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json={**KEYBOARD, "quantity": 9_999})
    answer = await client.post("/api/cart/add", json={**KEYBOARD, "quantity": 2})
    assert (answer.status_code, answer.json()) == (
        409,
        {"error": "A line of the cart holds at most 10000 pieces"},
    )
    assert (await client.get("/api/cart")).json()["item_count"] == 9_999


async def test_of_two_at_once_only_one_fits(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json={**KEYBOARD, "quantity": 9_998})
    body = {**KEYBOARD, "quantity": 2}
    answers = await asyncio.gather(*(client.post("/api/cart/add", json=body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert (await client.get("/api/cart")).json()["item_count"] == 10_000


async def test_a_cart_has_a_limit(client: httpx.AsyncClient) -> None:
    for product in range(1, 201):
        await client.post("/api/cart/add", json={**KEYBOARD, "product_id": product})
    answer = await client.post("/api/cart/add", json={**KEYBOARD, "product_id": 201})
    assert (answer.status_code, answer.json()) == (
        409,
        {"error": "The cart holds at most 200 different products"},
    )
    assert (await client.get("/api/cart")).json()["unique_items"] == 200


async def test_a_session_has_a_limit() -> None:
    async with shop(session_max_bytes=200) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        answer = await client.post("/api/cart/add", json={**HUB, "name": "x" * 200})
        assert answer.status_code == 413
        assert "200" in answer.json()["error"]
        assert (await client.get("/api/cart")).json()["unique_items"] == 1


async def test_a_body_has_a_limit(client: httpx.AsyncClient) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    for method, path in (("POST", "/api/cart/add"), ("DELETE", "/api/cart"), ("POST", "/profile/update")):
        for content in (TOO_LONG, in_pieces()):
            answer = await client.request(method, path, content=content, headers=JSON)
            assert answer.status_code == 413
            assert answer.headers["connection"] == "close"
            assert "65536 bytes" in answer.json()["error"]
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
async def test_a_method_that_is_not_there(client: httpx.AsyncClient, path: str, allow: str) -> None:
    for method in ("PATCH", "TRACE", "FOO"):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()) == (405, {"error": "Method not allowed"})
        assert answer.headers["Allow"] == allow
    options = await client.options(path)
    assert (options.status_code, options.headers["Allow"]) == (204, allow)


async def test_head_is_get_without_its_body_and_effect() -> None:
    async with started() as app, browser(app) as client:
        await client.post("/profile/update", data={"name": "Alice"})
        await client.get("/visit-counter")
        gets = [path for method, path in operations(app) if method == "GET" and path != "/visit-counter"]
        for path in [*gets, "/static/style.css"]:
            head = await client.head(path)
            assert head.content == b""
            if path != "/profile":  # there GET takes the flash, which HEAD has only looked at
                assert head.headers == (await client.get(path)).headers, path
        assert "Profile updated successfully" in (await client.get("/profile")).text
        assert (await client.head("/visit-counter")).status_code == 200
        assert (await client.get("/visit-counter")).json()["visit_count"] == 2


async def test_head_begins_no_session(client: httpx.AsyncClient) -> None:
    answer = await client.head("/visit-counter")
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    "path", ["/nope", "/api/nope", "/api/cart/", "/api/preferences/a/b", "/static/", "/static/../app.py"]
)
async def test_nothing_there(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})


# -- cookies, stores, catalogue -------------------------------------------------------------------------


async def test_who_only_reads_gets_no_cookie() -> None:
    async with started() as app, browser(app) as client:
        for method, path in operations(app):
            if method == "GET" and path != "/visit-counter":
                assert "Set-Cookie" not in (await client.get(path)).headers, path
        for answer in (
            await client.delete("/api/cart"),
            await client.delete("/api/preferences/theme"),
            await client.post("/api/session/clear"),
        ):
            assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)


@pytest.mark.promise(6, backend="file")
async def test_a_store_out_of_reach(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    async with shop(session_backend="file", session_path=str(folder)) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        cookies = dict(client.cookies)
        folder.rename(tmp_path / "away")
        folder.write_text("A file stands where the folder was.")

        async def is_down() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await until(is_down)  # a result is shared for a second
        down = await client.get("/readyz")
        assert (down.status_code, down.json()) == (
            503,
            {"error": "Not ready: the session store (file) cannot be used", "details": [ANY]},
        )
        for answer in (await client.get("/api/cart"), await client.post("/api/cart/add", json=KEYBOARD)):
            assert (answer.status_code, list(answer.json())) == (503, ["error"])
            assert int(answer.headers["Retry-After"]) > 0
            assert "Set-Cookie" not in answer.headers
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


async def test_a_closed_catalogue() -> None:
    async with shop(catalog="closed") as client:
        answer = await client.post("/api/cart/add", json={**KEYBOARD, "name": "Mine", "price": 0.01})
        assert answer.json()["items"] == [line(KEYBOARD, 79.99)]
        unknown = await client.post("/api/cart/add", json={**KEYBOARD, "product_id": 999})
        assert (unknown.status_code, unknown.json()) == (404, {"error": "Product not in the catalogue"})
        missing = await client.post("/api/cart/add", json={"product_id": 1})
        assert missing.json() == {"error": "product_id, name, and price are required"}


# -- through a real server ------------------------------------------------------------------------------


async def test_on_a_server(tmp_path: Path) -> None:
    # `cart serve`, since plain uvicorn resets a connection whose body it has not read.
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
                answer = await client.post("/api/cart/add", content=content, headers=JSON)
                assert answer.status_code == 413
            assert (await client.get("/api/cart")).json()["item_count"] == 1
    assert len([path for path in (tmp_path / "data" / "sessions").rglob("*") if path.is_file()]) == 1
