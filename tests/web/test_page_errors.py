"""Errors on pages: double clicks, concurrent tabs, ended sessions, invalid fields, outages."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.shop import ALICE, HTTPS, KEYBOARD, browser, messages, running_app, shop

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html"}
ENDED = {"Cookie": f"__Host-cart_session={'A' * 43}"}
"""The cookie of an ended session."""


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        client.headers.update(BROWSER)
        yield client


def badge(page: httpx.Response) -> str:
    (shown,) = re.findall(r'class="badge"><span aria-hidden="true">(.*?)<', page.text)
    return str(shown)


def forms(page: httpx.Response) -> list[dict[str, str]]:
    """Return the fields of each form that adds a product."""
    pattern = (
        r'name="product_id" value="(\d+)">\s*<input type="hidden" name="idempotency_key" value="([^"]+)">'
    )
    return [
        {"product_id": product, "idempotency_key": key} for product, key in re.findall(pattern, page.text)
    ]


# -- the same form twice -------------------------------------------------------------------------------------


async def test_form_sent_twice_counts_once(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    first, other = forms(await client.get("/"))[:2]
    assert [(await client.post("/cart/add", data=form)).status_code for form in (first, first, other)] == [
        303
    ] * 3
    page = await client.get("/cart")
    assert badge(page) == "3"
    assert messages(page) == [
        "Added to cart: Wireless Keyboard",
        "This form was submitted twice; it was processed once",
        "Added to cart: USB-C Hub",
    ]


async def test_double_click_counts_once(client: httpx.AsyncClient) -> None:
    await client.post("/api/preferences", json={})
    form = forms(await client.get("/"))[0]
    responses = await asyncio.gather(*(client.post("/cart/add", data=form) for _ in range(6)))
    assert {response.headers.get("Location") for response in responses} == {"/cart"}
    assert badge(await client.get("/cart")) == "1"


async def test_form_rendered_again_has_a_new_idempotency_key(client: httpx.AsyncClient) -> None:
    for _ in range(12):
        await client.post("/cart/add", data=forms(await client.get("/"))[0])
    assert badge(await client.get("/")) == "12"
    assert (await client.post("/cart/add", data={"product_id": "1"})).status_code == 303
    assert badge(await client.get("/")) == "13"


async def test_failed_form_can_be_sent_again(client: httpx.AsyncClient) -> None:
    form = forms(await client.get("/"))[0]
    await client.post("/api/cart/add", json={**KEYBOARD, "quantity": 10_000})
    assert (await client.post("/cart/add", data=form)).status_code == 409
    await client.put("/api/cart/1", json={"quantity": 1})
    assert (await client.post("/cart/add", data=form)).status_code == 303
    assert badge(await client.get("/cart")) == "2"


async def test_quantity_steps_and_removal_are_idempotent(client: httpx.AsyncClient) -> None:
    await client.post("/cart/add", data={"product_id": "1"})
    page = (await client.get("/cart")).text
    (more,) = re.findall(r'id="more-1"[^>]*value="(\d+)"', page)
    for _ in range(2):
        await client.post("/cart/1", data={"quantity": more})
    assert badge(await client.get("/cart")) == "2"
    removed = [await client.post("/cart/1", data={"quantity": "0"}) for _ in range(2)]
    assert [response.status_code for response in removed] == [303, 303]
    as_program = {"Accept": "application/json"}
    assert (await client.post("/cart/1", data={"quantity": "0"}, headers=as_program)).status_code == 404


# -- an ended session ----------------------------------------------------------------------------------------


async def test_ended_session_is_reported_on_cart_pages(client: httpx.AsyncClient) -> None:
    page = await client.get("/cart", headers=ENDED)
    assert "Your session has expired" in page.text
    page = await client.post("/cart/1", data={"quantity": "3"}, headers=ENDED)
    assert page.status_code == 404
    assert messages(page) == ["Your session has ended and your cart is gone; nothing was changed"]
    added = await client.post("/cart/add", data={"product_id": "1"}, headers=ENDED)
    assert added.status_code == 303
    page = await client.get("/cart")
    assert messages(page) == [
        "Your previous session has ended; this is a new cart",
        "Added to cart: Wireless Keyboard",
    ]


async def test_login_works_with_ended_session(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ALICE)
    client.cookies.clear()
    page = await client.get("/login", headers=ENDED)
    assert messages(page) == ["Your previous session has ended"]
    assert messages(await client.get("/login")) == []
    sent = {"email": ALICE["email"], "password": ALICE["password"]}
    response = await client.post("/login", data=sent, headers=ENDED)
    assert (response.status_code, response.headers["Location"]) == (303, "/dashboard")
    assert "Hello, Alice" in (await client.get("/dashboard")).text


async def test_profile_form_of_ended_session_requires_login(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ALICE)
    (typed,) = re.findall(r'<input id="name"[^>]*>', (await client.get("/profile")).text)
    assert ALICE["name"] in typed
    client.cookies.clear()
    form = {"name": "Alice Miller", "email": ALICE["email"], "current_password": ""}
    page = await client.post("/profile/update", data=form, headers=ENDED)
    assert page.status_code == 401
    assert messages(page) == ["Your session has ended; log in and submit the form again"]
    assert 'value="Alice Miller"' in page.text
    assert "Set-Cookie" not in page.headers
    page = await client.post("/account/password", data={"current_password": "a", "new_password": "b"})
    assert (page.status_code, "<h1>Please log in</h1>" in page.text) == (401, True)


# -- invalid fields -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "data", "field"),
    [
        ("/cart/1", {"quantity": "10001"}, "quantity-1"),
        ("/preferences", {"items_per_page": "0"}, "items_per_page"),
        ("/preferences", {"language": "no tag"}, "language"),
        ("/profile/update", {"email": "alice"}, "email"),
        ("/register", {"name": "Alice", "email": "alice", "password": "a long phrase"}, "email"),
        ("/register", {"name": "Bob", "email": "b@example.com", "password": "password"}, "password"),
        ("/register", {"email": "alice@example.com"}, "name"),
    ],
)
async def test_error_is_linked_to_its_field(
    client: httpx.AsyncClient, path: str, data: dict[str, str], field: str
) -> None:
    await client.post("/cart/add", data={"product_id": "1"})
    page = await client.post(path, data=data)
    assert page.status_code == 400
    (tag,) = re.findall(rf'<(?:input|select) id="{field}"[^>]*>', page.text)
    assert 'aria-invalid="true"' in tag
    assert re.search(rf'aria-describedby="[^"]*\b{field}-error"', tag)
    (error,) = re.findall(rf'<p class="error" id="{field}-error">(.*?)</p>', page.text)
    assert unescape(error) in messages(page)
    if not path.startswith("/cart"):
        assert f'<li><a href="#{field}">{error}</a></li>' in page.text
        assert "<title>Error: " in page.text
    in_german = await client.post(path, data=data, headers={"Accept-Language": "de"})
    assert error not in in_german.text


async def test_summary_has_the_errors_in_the_order_of_the_form(client: httpx.AsyncClient) -> None:
    page = await client.post("/register", data={"name": "", "email": "alice", "password": "password"})
    assert re.findall(r'<li><a href="#(\w+)">', page.text) == ["name", "email", "password"]
    page = await client.post(
        "/preferences", data={"items_per_page": "0", "theme": "red", "language": "no tag"}
    )
    linked = re.findall(r'<li><a href="#(\w+)">', page.text)
    assert linked == ["language", "theme", "items_per_page"]
    assert all(f' id="{name}"' in page.text for name in linked)


async def test_fields_have_labels_and_ids_are_unique(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ALICE)
    for product in ("1", "2"):
        await client.post("/cart/add", data={"product_id": product})
    for path in (
        "/",
        "/cart",
        "/preferences",
        "/profile",
        "/dashboard",
        "/products/1",
        "/nope",
        "/login",
        "/register",
    ):
        if path == "/login":
            await client.post("/logout")
        page = (await client.get(path)).text
        ids = re.findall(r'\sid="([^"]+)"', page)
        assert len(ids) == len(set(ids)), path
        fields = re.findall(r'<(?:input|select) id="([^"]+)"(?! type="radio")', page)
        assert set(fields) <= set(re.findall(r'<label[^>]* for="([^"]+)"', page)), path
        assert set(re.findall(r'(?:aria-describedby|aria-labelledby|form)="([^"]+)"', page)) <= set(ids), path
        assert len(re.findall(r"<h1[ >]", page)) == len(re.findall(r"<main[ >]", page)) == 1, path


# -- errors --------------------------------------------------------------------------------------------------


async def test_error_page_shows_user_cart_and_preferences(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ALICE)
    await client.post("/cart/add", data={"product_id": "1"})
    await client.post("/api/preferences", json={"language": "ar", "theme": "dark"})
    for response, status in (
        (await client.get("/nope"), 404),
        (await client.post("/cart"), 405),
        (await client.post("/cart/x", data={"quantity": "1"}), 404),
        (await client.post(f"/account/sessions/{'A' * 22}/end", data={"a": "b"}), 404),
    ):
        assert response.status_code == status
        assert '<html lang="ar" dir="rtl" data-theme="dark">' in response.text
        assert (badge(response), 'action="/logout"' in response.text) == ("1", True)
        assert response.headers["Cache-Control"] == "no-store"


async def test_every_error_has_a_page() -> None:
    titles = set()
    async with running_app(login_limit="1/hour") as app, browser(app, headers=BROWSER) as client:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for status, request in {
            401: ("POST", "/account/sessions/end-others", {}, b""),
            403: ("POST", "/cart/add", {"Origin": "https://evil.example"}, b""),
            404: ("GET", "/nope", {}, b""),
            405: ("POST", "/cart", {}, b""),
            413: ("POST", "/cart/add", form, b"x" * 65_537),
        }.items():
            method, path, headers, content = request
            response = await client.request(method, path, headers={**form, **headers}, content=content)
            assert response.status_code == status
            titles |= set(re.findall(r"<h1>(.*?)</h1>", response.text))
            assert '<a href="/">' in response.text
            program = {**headers, "Accept": "application/json"}
            response = await client.request(method, path, headers=program, content=content)
            assert (response.status_code, list(response.json())) == (status, ["error"])
        for status in (401, 429):
            response = await client.post("/login", data={"email": "a@example.com", "password": "wrong"})
            assert (response.status_code, 'action="/login"' in response.text) == (status, True)
    assert len(titles) == 5


async def test_unavailable_store_has_an_error_page(tmp_path: Path) -> None:
    async with shop(session_backend="file", session_path=str(tmp_path / "sessions")) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        (tmp_path / "sessions").rename(tmp_path / "away")
        (tmp_path / "sessions").write_text("A file in place of the folder.")
        for path in ("/", "/cart"):
            page = await client.get(path, headers=BROWSER)
            assert page.status_code == 503
            assert "Your cart was not changed" in page.text
            assert 'class="badge"' not in page.text  # the number is unknown
        page = await client.get("/nope", headers=BROWSER)
        assert (page.status_code, 'class="badge"' in page.text) == (404, False)


@pytest.mark.parametrize(
    ("path", "referer", "expected"),
    [
        ("/cart/add", f"{HTTPS}/?category=audio&page=2", "/?category=audio&page=2"),
        ("/cart/add", f"{HTTPS}/cart/add", "/cart"),  # the page of a rejected form
        ("/cart/1", "", "/cart"),
        ("/login", "https://evil.example/cart", "/login"),
        ("/login", f"{HTTPS}//evil.example", "/login"),
    ],
)
async def test_try_again_after_a_form_leads_to_its_page(
    tmp_path: Path, path: str, referer: str, expected: str
) -> None:
    """The link repeats no POST, so that nothing is submitted twice."""
    async with shop(session_backend="file", session_path=str(tmp_path / "sessions")) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        (tmp_path / "sessions").rename(tmp_path / "away")
        (tmp_path / "sessions").write_text("A file in place of the folder.")
        headers = {**BROWSER, "Referer": referer} if referer else BROWSER
        page = await client.post(path, data={"product_id": "1", "quantity": "2"}, headers=headers)
        assert page.status_code == 503
        (link,) = re.findall(r'<a class="button" href="(.*?)">Try again</a>', page.text)
        assert unescape(link) == expected
        assert "may or may not have been saved" in page.text


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("/profile/update", {"name": 'Zoë "Z" <z>', "email": "zoe@example.com"}),
        ("/preferences", {"language": "de", "theme": "dark", "items_per_page": "50"}),
    ],
)
async def test_try_again_submits_what_was_typed(tmp_path: Path, path: str, typed: dict[str, str]) -> None:
    async with shop(session_backend="file", session_path=str(tmp_path / "sessions")) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        with outage(tmp_path):
            page = await client.post(path, data=typed, headers=BROWSER)
        assert page.status_code == 503
        assert retried_fields(page, path) == typed
        assert (await client.post(path, data=typed, headers=BROWSER)).status_code == 303


@pytest.mark.parametrize("path", ["/profile/update", "/preferences"])
async def test_an_unreadable_form_is_shown_again(path: str, client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    page = await client.post(path, content=b"name=%ff", headers=headers)
    assert page.status_code == 400
    assert messages(page) == ["The form is not valid UTF-8, or it has too many fields"]
    assert f'action="{path}"' in page.text


async def test_try_again_shows_no_password(tmp_path: Path) -> None:
    """Without it, the change of an e-mail address shows the form again, with the other fields."""
    async with shop(session_backend="file", session_path=str(tmp_path / "sessions")) as client:
        await client.post("/register", json=ALICE)
        typed = {"name": "Zoë", "email": "zoe@example.com", "current_password": ALICE["password"]}
        with outage(tmp_path):
            page = await client.post("/profile/update", data=typed, headers=BROWSER)
        assert page.status_code == 503
        assert ALICE["password"] not in page.text
        fields = retried_fields(page, "/profile/update")
        again = await client.post("/profile/update", data=fields, headers=BROWSER)
        assert again.status_code == 403
        assert 'value="Zoë"' in again.text


@contextmanager
def outage(folder: Path) -> Iterator[None]:
    """Put a file in place of the folder of the sessions."""
    (folder / "sessions").rename(folder / "away")
    (folder / "sessions").write_text("")
    yield
    (folder / "sessions").unlink()
    (folder / "away").rename(folder / "sessions")


def retried_fields(page: httpx.Response, path: str) -> dict[str, str]:
    """Return the fields of the form with the button "Try again"."""
    form = page.text.partition(f'<form method="post" action="{path}">')[2].partition("</form>")[0]
    assert "<button>Try again</button>" in form
    return {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)}


# -- page size -----------------------------------------------------------------------------------------------


async def test_start_page_size(client: httpx.AsyncClient) -> None:
    await client.post("/api/preferences", json={"items_per_page": 100, "language": "ar"})
    page = await client.get("/")
    style, script = [
        await client.get(address)
        for address in re.findall(r'(?:href|src)="(/static/(?:style\.css|shop\.js)[^"]*)"', page.text)
    ]
    assert len(forms(page)) == 36
    assert len(page.content) + len(style.content) + len(script.content) < 100_000
    async with browser(client._transport.app, HTTPS) as guest:  # type: ignore[attr-defined]
        page = await guest.get("/", headers=BROWSER)
        assert len(page.content) + len(style.content) + len(script.content) < 62_000
        compressed = [int(one.headers["Content-Length"]) for one in (page, style, script)]
        assert sum(compressed) < 16_000
        assert "Set-Cookie" not in page.headers
