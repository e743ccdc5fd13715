"""The application as a user starts it, on every backend: the tour, the races, ids, and what it costs."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from cartapp.session.record import key_of, new_id

from .backends import ALL, SERVER_SIDE, Settings, workers
from .running import Shop, running_shop
from .servers.redis import RedisServer
from .shop import EMPTY, HUB, KEYBOARD, line

pytestmark = pytest.mark.anyio

server_side = pytest.mark.parametrize("shop", SERVER_SIDE, indirect=True)
redis = pytest.mark.parametrize("shop", ["redis", "valkey"], indirect=True)


@pytest.fixture(scope="module", params=ALL)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    # A machine with many tests at once is slow; what a time-out does is the business of other tests.
    settings: Settings = {"CART_SESSION_TIMEOUT": "20", **ALL[request.param](request)}
    with running_shop(folder, settings, workers=workers(request.param)) as running:
        yield running


async def begun(client: httpx.AsyncClient) -> None:
    """Give the client a session, so that what follows meets in it."""
    answer = await client.post("/api/preferences", json={})
    assert answer.status_code == 200
    assert "cart_session" in client.cookies


async def registered(client: httpx.AsyncClient) -> dict[str, str]:
    """Make the client a user; returns what logs it in again."""
    user = {"email": f"{new_id()}@example.com", "password": "a long phrase of mine"}
    answer = await client.post("/register", json={**user, "name": "Ada"})
    assert answer.status_code == 201
    return user


# -- the tour -----------------------------------------------------------------------------------------------

VISIT = "curl http://localhost:7147/visit-counter -c cookies.txt -b cookies.txt"
ADD_FIRST = """\
curl -X POST http://localhost:7147/api/cart/add \\
-H "Content-Type: application/json" \\
-d '{"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}' \\
-c cookies.txt -b cookies.txt"""
ADD_SECOND = """\
curl -X POST http://localhost:7147/api/cart/add \\
-H "Content-Type: application/json" \\
-d '{"product_id": 2, "name": "USB-C Hub", "price": 49.99, "quantity": 2}' \\
-c cookies.txt -b cookies.txt"""
VIEW = "curl http://localhost:7147/api/cart -b cookies.txt"
CLEAR = "curl -X DELETE http://localhost:7147/api/cart -b cookies.txt -c cookies.txt"

ONE = {"items": [line(KEYBOARD, 79.99)], "item_count": 1, "unique_items": 1, "total": 79.99}
TWO = {
    "items": [line(KEYBOARD, 79.99), line(HUB, 99.98)],
    "item_count": 3,
    "unique_items": 2,
    "total": 179.97,
}
TOUR: list[tuple[str, dict[str, Any]]] = [
    (VISIT, {"visit_count": 1, "message": "You have visited this page 1 time"}),
    (VISIT, {"visit_count": 2, "message": "You have visited this page 2 times"}),
    (ADD_FIRST, ONE),
    (ADD_SECOND, TWO),
    (VIEW, TWO),
    (CLEAR, EMPTY),
    (VIEW, EMPTY),
]


def test_the_curl_tour(shop: Shop, tmp_path: Path) -> None:
    for command, expected in TOUR:
        command = command.replace("http://localhost:7147", shop.url).replace("curl ", "curl -sS ", 1)
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=True, text=True)
        assert done.stdout == json.dumps(expected, separators=(",", ":")), command


# -- races --------------------------------------------------------------------------------------------------


@pytest.mark.promise(1)
@server_side
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


@pytest.mark.promise(1)
@server_side
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


@pytest.mark.promise(1)
@server_side
async def test_two_hundred_visits_are_counted_once_each(shop: Shop) -> None:
    async with shop.client() as client:
        await begun(client)
        answers = await asyncio.gather(*(client.get("/visit-counter") for _ in range(200)))
    assert sorted(answer.json()["visit_count"] for answer in answers) == list(range(1, 201))


@pytest.mark.promise(3)
@server_side
async def test_one_flash_for_ten_pages(shop: Shop) -> None:
    async with shop.client() as client:
        await begun(client)
        await client.post("/profile/update", data={"name": "Ada", "email": "ada@example.com"})
        pages = await asyncio.gather(*(client.get("/profile") for _ in range(10)))
    assert sum("Profile updated successfully" in page.text for page in pages) == 1


@pytest.mark.promise(2)
@server_side
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


# -- ids ----------------------------------------------------------------------------------------------------


@pytest.mark.promise(5)
async def test_an_id_from_outside_is_never_adopted(shop: Shop) -> None:
    unknown = new_id()
    async with shop.client() as client:
        await begun(client)
        known = client.cookies["cart_session"]
    values = [unknown, "../../x", "", "%00", "x" * 5000, known + "A", key_of(known), known[:-1]]
    for cookie in [*(f"cart_session={value}" for value in values), f"cart_session={known}; cart_session=x"]:
        async with shop.client() as stranger:
            header = {"Cookie": cookie}
            read = await stranger.get("/api/cart", headers=header)
            assert (read.status_code, read.json()) == (200, EMPTY)
            # Of two different cookies the variants are expired; nothing else is ever set.
            assert all("Max-Age=0" in line for line in read.headers.get_list("set-cookie"))
            assert ("set-cookie" in read.headers) is (cookie.count("=") == 2)
            added = await stranger.post("/api/cart/add", json=KEYBOARD, headers=header)
            assert (added.status_code, added.json()) == (200, ONE)
            assert stranger.cookies["cart_session"] not in (unknown, known, *values)


@pytest.mark.promise(4)
async def test_what_people_see_of_a_session_lets_nobody_in(shop: Shop) -> None:
    async with shop.client() as client, shop.client() as stranger:
        user = await registered(client)
        secret = client.cookies["cart_session"]
        listed = await client.get("/account/sessions")
        (handle,) = [found["handle"] for found in listed.json()["sessions"] if found["current"]]
        assert secret not in listed.text
        for cookie, status in ((secret, 200), (handle, 303)):
            answer = await stranger.get("/dashboard", headers={"Cookie": f"cart_session={cookie}"})
            assert (answer.status_code, user["email"] in answer.text) == (status, status == 200)


@pytest.mark.promise(5)
async def test_a_new_id_with_log_in_password_and_log_out(shop: Shop) -> None:
    async with shop.client() as client, shop.client() as late:
        await begun(client)
        ids = [client.cookies["cart_session"]]
        user = await registered(client)
        ids.append(client.cookies["cart_session"])
        await client.post("/login", json=user)
        ids.append(client.cookies["cart_session"])
        passwords = {"current_password": user["password"], "new_password": "another long phrase"}
        assert (await client.post("/account/password", json=passwords)).status_code == 200
        ids.append(client.cookies["cart_session"])
        await client.post("/logout", json={})
        assert "cart_session" not in client.cookies
        assert len(set(ids)) == 4
        for old in ids:
            answer = await late.get("/dashboard", headers={"Cookie": f"cart_session={old}"})
            assert (answer.status_code, "set-cookie" in answer.headers) == (303, False)


# -- what it costs ------------------------------------------------------------------------------------------


@pytest.mark.promise(7)
@redis
async def test_commands_of_each_kind_of_request(shop: Shop, request: pytest.FixtureRequest) -> None:
    server = server_of(request)

    async def cost(method: str, path: str, **body: Any) -> dict[str, int]:
        server.ask("CONFIG", "RESETSTAT")
        assert (await client.request(method, path, **body)).status_code == 200
        return server.commands()

    async with shop.client() as client:
        nothing: list[tuple[str, str]] = [("GET", "/api/cart"), ("GET", "/healthz"), ("GET", "/docs")]
        for method, path in nothing:
            assert await cost(method, path) == {}
        assert await cost("POST", "/api/cart/add", json=KEYBOARD) == {"set": 1}
        await client.post("/api/cart/add", json=KEYBOARD)  # by then the server has the script
        for method, path in [*nothing[1:], ("GET", "/api/get-language"), ("POST", "/api/set-language")]:
            assert await cost(method, path) == {}
        assert await cost("GET", "/api/cart") == {"get": 1}
        # What follows EVALSHA runs inside the server, by the script.
        change = {"get": 1, "evalsha": 1, "getrange": 1, "set": 1}
        assert await cost("POST", "/api/cart/add", json=KEYBOARD) == change
        assert await cost("GET", "/visit-counter") == change


@pytest.mark.promise(8)
@redis
async def test_every_key_has_a_ttl(shop: Shop, request: pytest.FixtureRequest) -> None:
    server = server_of(request)
    server.ask("FLUSHALL")
    async with shop.client() as client:
        await begun(client)
        await registered(client)  # a session, the one given up for it, and the user's index
        await client.get("/profile")
        await client.post("/api/session/clear")
    names = server.ask("KEYS", "*")
    assert len(names) >= 3
    assert [name for name in names if server.ask("PTTL", name) <= 0] == []


def server_of(request: pytest.FixtureRequest) -> RedisServer:
    server: RedisServer = request.getfixturevalue(f"{request.node.callspec.params['shop']}_server")
    return server
