"""Encryption at rest against an attacker who can read and write the session store but has no key.

What the attacker gets, and what the documentation says is not given (docs/security.md, *Encryption at rest*).
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest
from msgspec.structs import replace

from cartapp.session import SessionEnded, Sessions
from cartapp.session.keys import KeyRing, new_secret
from cartapp.session.policy import Policy
from cartapp.session.record import Record, key_of
from cartapp.session.stores import open_store
from cartapp.session.stores.base import Store
from cartapp.session.stores.encrypted import EncryptedStore
from tests.conftest import ManualClock
from tests.databases import DATABASES
from tests.layer import Layer
from tests.shop import ALICE, KEYBOARD, browser, shop_app, take
from tests.stores import SQL, STORES, Open, with_prefix
from tests.waiting import PATIENCE

pytestmark = pytest.mark.anyio

MALLORY = {"name": "Mallory", "email": "mallory@example.com", "password": "another long phrase"}
URLS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "file": lambda request: f"file://{request.getfixturevalue('tmp_path')}/sessions",
    "redis": lambda request: with_prefix(request.getfixturevalue("redis_server").url),
    "sqlite": DATABASES["sqlite"],
    "postgresql": DATABASES["postgresql"],
}


async def put(store: Store, record: Record) -> None:
    """Write a record, whatever there was under its key."""
    await store.delete(record.key)
    assert await store.create(record) is not None


async def get(store: Store, key: str) -> Record:
    record = await store.load(key)
    assert record is not None
    return record


# -- through the application --------------------------------------------------------------------------------


@dataclass
class Scene:
    """Two users of a shop; one of them has the session store as well."""

    store: Store
    alice: httpx.AsyncClient
    mallory: httpx.AsyncClient
    cookies: dict[str, str]
    """With which the attacker comes."""

    async def plant(self, record: Record) -> None:
        """Write a record and let the attacker come with its session ID, whatever that became before."""
        await put(self.store, record)
        take(self.mallory, self.cookies)

    async def planted(self) -> list[Record]:
        """All records to plant under the attacker's own key."""
        own, hers = await self.record_of(self.mallory), await self.record_of(self.alice)
        return [replace(make(own, hers), key=own.key) for make in PLANTED]

    async def record_of(self, client: httpx.AsyncClient) -> Record:
        return await get(self.store, key_of(client.cookies["__Host-cart_session"]))

    async def alice_is_well(self) -> None:
        """Check that Alice's session and account are as they were."""
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
    store = open_store(url, timeout=PATIENCE)
    async with app.router.lifespan_context(app), browser(app) as alice, browser(app) as mallory:
        for client, user in ((alice, ALICE), (mallory, MALLORY)):
            assert (await client.post("/register", json=user)).status_code == 201
        assert (await alice.post("/api/cart/add", json=KEYBOARD)).status_code == 200
        yield Scene(store, alice, mallory, dict(mallory.cookies))
    await store.close()


PLANTED: list[Callable[[Record, Record], Record]] = [
    # Tombstones: former ones without data, and such as name the victim's session.
    lambda own, hers: replace(hers, data=b""),
    lambda own, hers: replace(hers, data=b"=" + hers.key.encode()),
    lambda own, hers: replace(hers, data=b">" + hers.key.encode()),
    lambda own, hers: replace(own, data=b"=" + hers.key.encode(), user_id=None),
    lambda own, hers: replace(own, data=b"=" + hers.key.encode(), user_id=None, created=hers.created),
    # Plain data, with and without a log-in.
    lambda own, hers: replace(hers, data=b"{}"),
    lambda own, hers: replace(hers, data=b'{"_login":{"id":%d,"browser":"x","fresh":true}}' % hers.epoch),
    # The victim's data, and one's own with parts of the victim's header.
    lambda own, hers: hers,
    lambda own, hers: replace(own, data=hers.data),
    lambda own, hers: replace(hers, data=b"=" + hers.data),
    lambda own, hers: replace(hers, data=own.data),
    lambda own, hers: replace(own, user_id=hers.user_id),
    lambda own, hers: replace(own, epoch=hers.epoch),
    lambda own, hers: replace(hers, data=b"=" + own.data),
]
"""What an attacker makes of the own record and the victim's, for the key of a session whose ID is known."""


async def test_planted_records_show_nothing_of_another_user(scene: Scene) -> None:
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


async def test_planted_records_do_nothing_for_another_user(scene: Scene) -> None:
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
            answer = await scene.mallory.request(method, path, json=body)
            assert answer.status_code < 500
        await scene.alice_is_well()


async def test_a_log_in_with_a_planted_record_is_ones_own(scene: Scene) -> None:
    login = {name: MALLORY[name] for name in ("email", "password")}
    hers = await scene.record_of(scene.alice)
    for record in await scene.planted():
        await scene.plant(record)
        answer = await scene.mallory.post("/login", json=login)
        assert (answer.status_code, answer.json()["user"]["name"]) == (200, MALLORY["name"])
        assert (await scene.mallory.get("/api/cart")).json()["items"] == []
        assert MALLORY["name"] in (await scene.mallory.get("/profile")).text
        listed = (await scene.mallory.get("/account/sessions")).json()["sessions"]
        assert hers.key not in [each["handle"] for each in listed]
    await scene.alice_is_well()


async def test_a_planted_header_puts_nothing_into_anothers_list(scene: Scene) -> None:
    """The victim's own list, where a listing finds the attacker's record under the victim's name."""
    own, hers = await scene.record_of(scene.mallory), await scene.record_of(scene.alice)
    for data in (own.data, hers.data, b"{}", b"="):
        await put(scene.store, replace(hers, key=own.key, data=data))
        await scene.alice_is_well()


async def test_an_ended_log_in_cannot_be_put_back(scene: Scene) -> None:
    """The row of the log-in is in the accounts' database, which is another store."""
    before = await scene.record_of(scene.alice)
    cookies = dict(scene.alice.cookies)
    assert (await scene.alice.post("/logout")).status_code == 303
    take(scene.alice, cookies)
    await put(scene.store, before)
    assert (await scene.alice.get("/dashboard")).status_code == 303


# -- what is given, and what is not -------------------------------------------------------------------------


@pytest.fixture(params=["file", "redis", *SQL])
def place(request: pytest.FixtureRequest, clock: ManualClock) -> Open:
    return STORES[request.param](request, clock)


@pytest.fixture
async def inner(place: Open) -> AsyncIterator[Store]:
    store = place()
    yield store
    await store.close()


@pytest.fixture
def layer(inner: Store, clock: ManualClock) -> Layer:
    return Layer(EncryptedStore(inner, KeyRing(new_secret())), clock, Policy(timeout=PATIENCE))


async def log_in(layer: Layer, user: str) -> str:
    """Begin a session of a user; returns its cookie."""
    session, visit = await layer.visit()
    session.log_in(user, 1)
    session["of"] = user
    await session.save()
    return str(visit.cookie())


async def test_what_identifies_a_user_is_authenticated(layer: Layer, inner: Store) -> None:
    cookie, other = await log_in(layer, "7"), await log_in(layer, "8")
    record = await get(inner, key_of(cookie))
    for change in ({"user_id": "8"}, {"user_id": None}, {"epoch": 2}, {"created": record.created + 1}):
        await put(inner, replace(record, **change))
        session, _ = await layer.visit(cookie)
        assert (session.is_new, session.user_id, session) == (True, None, {})
    await put(inner, replace(record, key=key_of(other)))
    assert await layer.read(other) == {}
    await put(inner, record)
    assert await layer.read(cookie) == {"of": "7"}


@pytest.mark.parametrize("kind", [b"", b"=", b">"])
async def test_a_planted_tombstone_leads_nowhere(layer: Layer, inner: Store, kind: bytes) -> None:
    own, hers = await log_in(layer, "7"), await log_in(layer, "8")
    record = await get(inner, key_of(own))
    planted = replace(record, data=kind and kind + key_of(hers).encode())
    for user in (None, "7", "8"):
        await put(inner, replace(planted, user_id=user))
        session, _ = await layer.visit(own)
        assert (session.user_id, await session.successor_user()) == (None, None)
        session, _ = await layer.visit(own)
        session.destroy()
        await session.save()
        await put(inner, replace(planted, user_id=user))
        assert not await Sessions(layer.store, clock=layer.clock).end(record.key)
        session, visit = await layer.visit(own)
        session.log_in("8", 1)
        await session.save()
        assert await layer.read(str(visit.cookie())) == {}
    assert await layer.read(hers) == {"of": "8"}


async def test_a_tombstone_of_another_session_is_unreadable(layer: Layer, inner: Store) -> None:
    rotated, other = await layer.begin(a=1), await layer.begin(b=2)
    session, _ = await layer.visit(rotated)
    session.regenerate()
    await session.save()
    tombstone = await get(inner, key_of(rotated))
    assert tombstone.is_tombstone
    assert key_of(rotated).encode() not in tombstone.data
    await put(inner, replace(tombstone, key=key_of(other)))
    session, _ = await layer.visit(other)
    assert (session.is_new, await session.successor_user()) == (True, None)


async def test_a_tombstone_is_still_one(layer: Layer, inner: Store) -> None:
    rotated = await log_in(layer, "7")
    session, visit = await layer.visit(rotated)
    session.regenerate()
    await session.save()
    late, _ = await layer.visit(rotated)
    assert await late.successor_user() == "7"
    late["x"] = 1
    with pytest.raises(SessionEnded):
        await late.save()
    again, after = await layer.visit(rotated)
    again.log_in("7", 1)
    await again.save()
    assert await layer.read(str(after.cookie())) == {"of": "7"}
    assert await layer.read(str(visit.cookie())) == {}


async def test_not_given_an_older_record_can_be_put_back(layer: Layer, inner: Store) -> None:
    cookie = await layer.begin(of=1)
    before = await get(inner, key_of(cookie))
    session, _ = await layer.visit(cookie)
    session["of"] = 2
    await session.save()
    await put(inner, before)
    assert await layer.read(cookie) == {"of": 1}


async def test_not_given_an_ended_session_can_be_put_back(layer: Layer, inner: Store) -> None:
    """But not where `is_current` asks another database: `test_an_ended_log_in_cannot_be_put_back`."""
    cookie = await log_in(layer, "7")
    before = await get(inner, key_of(cookie))
    session, _ = await layer.visit(cookie)
    session.destroy()
    await session.save()
    assert await layer.read(cookie) == {}
    await put(inner, before)
    assert await layer.read(cookie) == {"of": "7"}


async def test_not_given_the_idle_time_can_be_extended(
    layer: Layer, inner: Store, clock: ManualClock
) -> None:
    """But not the absolute lifetime, as the creation is authenticated."""
    cookie = await layer.begin(of=1)
    record = await get(inner, key_of(cookie))
    end = record.created + round(layer.policy.max_age * 1000)
    await put(inner, replace(record, last_used=end, expires=2 * end))
    clock.now = end - 1
    assert await layer.read(cookie) == {"of": 1}
    clock.now = end
    assert await layer.read(cookie) == {}


async def test_not_given_sessions_can_be_ended(layer: Layer, inner: Store) -> None:
    removed, changed, tombstone = [await layer.begin(of=1) for _ in range(3)]
    await inner.delete(key_of(removed))
    record = await get(inner, key_of(changed))
    await put(inner, replace(record, data=record.data[:-1]))
    await put(inner, replace(await get(inner, key_of(tombstone)), data=b"="))
    for cookie in (removed, changed, tombstone):
        assert await layer.read(cookie) == {}


async def test_not_given_a_listing_can_be_false(layer: Layer, inner: Store) -> None:
    """A listing shows what the headers say; a single session is shown only when it can be opened."""
    cookie = await log_in(layer, "7")
    record = await get(inner, key_of(cookie))
    await put(inner, replace(record, user_id="8"))
    sessions = Sessions(layer.store, clock=layer.clock)
    assert [found.handle async for found in sessions.find("8")] == [record.key]
    assert await sessions.get(record.key) is None
