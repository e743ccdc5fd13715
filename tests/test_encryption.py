"""Encryption as an operator meets it: what lies on the disk, and keys that change while people shop."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select

from cartapp.session.keys import new_secret
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import TABLE

from .databases import DATABASES
from .shop import ALICE, HUB, KEYBOARD, browser, shop_app, take

pytestmark = pytest.mark.anyio

WORDS = (b"Wireless", b"Keyboard", b"Hub", b"cart", b"fr-CA", b"dark", b"Alice", b"alice@")


async def shop_a_little(client: httpx.AsyncClient) -> None:
    """Leave words in a session, in several versions of its record, and end another one."""
    for product in (KEYBOARD, HUB, KEYBOARD):
        assert (await client.post("/api/cart/add", json=product)).status_code == 200
    preferences = {"language": "fr-CA", "theme": "dark"}
    assert (await client.post("/api/preferences", json=preferences)).status_code == 200
    assert (
        await client.post("/profile/update", json={"name": "Alice", "email": "alice@a.example"})
    ).is_redirect
    assert (await client.get("/api/cart")).json()["item_count"] == 4


def on_disk(folder: Path) -> dict[str, bytes]:
    """Everything that the files in a folder hold, by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("backend", ["file", "database"])
@pytest.mark.parametrize("encrypt", [True, False])
async def test_no_file_holds_a_word_of_the_cart(backend: str, encrypt: bool, tmp_path: Path) -> None:
    """Looked at while the application runs, so that SQLite's log of writes is there; and after its end."""
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
        # SQLite's own schema has the table's name, which is no word of anybody's.
        held = b"".join(files.values()).replace(b"cart_session", b"")
        found = [word for word in WORDS if word in held]
        assert found == [] if encrypt else set(found) > {b"Keyboard", b"Hub", b"fr-CA"}


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return DATABASES[request.param](request)


async def test_no_row_holds_a_word_of_the_cart(url: str) -> None:
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
async def test_keys_change_on_two_replicas_and_nobody_notices(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """The steps that `cart secret --rotate` tells of; each replica is restarted in its turn."""
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
                    take(one, cookies)
                    added += 1
                    answer = await one.post("/api/cart/add", json=KEYBOARD)
                    assert (answer.status_code, answer.json()["item_count"]) == (200, added)
                    assert (await one.get("/dashboard")).status_code == 200
                    cookies = dict(one.cookies)
        retired, too_late = await replica(new), await replica(old)
        for one, status in ((retired, 200), (too_late, 303)):
            take(one, cookies)
            assert (await one.get("/dashboard")).status_code == status
