"""`cart serve` on every backend: curl commands, races, session IDs, and commands per request."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from cartapp.session.record import key_from_id, new_id
from tests.support.backends import ALL, SERVER_SIDE, Settings, worker_count
from tests.support.servers.redis import RedisServer
from tests.support.shop import EMPTY, HUB, KEYBOARD, line
from tests.support.shop_server import Shop, running_shop

pytestmark = pytest.mark.anyio

server_side = pytest.mark.parametrize("shop", SERVER_SIDE, indirect=True)
redis = pytest.mark.parametrize("shop", ["redis", "valkey"], indirect=True)


@pytest.fixture(scope="module", params=ALL)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    # Generous for busy machines; other tests cover timeouts.
    settings: Settings = {"CART_SESSION_TIMEOUT": "20", **ALL[request.param](request)}
    with running_shop(folder, settings, workers=worker_count(request.param)) as running:
        yield running


async def start_session(client: httpx.AsyncClient) -> None:
    """Give the client a session for concurrent requests to share."""
    response = await client.post("/api/preferences", json={})
    assert response.status_code == 200
    assert "cart_session" in client.cookies


async def register(client: httpx.AsyncClient) -> dict[str, str]:
    """Register the client as a new user; return the log-in body."""
    user = {"email": f"{new_id()}@example.com", "password": "a long phrase of mine"}
    response = await client.post("/register", json={**user, "name": "Ada"})
    assert response.status_code == 201
    return user


# -- curl ---------------------------------------------------------------------------------------------------

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
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    (VISIT, {"visit_count": 1, "message": "You have visited this page 1 time"}),
    (VISIT, {"visit_count": 2, "message": "You have visited this page 2 times"}),
    (ADD_FIRST, ONE),
    (ADD_SECOND, TWO),
    (VIEW, TWO),
    (CLEAR, EMPTY),
    (VIEW, EMPTY),
]


def test_curl_commands(shop: Shop, tmp_path: Path) -> None:
    for command, expected in COMMANDS:
        command = command.replace("http://localhost:7147", shop.url).replace("curl ", "curl -sS ", 1)
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=True, text=True)
        assert done.stdout == json.dumps(expected, separators=(",", ":")), command


# -- races --------------------------------------------------------------------------------------------------


@pytest.mark.promise(1)
@server_side
async def test_two_hundred_concurrent_adds_of_one_product(shop: Shop) -> None:
    async with shop.client() as client:
        await start_session(client)
        responses = await asyncio.gather(*(client.post("/api/cart/add", json=KEYBOARD) for _ in range(200)))
        assert {response.status_code for response in responses} == {200}
        assert sorted(response.json()["item_count"] for response in responses) == list(range(1, 201))
        cart = (await client.get("/api/cart")).json()
    assert cart["item_count"] == 200
    assert cart["unique_items"] == 1
    assert cart["total"] == 15998.0


@pytest.mark.promise(1)
@server_side
async def test_twenty_concurrent_products(shop: Shop) -> None:
    async with shop.client() as client:
        await start_session(client)
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
        await start_session(client)
        responses = await asyncio.gather(*(client.get("/visit-counter") for _ in range(200)))
    assert sorted(response.json()["visit_count"] for response in responses) == list(range(1, 201))


@pytest.mark.promise(3)
@server_side
async def test_one_of_ten_concurrent_pages_shows_the_flash(shop: Shop) -> None:
    async with shop.client() as client:
        await start_session(client)
        await client.post("/profile/update", data={"name": "Ada", "email": "ada@example.com"})
        pages = await asyncio.gather(*(client.get("/profile") for _ in range(10)))
    assert sum("Profile updated successfully" in page.text for page in pages) == 1


@pytest.mark.promise(2)
@server_side
async def test_rotated_id_stays_dead_under_fifty_writers(shop: Shop) -> None:
    async with shop.client() as client:
        await start_session(client)
        old = client.cookies["cart_session"]
        header = {"Cookie": f"cart_session={old}"}

        async def write(number: int) -> httpx.Response:
            async with shop.client() as late:  # an empty cookie jar, to detect any cookie set
                return await late.post(
                    "/api/cart/add", json={**KEYBOARD, "product_id": number}, headers=header
                )

        writers = [asyncio.create_task(write(number)) for number in range(1, 51)]
        cleared = await client.post("/api/session/clear")
        responses = await asyncio.gather(*writers)
        assert cleared.status_code == 200
        assert {response.status_code for response in responses} <= {200, 409}
        assert not any("set-cookie" in response.headers for response in responses)
        async with shop.client() as late:
            again = await late.post("/api/cart/add", json=KEYBOARD, headers=header)
            assert again.status_code == 409
            assert (await late.get("/api/cart", headers=header)).json()["items"] == []
        assert (await client.get("/api/cart")).json()["items"] == []


# -- ids ----------------------------------------------------------------------------------------------------


@pytest.mark.promise(5)
async def test_planted_id_is_never_adopted(shop: Shop) -> None:
    unknown = new_id()
    async with shop.client() as client:
        await start_session(client)
        known = client.cookies["cart_session"]
    values = [unknown, "../../x", "", "%00", "x" * 5000, known + "A", key_from_id(known), known[:-1]]
    for cookie in [*(f"cart_session={value}" for value in values), f"cart_session={known}; cart_session=x"]:
        async with shop.client() as other:
            header = {"Cookie": cookie}
            read = await other.get("/api/cart", headers=header)
            assert (read.status_code, read.json()) == (200, EMPTY)
            # With two different cookies the variants are expired; no other cookie is set.
            assert all("Max-Age=0" in line for line in read.headers.get_list("set-cookie"))
            assert ("set-cookie" in read.headers) is (cookie.count("=") == 2)
            added = await other.post("/api/cart/add", json=KEYBOARD, headers=header)
            assert (added.status_code, added.json()) == (200, ONE)
            assert other.cookies["cart_session"] not in (unknown, known, *values)


@pytest.mark.promise(4)
async def test_public_session_data_cannot_be_used_to_log_in(shop: Shop) -> None:
    async with shop.client() as client, shop.client() as other:
        user = await register(client)
        secret = client.cookies["cart_session"]
        listed = await client.get("/account/sessions")
        (handle,) = [found["handle"] for found in listed.json()["sessions"] if found["current"]]
        assert secret not in listed.text
        for cookie, status in ((secret, 200), (handle, 303)):
            response = await other.get("/dashboard", headers={"Cookie": f"cart_session={cookie}"})
            assert (response.status_code, user["email"] in response.text) == (status, status == 200)


@pytest.mark.promise(5)
async def test_login_password_change_and_logout_rotate_the_id(shop: Shop) -> None:
    async with shop.client() as client, shop.client() as late:
        await start_session(client)
        ids = [client.cookies["cart_session"]]
        user = await register(client)
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
            response = await late.get("/dashboard", headers={"Cookie": f"cart_session={old}"})
            assert (response.status_code, "set-cookie" in response.headers) == (303, False)


# -- costs --------------------------------------------------------------------------------------------------


@pytest.mark.promise(7)
@redis
async def test_redis_commands_per_request(shop: Shop, request: pytest.FixtureRequest) -> None:
    server = get_server(request)

    async def cost(method: str, path: str, **body: Any) -> dict[str, int]:
        server.execute("CONFIG", "RESETSTAT")
        assert (await client.request(method, path, **body)).status_code == 200
        return server.commands()

    async with shop.client() as client:
        nothing: list[tuple[str, str]] = [("GET", "/api/cart"), ("GET", "/healthz"), ("GET", "/docs")]
        for method, path in nothing:
            assert await cost(method, path) == {}
        assert await cost("POST", "/api/cart/add", json=KEYBOARD) == {"set": 1}
        await client.post("/api/cart/add", json=KEYBOARD)  # loads the script into the server
        for method, path in [*nothing[1:], ("GET", "/api/get-language"), ("POST", "/api/set-language")]:
            assert await cost(method, path) == {}
        assert await cost("GET", "/api/cart") == {"get": 1}
        # The commands after EVALSHA are those of the script.
        change = {"get": 1, "evalsha": 1, "getrange": 1, "set": 1}
        assert await cost("POST", "/api/cart/add", json=KEYBOARD) == change
        assert await cost("GET", "/visit-counter") == change


@pytest.mark.promise(8)
@redis
async def test_every_key_has_a_ttl(shop: Shop, request: pytest.FixtureRequest) -> None:
    server = get_server(request)
    server.execute("FLUSHALL")
    async with shop.client() as client:
        await start_session(client)
        await register(client)  # a session, a tombstone and the user's index
        await client.get("/profile")
        await client.post("/api/session/clear")
    names = server.execute("KEYS", "*")
    assert len(names) >= 3
    assert [name for name in names if server.execute("PTTL", name) <= 0] == []


def get_server(request: pytest.FixtureRequest) -> RedisServer:
    server: RedisServer = request.getfixturevalue(f"{request.node.callspec.params['shop']}_server")
    return server
