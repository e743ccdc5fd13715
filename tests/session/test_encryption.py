"""Encryption for operators: data at rest, and key rotation during operation."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select

from cartapp.session.crypto import new_secret
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import TABLE
from tests.support.databases import DATABASES
from tests.support.shop import ALICE, HUB, KEYBOARD, browser, set_cookies, shop_app

pytestmark = pytest.mark.anyio

WORDS = (b"Wireless", b"Keyboard", b"Hub", b"cart", b"fr-CA", b"dark", b"Alice", b"alice@")


async def shop_a_little(client: httpx.AsyncClient) -> None:
    """Store known words in a session, in several versions of its record."""
    for product in (KEYBOARD, HUB, KEYBOARD):
        assert (await client.post("/api/cart/add", json=product)).status_code == 200
    preferences = {"language": "fr-CA", "theme": "dark"}
    assert (await client.post("/api/preferences", json=preferences)).status_code == 200
    assert (
        await client.post("/profile/update", json={"name": "Alice", "email": "alice@a.example"})
    ).is_redirect
    assert (await client.get("/api/cart")).json()["item_count"] == 4


def on_disk(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("backend", ["file", "database"])
@pytest.mark.parametrize("encrypt", [True, False])
async def test_encrypted_files_contain_no_cart_data(backend: str, encrypt: bool, tmp_path: Path) -> None:
    """Checks the files while the application runs, when SQLite's WAL exists, and after its end."""
    folder = tmp_path / "sessions"
    settings: dict[str, Any] = {"session_backend": "file", "session_path": str(folder)}
    if backend == "database":
        settings = {"session_url": f"sqlite:///{folder}/sessions.db"}
    app = shop_app(**settings, session_encrypt=encrypt, secret_key=new_secret())
    async with app.router.lifespan_context(app), browser(app) as client, browser(app) as other:
        await shop_a_little(client)
        await shop_a_little(other)
        assert (await other.post("/api/session/clear")).status_code == 200
        seen = [on_disk(folder)]
        if backend == "database":
            assert {"sessions.db", "sessions.db-wal", "sessions.db-shm"} == set(seen[0])
            assert len(seen[0]["sessions.db-wal"]) > 0
    seen.append(on_disk(folder))
    for files in seen:
        # SQLite's schema contains the table's name, which is not user data.
        held = b"".join(files.values()).replace(b"cart_session", b"")
        found = [word for word in WORDS if word in held]
        assert found == [] if encrypt else set(found) > {b"Keyboard", b"Hub", b"fr-CA"}


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return DATABASES[request.param](request)


async def test_encrypted_rows_contain_no_cart_data(url: str) -> None:
    app = shop_app(session_url=url, session_encrypt=True, secret_key=new_secret(), session_timeout=20)
    async with app.router.lifespan_context(app), browser(app) as client:
        await shop_a_little(client)
        database = Database(url, timeout=20)
        ((*row,),) = await database.fetch(select(TABLE))
        await database.close()
        assert not [word for word in WORDS if word.decode() in repr(row)]


@pytest.mark.parametrize(
    "settings", [{"session_backend": "cookie"}, {"session_backend": "database", "session_encrypt": True}]
)
async def test_key_rotation_on_two_replicas_keeps_all_sessions(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Follows the steps of `cart secret --rotate`: one replica is restarted after the other."""
    old, new = new_secret(), new_secret()
    steps: list[tuple[str, ...]] = [(old,), (old, new), (new, old)]
    url = f"sqlite:///{tmp_path}/cart.db"
    async with AsyncExitStack() as stack:

        async def replica(newest: str, *others: str) -> httpx.AsyncClient:
            app = shop_app(**settings, database_url=url, secret_key=newest, secret_keys_old=others)
            await stack.enter_async_context(app.router.lifespan_context(app))
            return await stack.enter_async_context(browser(app))

        replicas = [await replica(*steps[0]), await replica(*steps[0])]
        user = await replicas[0].post("/register", json=ALICE)
        assert user.status_code == 201
        cookies, added = dict(replicas[0].cookies), 0
        for step in steps:
            for number in range(2):
                replicas[number] = await replica(*step)
                for one in (replicas[number], replicas[1 - number], replicas[number]):
                    set_cookies(one, cookies)
                    added += 1
                    response = await one.post("/api/cart/add", json=KEYBOARD)
                    assert (response.status_code, response.json()["item_count"]) == (200, added)
                    assert (await one.get("/dashboard")).status_code == 200
                    cookies = dict(one.cookies)
        current, too_late = await replica(new), await replica(old)
        for one, status in ((current, 200), (too_late, 303)):
            set_cookies(one, cookies)
            assert (await one.get("/dashboard")).status_code == status
