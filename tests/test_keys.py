"""Sealing: what was changed, moved or sealed by another key does not open."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec.structs import replace

from cartapp.session import SessionTooLarge, UnreadableRecord
from cartapp.session.carriers import COOKIE_BYTES, CookieCarrier
from cartapp.session.keys import KeyRing, is_strong, new_secret
from cartapp.session.manager import Manager, Visit
from cartapp.session.policy import Policy
from cartapp.session.record import Record, key_of, new_id
from cartapp.session.session import Session
from cartapp.session.stores.base import Listable, Purgeable
from cartapp.session.stores.encrypted import EncryptedStore
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.layer import Layer

pytestmark = pytest.mark.anyio

SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"


@pytest.mark.parametrize(
    "weak",
    [
        "",
        "short",
        "a" * 43,
        "ab" * 21 + "c",
        "0123456789abcde" * 3,
        SECRET + "x",
        SECRET[1:] + "=",
    ],
)
def test_weak_secrets_are_refused(weak: str) -> None:
    assert not is_strong(weak)
    with pytest.raises(ValueError, match="43 base64url"):
        KeyRing(weak)
    with pytest.raises(ValueError, match="43 base64url"):
        KeyRing(new_secret(), weak)


def test_a_message_has_a_key_of_its_own_by_hkdf() -> None:
    sealed = KeyRing(SECRET).seal(b"cart", b"context")
    salt, nonce, ciphertext = sealed[5:21], sealed[21:33], sealed[33:]
    hkdf = HKDF(SHA256(), 32, salt=b"cartapp session v1", info=salt)
    cipher = AESGCM(hkdf.derive(urlsafe_b64decode(SECRET + "=")))
    assert cipher.decrypt(nonce, ciphertext, sealed[:5] + b"context") == b"cart"


def test_every_byte_counts() -> None:
    ring = KeyRing(new_secret())
    sealed = ring.seal(b"cart", b"context")
    assert ring.open(sealed, b"context") == b"cart"
    for at in range(len(sealed)):
        for bit in (1, 128):
            changed = bytearray(sealed)
            changed[at] ^= bit
            with pytest.raises(UnreadableRecord):
                ring.open(bytes(changed), b"context")
        with pytest.raises(UnreadableRecord):
            ring.open(sealed[:at], b"context")
    with pytest.raises(UnreadableRecord):
        ring.open(sealed, b"another context")


def test_rotation_and_retirement() -> None:
    old, new = new_secret(), new_secret()
    sealed = KeyRing(old).seal(b"cart", b"")
    rotated = KeyRing(new, old)
    assert rotated.open(sealed, b"") == b"cart"
    assert KeyRing(old, new).open(rotated.seal(b"cart", b""), b"") == b"cart"
    with pytest.raises(UnreadableRecord):
        KeyRing(old).open(rotated.seal(b"cart", b""), b"")  # the newest writes
    with pytest.raises(UnreadableRecord):
        KeyRing(new).open(sealed, b"")


def test_a_hundred_thousand_messages_share_no_key_and_nonce() -> None:
    ring = KeyRing(new_secret())
    seen = {ring.seal(b"", b"")[5:33] for _ in range(100_000)}  # salt, which makes the key, and nonce
    assert len(seen) == len({each[:16] for each in seen}) == len({each[16:] for each in seen}) == 100_000


# -- the cookie carrier -----------------------------------------------------------------------------------


class CookieLayer:
    """Visits whose cookie holds the record."""

    def __init__(self, clock: ManualClock, *secrets: str, name: str = "cart_session") -> None:
        carrier = CookieCarrier(KeyRing(*(secrets or (new_secret(),))), name)
        self.manager = Manager(carrier, Policy(), clock=clock)

    async def store(self, cookie: str | None, **data: object) -> str:
        visit = Visit(self.manager, lambda: cookie)
        session = await Session(visit).load()
        session.update(data)
        await session.save()
        return visit.cookie() or ""

    async def read(self, cookie: str) -> dict[str, object]:
        return (await Session(Visit(self.manager, lambda: cookie)).load()).copy()


async def test_the_record_travels_in_the_cookie(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    cookie = await layer.store(None, a=1)
    later = await layer.store(cookie, b=[2])
    assert await layer.read(later) == {"a": 1, "b": [2]}
    assert await layer.read(cookie) == {"a": 1}  # nothing can take back what a browser holds
    assert b"cart" not in urlsafe_b64decode(later + "==")


@pytest.mark.promise(5, backend="cookie")
async def test_every_character_of_a_cookie_counts(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    cookie = await layer.store(None, a=1)
    raw = urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert await layer.read(urlsafe_b64encode(changed).decode().rstrip("=")) == {}
    for at in range(len(cookie)):
        swapped = "A" if cookie[at] != "A" else "B"
        assert await layer.read(cookie[:at] + swapped + cookie[at + 1 :]) == {}


@pytest.mark.promise(10, backend="cookie")
async def test_other_values_are_refused(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    old, new = new_secret(), new_secret()
    cookie = await CookieLayer(clock, old).store(None, a=1)
    plain = urlsafe_b64encode(json.dumps({"a": 1}).encode()).decode().rstrip("=")
    assert await CookieLayer(clock, new, old).read(cookie) == {"a": 1}
    for layer, value in [
        (CookieLayer(clock, new), cookie),  # a retired key
        (CookieLayer(clock, old, name="other"), cookie),  # another cookie's value
        (CookieLayer(clock, old), plain),
        (CookieLayer(clock, old), '{"a":1}'),
        (CookieLayer(clock, old), new_id()),
        (CookieLayer(clock, old), cookie + "="),
        (CookieLayer(clock, old), "\u00e9" * 50),
    ]:
        caplog.clear()
        assert await layer.read(value) == {}
        assert "refused" in caplog.text
        assert value not in caplog.text
    assert await CookieLayer(clock, old).read("A" * 100_000) == {}


@pytest.mark.promise(8, backend="cookie")
async def test_expiry_is_inside(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    cookie = await layer.store(None, a=1)
    clock.advance(3600)
    assert await layer.read(cookie) == {"a": 1}
    clock.advance(360)
    assert await layer.read(cookie) == {}


async def test_keep_alive_and_renewal_change_the_cookie(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    cookie = await layer.store(None, a=1)
    clock.advance(400)
    kept = await layer.store(cookie)
    clock.advance(3600)
    assert await layer.read(kept) == {"a": 1}
    visit = Visit(layer.manager, lambda: kept)
    session = await Session(visit).load()
    before = session.id
    session.log_in("7")
    await session.save()
    assert session.id != before
    assert await layer.read(visit.cookie() or "") == {"a": 1}
    session.destroy()
    await session.save()
    assert visit.cleared
    assert visit.cookie() is None


@pytest.mark.promise(11, backend="cookie")
async def test_a_cookie_never_passes_4096_bytes(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    largest, cookie = 0, ""
    for size in range(2700, 3100):
        try:
            cookie = await layer.store(None, small=1, big="x" * size)
        except SessionTooLarge:
            break
        largest = size
    assert largest > 2700
    whole = len("__Host-cart_session") + len(cookie)
    assert COOKIE_BYTES - 8 < whole <= COOKIE_BYTES
    with pytest.raises(SessionTooLarge, match="big, more, small"):
        await layer.store(cookie, more="x" * 10)
    assert (await layer.read(cookie))["small"] == 1


# -- encryption at rest -----------------------------------------------------------------------------------


async def test_at_rest_the_data_are_sealed_and_the_header_is_not(clock: ManualClock) -> None:
    inner = MemoryStore(clock=clock)
    store = EncryptedStore(inner, KeyRing(new_secret()))
    layer = Layer(store, clock)
    cookie = await layer.begin(cart="keyboard")
    held = await inner.load(key_of(cookie))
    assert held is not None
    assert b"keyboard" not in held.data
    assert held.expires == clock() + 3_960_000
    assert await layer.read(cookie) == {"cart": "keyboard"}
    session, visit = await layer.visit(cookie)
    session.regenerate()
    await session.save()
    retired = await store.load(key_of(cookie))
    assert retired is not None
    assert retired.is_tombstone
    assert await layer.read(visit.cookie() or "") == {"cart": "keyboard"}
    assert isinstance(store, Listable)
    assert isinstance(store, Purgeable)
    assert [summary.key async for summary in store.scan()] == [key_of(visit.cookie() or "")]


async def test_a_sealed_record_is_no_other_sessions_or_users(clock: ManualClock) -> None:
    inner = MemoryStore(clock=clock)
    store = EncryptedStore(inner, KeyRing(new_secret()))
    one, two = key_of(new_id()), key_of(new_id())
    record = Record(one, clock(), clock(), clock() + 1000, b'{"a":1}', "7", 1)
    await store.create(record)
    held = await inner.load(one)
    assert held is not None
    await inner.create(replace(held, key=two))
    for change in ({"user_id": "8"}, {"epoch": 2}, {"created": clock() - 1}, {"user_id": None}):
        version = await inner.save(replace(held, **change), expected=held.version)
        with pytest.raises(UnreadableRecord):
            await store.load(one)
        assert version is not None
        held = replace(held, version=version)
    with pytest.raises(UnreadableRecord):
        await store.load(two)
    await inner.save(replace(held, data=b'{"plain":1}'), expected=held.version)
    with pytest.raises(UnreadableRecord):  # no weaker fallback
        await store.load(one)
