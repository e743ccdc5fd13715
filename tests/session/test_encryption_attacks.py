"""Encryption at rest against an attacker with access to the session store but without a key.

Also what is not prevented, according to docs/security.md, *Encryption at rest*.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest
from msgspec.structs import replace

from cartapp.session import SessionEnded, Sessions
from cartapp.session.crypto import KeyRing, new_secret
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, key_from_id
from cartapp.session.stores.base import Store
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.wrappers.encryption import EncryptedStore
from tests.conftest import ManualClock
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT
from tests.support.session_layer import SessionLayer
from tests.support.shop import ALICE, KEYBOARD, browser, set_cookies, shop_app
from tests.support.stores import SQL, STORES, Open, with_prefix

pytestmark = pytest.mark.anyio

MALLORY = {"name": "Mallory", "email": "mallory@example.com", "password": "another long phrase"}
URLS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "file": lambda request: f"file://{request.getfixturevalue('tmp_path')}/sessions",
    "redis": lambda request: with_prefix(request.getfixturevalue("redis_server").url),
    "sqlite": DATABASES["sqlite"],
    "postgresql": DATABASES["postgresql"],
}


async def put(store: Store, record: Record) -> None:
    """Write a record over any other under its key."""
    await store.delete(record.key)
    assert await store.create(record) is not None


async def get(store: Store, key: str) -> Record:
    record = await store.load(key)
    assert record is not None
    return record


# -- through the application --------------------------------------------------------------------------------


@dataclass
class Scene:
    """Two users of a shop; one has access to the session store."""

    store: Store
    alice: httpx.AsyncClient
    mallory: httpx.AsyncClient
    cookies: dict[str, str]
    """The ID in the attacker's cookie."""

    async def plant(self, record: Record) -> None:
        """Write a record, and send a request of the attacker with its session ID."""
        await put(self.store, record)
        set_cookies(self.mallory, self.cookies)

    async def planted(self) -> list[Record]:
        """Return all records to plant under the attacker's own key."""
        own, hers = await self.record_of(self.mallory), await self.record_of(self.alice)
        return [replace(make(own, hers), key=own.key) for make in PLANTED]

    async def record_of(self, client: httpx.AsyncClient) -> Record:
        return await get(self.store, key_from_id(client.cookies["__Host-cart_session"]))

    async def alice_is_well(self) -> None:
        """Check that Alice's session and account are unchanged."""
        assert (await self.alice.get("/api/cart")).json()["item_count"] == 1
        assert ALICE["name"] in (await self.alice.get("/profile")).text
        assert (await self.alice.get("/dashboard")).status_code == 200
        sessions = (await self.alice.get("/account/sessions")).json()["sessions"]
        assert [each["current"] for each in sessions] == [True]


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest) -> str:
    return URLS[request.param](request)


@pytest.fixture
async def scene(url: str) -> AsyncIterator[Scene]:
    secret = new_secret()
    app = shop_app(session_url=url, session_encrypt=True, secret_key=secret, login_limit="1000/minute")
    store = open_store(url, timeout=STORE_TIMEOUT)
    async with app.router.lifespan_context(app), browser(app) as alice, browser(app) as mallory:
        for client, user in ((alice, ALICE), (mallory, MALLORY)):
            assert (await client.post("/register", json=user)).status_code == 201
        assert (await alice.post("/api/cart/add", json=KEYBOARD)).status_code == 200
        yield Scene(store, alice, mallory, dict(mallory.cookies))
    await store.close()


PLANTED: list[Callable[[Record, Record], Record]] = [
    # Tombstones: early ones without data, and ones with the victim's key as successor.
    lambda own, hers: replace(hers, data=b""),
    lambda own, hers: replace(hers, data=b"=" + hers.key.encode()),
    lambda own, hers: replace(hers, data=b">" + hers.key.encode()),
    lambda own, hers: replace(own, data=b"=" + hers.key.encode(), user_id=None),
    lambda own, hers: replace(own, data=b"=" + hers.key.encode(), user_id=None, created=hers.created),
    # Plain data, with and without a log-in.
    lambda own, hers: replace(hers, data=b"{}"),
    lambda own, hers: replace(hers, data=b'{"_login":{"id":%d,"browser":"x","fresh":true}}' % hers.epoch),
    # The victim's data, and the attacker's with parts of the victim's header.
    lambda own, hers: hers,
    lambda own, hers: replace(own, data=hers.data),
    lambda own, hers: replace(hers, data=b"=" + hers.data),
    lambda own, hers: replace(hers, data=own.data),
    lambda own, hers: replace(own, user_id=hers.user_id),
    lambda own, hers: replace(own, epoch=hers.epoch),
    lambda own, hers: replace(hers, data=b"=" + own.data),
]
"""Records that an attacker makes of two records, for the key of a known session ID."""


async def test_planted_records_reveal_no_data_of_another_user(scene: Scene) -> None:
    for record in await scene.planted():
        for path in ("/profile", "/dashboard", "/account/sessions", "/cart", "/inspect", "/"):
            await scene.plant(record)
            page = unescape((await scene.mallory.get(path)).text)
            assert [word for word in ALICE.values() if word in page] == []
        for path, status in (("/dashboard", 303), ("/account/sessions", 401)):
            await scene.plant(record)
            assert (await scene.mallory.get(path)).status_code == status
        await scene.plant(record)
        assert (await scene.mallory.get("/api/cart")).json()["items"] == []
        await scene.alice_is_well()


async def test_planted_records_cannot_act_for_another_user(scene: Scene) -> None:
    hers = (await scene.record_of(scene.alice)).key
    attempts: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/profile/update", {"name": "Hacked"}),
        ("POST", "/profile/update", {"name": "Hacked", "email": "hacked@example.com"}),
        ("POST", "/account/password", {"current_password": "x", "new_password": "a brand new one"}),
        ("DELETE", f"/account/sessions/{hers}", {}),
        ("DELETE", "/account/sessions", {}),
        ("DELETE", "/api/cart", {}),
        ("POST", "/api/session/clear", {}),
        ("POST", "/logout", {}),
    ]
    for record in await scene.planted():
        for method, path, body in attempts:
            await scene.plant(record)
            response = await scene.mallory.request(method, path, json=body)
            assert response.status_code < 500
        await scene.alice_is_well()


async def test_a_log_in_on_a_planted_record_takes_over_no_data(scene: Scene) -> None:
    login = {name: MALLORY[name] for name in ("email", "password")}
    hers = await scene.record_of(scene.alice)
    for record in await scene.planted():
        await scene.plant(record)
        response = await scene.mallory.post("/login", json=login)
        assert (response.status_code, response.json()["user"]["name"]) == (200, MALLORY["name"])
        assert (await scene.mallory.get("/api/cart")).json()["items"] == []
        assert MALLORY["name"] in (await scene.mallory.get("/profile")).text
        listed = (await scene.mallory.get("/account/sessions")).json()["sessions"]
        assert hers.key not in [each["handle"] for each in listed]
    await scene.alice_is_well()


async def test_a_planted_header_adds_no_session_to_another_user(scene: Scene) -> None:
    """The victim's session list omits the attacker's record with the victim's name."""
    own, hers = await scene.record_of(scene.mallory), await scene.record_of(scene.alice)
    for data in (own.data, hers.data, b"{}", b"="):
        await put(scene.store, replace(hers, key=own.key, data=data))
        await scene.alice_is_well()


async def test_an_ended_log_in_cannot_be_restored(scene: Scene) -> None:
    """The log-in is recorded in the accounts' database, a different store."""
    before = await scene.record_of(scene.alice)
    cookies = dict(scene.alice.cookies)
    assert (await scene.alice.post("/logout")).status_code == 303
    set_cookies(scene.alice, cookies)
    await put(scene.store, before)
    assert (await scene.alice.get("/dashboard")).status_code == 303


# -- what is prevented, and what is not ---------------------------------------------------------------------


@pytest.fixture(params=["file", "redis", *SQL])
def place(request: pytest.FixtureRequest, clock: ManualClock) -> Open:
    return STORES[request.param](request, clock)


@pytest.fixture
async def inner(place: Open) -> AsyncIterator[Store]:
    store = place()
    yield store
    await store.close()


@pytest.fixture
def layer(inner: Store, clock: ManualClock) -> SessionLayer:
    return SessionLayer(
        EncryptedStore(inner, KeyRing(new_secret())), clock, SessionPolicy(timeout=STORE_TIMEOUT)
    )


async def log_in(layer: SessionLayer, user: str) -> str:
    """Create a session of a user; return its cookie."""
    session, request_session = await layer.load()
    session.log_in(user, 1)
    session["of"] = user
    await session.save()
    return str(request_session.cookie())


async def test_user_epoch_and_creation_are_authenticated(layer: SessionLayer, inner: Store) -> None:
    cookie, other = await log_in(layer, "7"), await log_in(layer, "8")
    record = await get(inner, key_from_id(cookie))
    for change in ({"user_id": "8"}, {"user_id": None}, {"epoch": 2}, {"created": record.created + 1}):
        await put(inner, replace(record, **change))
        session, _ = await layer.load(cookie)
        assert (session.is_new, session.user_id, session) == (True, None, {})
    await put(inner, replace(record, key=key_from_id(other)))
    assert await layer.read(other) == {}
    await put(inner, record)
    assert await layer.read(cookie) == {"of": "7"}


@pytest.mark.parametrize("kind", [b"", b"=", b">"])
async def test_a_planted_tombstone_has_no_successor(layer: SessionLayer, inner: Store, kind: bytes) -> None:
    own, hers = await log_in(layer, "7"), await log_in(layer, "8")
    record = await get(inner, key_from_id(own))
    planted = replace(record, data=kind and kind + key_from_id(hers).encode())
    for user in (None, "7", "8"):
        await put(inner, replace(planted, user_id=user))
        session, _ = await layer.load(own)
        assert (session.user_id, await session.successor_user()) == (None, None)
        session, _ = await layer.load(own)
        session.destroy()
        await session.save()
        await put(inner, replace(planted, user_id=user))
        assert not await Sessions(layer.store, clock=layer.clock).end(record.key)
        session, request_session = await layer.load(own)
        session.log_in("8", 1)
        await session.save()
        assert await layer.read(str(request_session.cookie())) == {}
    assert await layer.read(hers) == {"of": "8"}


async def test_a_tombstone_of_another_session_is_unreadable(layer: SessionLayer, inner: Store) -> None:
    rotated, other = await layer.begin(a=1), await layer.begin(b=2)
    session, _ = await layer.load(rotated)
    session.regenerate()
    await session.save()
    tombstone = await get(inner, key_from_id(rotated))
    assert tombstone.is_tombstone
    assert key_from_id(rotated).encode() not in tombstone.data
    await put(inner, replace(tombstone, key=key_from_id(other)))
    session, _ = await layer.load(other)
    assert (session.is_new, await session.successor_user()) == (True, None)


async def test_an_encrypted_tombstone_is_recognized(layer: SessionLayer, inner: Store) -> None:
    rotated = await log_in(layer, "7")
    session, request_session = await layer.load(rotated)
    session.regenerate()
    await session.save()
    late, _ = await layer.load(rotated)
    assert await late.successor_user() == "7"
    late["x"] = 1
    with pytest.raises(SessionEnded):
        await late.save()
    again, after = await layer.load(rotated)
    again.log_in("7", 1)
    await again.save()
    assert await layer.read(str(after.cookie())) == {"of": "7"}
    assert await layer.read(str(request_session.cookie())) == {}


async def test_not_prevented_an_older_record_can_be_restored(layer: SessionLayer, inner: Store) -> None:
    cookie = await layer.begin(of=1)
    before = await get(inner, key_from_id(cookie))
    session, _ = await layer.load(cookie)
    session["of"] = 2
    await session.save()
    await put(inner, before)
    assert await layer.read(cookie) == {"of": 1}


async def test_not_prevented_an_ended_session_can_be_restored(layer: SessionLayer, inner: Store) -> None:
    """Except with `is_current` on another database: `test_an_ended_log_in_cannot_be_restored`."""
    cookie = await log_in(layer, "7")
    before = await get(inner, key_from_id(cookie))
    session, _ = await layer.load(cookie)
    session.destroy()
    await session.save()
    assert await layer.read(cookie) == {}
    await put(inner, before)
    assert await layer.read(cookie) == {"of": "7"}


async def test_not_prevented_the_idle_timeout_can_be_extended(
    layer: SessionLayer, inner: Store, clock: ManualClock
) -> None:
    """The absolute lifetime cannot be extended: the creation time is authenticated."""
    cookie = await layer.begin(of=1)
    record = await get(inner, key_from_id(cookie))
    end = record.created + round(layer.policy.max_age * 1000)
    await put(inner, replace(record, last_used=end, expires=2 * end))
    clock.now = end - 1
    assert await layer.read(cookie) == {"of": 1}
    clock.now = end
    assert await layer.read(cookie) == {}


async def test_not_prevented_sessions_can_be_deleted(layer: SessionLayer, inner: Store) -> None:
    removed, changed, tombstone = [await layer.begin(of=1) for _ in range(3)]
    await inner.delete(key_from_id(removed))
    record = await get(inner, key_from_id(changed))
    await put(inner, replace(record, data=record.data[:-1]))
    await put(inner, replace(await get(inner, key_from_id(tombstone)), data=b"="))
    for cookie in (removed, changed, tombstone):
        assert await layer.read(cookie) == {}


async def test_not_prevented_a_listing_can_be_forged(layer: SessionLayer, inner: Store) -> None:
    """A listing relies on headers; a single session is shown only if it can be decrypted."""
    cookie = await log_in(layer, "7")
    record = await get(inner, key_from_id(cookie))
    await put(inner, replace(record, user_id="8"))
    sessions = Sessions(layer.store, clock=layer.clock)
    assert [found.handle async for found in sessions.find("8")] == [record.key]
    assert await sessions.get(record.key) is None
