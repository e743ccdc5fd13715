"""The pages and their forms without JavaScript."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest
from markupsafe import escape

from cartapp.cart import MAX_QUANTITY
from cartapp.catalogue import BUILT_IN
from cartapp.session.fastapi import SessionDep
from tests.support.shop import KEYBOARD, browser, messages, running_app, shop, undo_fields

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"Accept": "application/json"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        client.headers.update(BROWSER)
        yield client


def without_names(page: str) -> str:
    """Return a page without the idempotency keys of its forms."""
    return re.sub(r'name="idempotency_key" value="[^"]*"', "", page)


async def follow(client: httpx.AsyncClient, response: httpx.Response) -> httpx.Response:
    assert response.status_code == 303, response.text
    return await client.get(response.headers["Location"])


async def test_cart_forms(client: httpx.AsyncClient) -> None:
    added = await client.post("/cart/add", data={"product_id": "1", "quantity": "2", "price": "0.01"})
    page = await follow(client, added)
    assert added.headers["Location"] == "/cart"
    assert messages(page) == ["Added to cart: Wireless Keyboard"]
    assert page.text.count("$159.98") == 2  # the line and the total, at the catalogue's price
    assert messages(await client.get("/cart")) == []
    assert f'min="0" max="{MAX_QUANTITY}"' in page.text

    changed = await follow(client, await client.post("/cart/1", data={"quantity": "3"}))
    assert messages(changed) == ["Cart updated"]
    assert "$239.97" in changed.text
    assert 'class="badge"><span aria-hidden="true">3<' in (await client.get("/")).text

    unchanged = await follow(client, await client.post("/cart/1", data={"quantity": "3"}))
    assert messages(unchanged) == []

    removed = await follow(client, await client.post("/cart/1", data={"quantity": "0"}))
    assert messages(removed) == ["Removed: Wireless Keyboard"]
    await client.post("/cart/add", data={"product_id": "2"})
    await client.post("/cart/clear")
    assert "Cart cleared" in (await client.get("/cart")).text


async def test_script_gets_the_changed_cart_without_a_redirect(client: httpx.AsyncClient) -> None:
    """RFC 7240, section 4.2; the messages are shown once."""
    prefer = {"Prefer": "respond-async, return=representation"}
    added = await client.post("/cart/add", data={"product_id": "1"}, headers=prefer)
    assert (added.status_code, messages(added)) == (200, ["Added to cart: Wireless Keyboard"])
    changed = await client.post("/cart/1", data={"quantity": "2"}, headers=prefer)
    assert (changed.status_code, messages(changed)) == (200, ["Cart updated"])
    assert "$159.98" in changed.text
    assert messages(await client.get("/cart")) == []


async def test_undo_of_a_removal(client: httpx.AsyncClient) -> None:
    """The line returns to its position; the same form submitted twice counts once."""
    for product_id in ("1", "2", "3"):
        await client.post("/cart/add", data={"product_id": product_id, "quantity": product_id})
    await client.get("/cart")  # takes the messages
    before = (await client.get("/api/cart")).json()
    undo = undo_fields(await follow(client, await client.post("/cart/2", data={"quantity": "0"})))
    restored = await follow(client, await client.post("/cart/restore", data=undo))
    assert messages(restored) == ["Restored: USB-C Hub"]
    assert (await client.get("/api/cart")).json() == before
    repeated = await follow(client, await client.post("/cart/restore", data=undo))
    assert messages(repeated) == ["This form was submitted twice; it was processed once"]
    assert (await client.get("/api/cart")).json() == before


async def test_undo_of_clear(client: httpx.AsyncClient) -> None:
    custom = {"product_id": 1000, "name": '</p>"Möbel" & <b>', "price": 0.07, "quantity": 3}
    await client.post("/api/cart/add", json=custom)
    await client.post("/cart/add", data={"product_id": "1"})
    await client.get("/cart")
    before = (await client.get("/api/cart")).json()
    undo = undo_fields(await follow(client, await client.post("/cart/clear")))
    await client.post("/cart/add", data={"product_id": "2"})
    await client.get("/cart")
    restored = await follow(client, await client.post("/cart/restore", data=undo))
    assert messages(restored) == ["Cart restored"]
    items = (await client.get("/api/cart")).json()["items"]
    assert items[:2] == before["items"]
    assert [item["product_id"] for item in items] == [1000, 1, 2]


@pytest.mark.parametrize(
    "items", ["", "[]", "[1]", "{", '[{"product_id": 1, "name": "x", "price": -1}]', "[" * 9999]
)
async def test_invalid_undo(client: httpx.AsyncClient, items: str) -> None:
    response = await client.post("/cart/restore", data={"items": items})
    assert response.status_code == 400
    assert (await client.get("/api/cart")).json()["items"] == []


async def test_pages_and_api_share_the_cart(client: httpx.AsyncClient) -> None:
    await client.post("/cart/add", data={"product_id": "1"})
    assert (await client.get("/api/cart")).json()["items"] == [{**KEYBOARD, "subtotal": 79.99}]


@pytest.mark.parametrize(
    ("quantity", "text"), [(1, "قطعة واحدة"), (2, "قطعتان"), (3, "3 قطع"), (11, "11 قطعة")]
)
async def test_badge_uses_plural_forms(client: httpx.AsyncClient, quantity: int, text: str) -> None:
    await client.post("/cart/add", data={"product_id": "1", "quantity": str(quantity)})
    page = await client.get("/preferences", headers={"Accept-Language": "ar"})
    assert f'<span aria-hidden="true">{quantity}</span><span class="hidden">{text}</span>' in page.text


@pytest.mark.parametrize(
    ("path", "data", "status", "sentence"),
    [
        ("/cart/add", {}, 400, "Product is required"),
        ("/cart/add", {"product_id": "1", "quantity": "0"}, 400, "Quantity must be a whole number from 1"),
        ("/cart/add", {"product_id": "999"}, 404, "Product not in the catalogue"),
        ("/cart/add", {"product_id": "1", "quantity": "9999"}, 409, "at most 10,000 of one product"),
        ("/cart/1", {"quantity": "many"}, 400, "Quantity must be a whole number from 0 to 10,000"),
        ("/cart/2", {"quantity": "1"}, 404, "Product not in cart"),
        ("/preferences", {"theme": "blue"}, 400, "Theme must be light, dark, or auto"),
        ("/profile/update", {"email": "unknown"}, 400, "Email must be an email address"),
        ("/profile/update", {"name": "x" * 201}, 400, "Name must be text of at most 200 characters"),
    ],
)
async def test_rejected_form_is_shown_again(
    client: httpx.AsyncClient, path: str, data: dict[str, str], status: int, sentence: str
) -> None:
    await client.post("/cart/add", data={"product_id": "1", "quantity": "2"})
    before = (await client.get("/api/cart")).json()
    page = await client.post(path, data=data)
    assert (page.status_code, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert any(sentence in message for message in messages(page))
    assert "<form" in page.text
    as_json = await client.post(path, data=data, headers=JSON)
    spoken = as_json.json()["error"].replace("product_id", "Product").replace("10000", "10,000")
    assert (as_json.status_code, sentence.lower() in spoken.lower()) == (status, True)
    assert (await client.get("/api/cart")).json() == before


@pytest.mark.parametrize(
    "content", [b"quantity=%ff", b"\xff=1", b"&".join(b"a%d=1" % number for number in range(101))]
)
async def test_malformed_form_returns_400(client: httpx.AsyncClient, content: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.post("/cart/1", content=content, headers=headers)).status_code == 400


async def test_multipart_form_returns_415(client: httpx.AsyncClient) -> None:
    assert (await client.post("/profile/update", files={"name": b"Alice"})).status_code == 415


async def test_rejected_form_keeps_its_values(client: httpx.AsyncClient) -> None:
    page = await client.post(
        "/profile/update", data={"name": "Alice", "email": '"><script>alert(1)</script>'}
    )
    assert 'value="Alice"' in page.text
    assert "<script>alert" not in page.text
    assert "Name: not set" in page.text
    page = await client.post("/preferences", data={"language": "de", "items_per_page": "0"})
    assert 'value="de"' in page.text


async def test_profile_update_and_flash(client: httpx.AsyncClient) -> None:
    for kind in ("data", "json"):
        sent: dict[str, Any] = {kind: {"name": f"Alice {kind}", "email": "alice@example.com"}}
        response = await client.post("/profile/update", **sent)
        assert response.headers["Location"] == "/profile"
        assert messages(await client.get("/cart")) == []  # the flash belongs to /profile
        page = await follow(client, response)
        assert messages(page) == ["Profile updated successfully"]
        assert 'class="message success"' in page.text
        assert f"Name: Alice {kind}" in page.text
        assert "Email: alice@example.com" in page.text
        assert messages(await client.get("/profile")) == []


async def test_partial_profile_update(client: httpx.AsyncClient) -> None:
    await client.post("/profile/update", data={"name": "Alice", "email": "alice@example.com"})
    await client.post("/profile/update", data={"name": "Bob"})
    page = await client.get("/profile")
    assert "Name: Bob" in page.text
    assert "alice@example.com" in page.text
    assert messages(page) == ["Profile updated successfully"]
    await client.post("/profile/update", data={"name": ""})
    assert "Name: not set" in (await client.get("/profile")).text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "{{7*7}}", "{% raw %}", "&amp;", "'\"><b x='"])
async def test_visitor_input_is_escaped(client: httpx.AsyncClient, text: str) -> None:
    await client.post("/api/cart/add", json={**KEYBOARD, "name": text})
    await client.post("/profile/update", data={"name": text})
    cart, profile = (await client.get("/cart")).text, (await client.get("/profile")).text
    assert f"<h2><bdi>{escape(text)}</bdi></h2>" in cart
    assert f'aria-label="Remove: {escape(text)}"' in cart
    assert f"<p>Name: {escape(text)}</p>" in profile
    assert f'name="name" type="text" value="{escape(text)}"' in profile


async def test_preferences_take_effect(client: httpx.AsyncClient) -> None:
    saved = await client.post("/preferences", data={"language": "de", "theme": "dark", "items_per_page": "5"})
    page = await follow(client, saved)
    assert messages(page) == ["Einstellungen gespeichert"]
    assert '<html lang="de" dir="ltr" data-theme="dark">' in page.text
    assert '<input type="radio" name="theme" value="dark" checked>' in page.text
    shop = (await client.get("/")).text
    assert (shop.count('<li class="product">'), "79,99\N{NO-BREAK SPACE}$" in shop) == (5, True)
    for path in ("/", "/cart", "/profile", "/login", "/nope"):
        assert '<html lang="de" dir="ltr" data-theme="dark">' in (await client.get(path)).text


async def test_flash_is_translated_when_shown(client: httpx.AsyncClient) -> None:
    added = await client.post("/cart/add", data={"product_id": "1"})
    client.headers["Accept-Language"] = "de"
    assert messages(await follow(client, added)) == ["In den Warenkorb gelegt: Kabellose Tastatur"]


async def test_flashes_of_earlier_versions_are_shown() -> None:
    """They were finished English texts."""
    async with running_app() as app:

        @app.post("/flash")
        async def flash(session: SessionDep) -> None:
            session.flash("cart", "Added to your cart: Desk {Lamp}", "success")
            session.flash("cart", "Preferences saved", "success")

        async with browser(app) as client:
            await client.post("/flash")
            page = await client.get("/cart", headers={**BROWSER, "Accept-Language": "de"})
            assert messages(page) == ["Added to your cart: Desk {Lamp}", "Einstellungen gespeichert"]


async def test_catalogue_pagination(client: httpx.AsyncClient) -> None:
    first, second = [(await client.get("/", params={"page": page})).text for page in (1, 2)]
    on_page = '<li class="product">'
    assert (first.count(on_page), second.count(on_page)) == (20, len(BUILT_IN) - 20)
    assert ('rel="next" href="/?page=2"' in first, 'rel="prev"' in first) == (True, False)
    assert ('rel="prev" href="/"' in second, 'rel="next"' in second) == (True, False)
    assert re.findall(r'<a href="([^"]*)" aria-current="page" aria-label="Page (\d)">', second) == [
        ("/?page=2", "2")
    ]
    for page, same in (
        ("0", first),
        ("-1", first),
        ("x", first),
        ("٣", first),
        ("9" * 99, first),
        ("99", second),
    ):
        assert without_names((await client.get("/", params={"page": page})).text) == without_names(same)


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "de-AT", "de-AT"),
        ("", "de;q=0.5, ar;q=0.9, *;q=1", "ar"),
        ("", "fr, de-AT-1996;q=0.5", "de-AT"),
        ("", "de;q=0, en-GB;q=0.001", "en-GB"),
        ("", "de, ar", "de"),
        ("", "de;q=2, en_US, <x>, de;q=", "en"),
        ("", "zh-Hant-TW, de-Latn-ch-1901", "de-CH"),
        ("", "de-ZZ, ar", "de"),
        ("ar", "de", "ar"),
        ("it", "de", "de"),
        ("it", "fr", "en"),
        ("<x>", "de", "de"),
    ],
)
async def test_page_language(client: httpx.AsyncClient, cookie: str, accepted: str, language: str) -> None:
    headers = {"Accept-Language": accepted, "Cookie": f"language={cookie}"}
    for path in ("/", "/nope"):
        assert f'<html lang="{language}"' in (await client.get(path, headers=headers)).text


async def test_preference_overrides_cookie_and_header(client: httpx.AsyncClient) -> None:
    await client.post("/api/set-language", json={"language": "de"})
    await client.post("/api/preferences", json={"language": "ar-EG"})
    assert '<html lang="ar-EG" dir="rtl"' in (await client.get("/", headers={"Accept-Language": "en"})).text
    await client.post("/api/preferences", json={"language": "pt-BR"})
    assert '<html lang="de"' in (await client.get("/")).text
    assert (
        '<option value="pt-BR" selected>Portugiesisch (Brasilien) (pt-BR)'
        in (await client.get("/preferences")).text
    )
    await client.delete("/api/preferences/language")
    await client.post("/api/clear-language")
    assert '<html lang="en"' in (await client.get("/")).text


@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        ({"Accept": "text/html"}, True),
        ({"Accept": "text/html, application/json"}, False),
        ({"Accept": "text/html", "Content-Type": "application/json"}, False),
        ({"Accept": "*/*"}, False),
        ({"Accept": "*/*", "Content-Type": "application/x-www-form-urlencoded"}, True),
    ],
)
async def test_error_is_a_page_only_for_html_clients(
    client: httpx.AsyncClient, headers: dict[str, str], is_page: bool
) -> None:
    response = await client.post("/nope", headers=headers)
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html") == is_page
    api = await client.post("/api/nope", headers=headers)
    assert api.json() == {"error": "Not found"}
