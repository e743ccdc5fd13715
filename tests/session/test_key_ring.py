"""Encryption: changed, moved or foreign data cannot be decrypted."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec.structs import replace

from cartapp.session import SessionTooLarge, UnreadableRecord
from cartapp.session.cookies import CookieOptions
from cartapp.session.crypto import KeyRing, is_strong, new_secret
from cartapp.session.manager import SessionManager
from cartapp.session.record import Record, key_from_id, new_id
from cartapp.session.request_session import RequestSession
from cartapp.session.session import Session
from cartapp.session.stores.base import Listable, Purgeable
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.wrappers.encryption import EncryptedStore
from cartapp.session.transport import COOKIE_BYTES
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer

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
def test_weak_secrets_raise(weak: str) -> None:
    assert not is_strong(weak)
    with pytest.raises(ValueError, match="43 base64url"):
        KeyRing(weak)
    with pytest.raises(ValueError, match="43 base64url"):
        KeyRing(new_secret(), weak)


def test_hkdf_derives_a_separate_key_for_each_message() -> None:
    sealed = KeyRing(SECRET).encrypt(b"cart", b"context")
    salt, nonce, ciphertext = sealed[5:21], sealed[21:33], sealed[33:]
    hkdf = HKDF(SHA256(), 32, salt=b"cartapp session v1", info=salt)
    cipher = AESGCM(hkdf.derive(urlsafe_b64decode(SECRET + "=")))
    assert cipher.decrypt(nonce, ciphertext, sealed[:5] + b"context") == b"cart"


def test_changing_any_byte_fails_decryption() -> None:
    ring = KeyRing(new_secret())
    sealed = ring.encrypt(b"cart", b"context")
    assert ring.decrypt(sealed, b"context") == b"cart"
    for at in range(len(sealed)):
        for bit in (1, 128):
            changed = bytearray(sealed)
            changed[at] ^= bit
            with pytest.raises(UnreadableRecord):
                ring.decrypt(bytes(changed), b"context")
        with pytest.raises(UnreadableRecord):
            ring.decrypt(sealed[:at], b"context")
    with pytest.raises(UnreadableRecord):
        ring.decrypt(sealed, b"another context")


def test_keys_can_be_added_and_removed() -> None:
    old, new = new_secret(), new_secret()
    sealed = KeyRing(old).encrypt(b"cart", b"")
    rotated = KeyRing(new, old)
    assert rotated.decrypt(sealed, b"") == b"cart"
    assert KeyRing(old, new).decrypt(rotated.encrypt(b"cart", b""), b"") == b"cart"
    with pytest.raises(UnreadableRecord):
        KeyRing(old).decrypt(rotated.encrypt(b"cart", b""), b"")  # the newest key encrypts
    with pytest.raises(UnreadableRecord):
        KeyRing(new).decrypt(sealed, b"")


def test_a_hundred_thousand_messages_share_no_key_and_nonce() -> None:
    ring = KeyRing(new_secret())
    seen = {
        ring.encrypt(b"", b"")[5:33] for _ in range(100_000)
    }  # salt, from which the key is derived, and nonce
    assert len(seen) == len({each[:16] for each in seen}) == len({each[16:] for each in seen}) == 100_000


# -- the cookie transport -----------------------------------------------------------------------------------


class CookieLayer:
    """A session layer with the record in the cookie."""

    def __init__(self, clock: ManualClock, *secrets: str, name: str = "cart_session") -> None:
        keys = KeyRing(*(secrets or (new_secret(),)))
        self.manager = SessionManager("cookie://", cookie=CookieOptions(name), keys=keys, clock=clock)

    async def store(self, cookie: str | None, **data: object) -> str:
        request_session = RequestSession(self.manager, lambda: cookie)
        session = await Session(request_session).load()
        session.update(data)
        await session.save()
        return request_session.cookie() or ""

    async def read(self, cookie: str) -> dict[str, object]:
        return (await Session(RequestSession(self.manager, lambda: cookie)).load()).copy()


async def test_the_cookie_contains_the_encrypted_record(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    cookie = await layer.store(None, a=1)
    later = await layer.store(cookie, b=[2])
    assert await layer.read(later) == {"a": 1, "b": [2]}
    assert await layer.read(cookie) == {"a": 1}  # an older cookie remains valid
    assert b"cart" not in urlsafe_b64decode(later + "==")


@pytest.mark.promise(5, backend="cookie")
async def test_changing_any_character_of_a_cookie_invalidates_it(clock: ManualClock) -> None:
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
async def test_other_cookie_values_are_rejected(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    old, new = new_secret(), new_secret()
    cookie = await CookieLayer(clock, old).store(None, a=1)
    plain = urlsafe_b64encode(json.dumps({"a": 1}).encode()).decode().rstrip("=")
    assert await CookieLayer(clock, new, old).read(cookie) == {"a": 1}
    for layer, value in [
        (CookieLayer(clock, new), cookie),  # a removed key
        (CookieLayer(clock, old, name="other"), cookie),  # another cookie's value
        (CookieLayer(clock, old), plain),
        (CookieLayer(clock, old), '{"a":1}'),
        (CookieLayer(clock, old), new_id()),
        (CookieLayer(clock, old), cookie + "="),
        (CookieLayer(clock, old), "\u00e9" * 50),
    ]:
        caplog.clear()
        assert await layer.read(value) == {}
        assert "Rejected a session cookie" in caplog.text
        assert value not in caplog.text
    assert await CookieLayer(clock, old).read("A" * 100_000) == {}


@pytest.mark.promise(8, backend="cookie")
async def test_the_cookie_contains_its_expiry(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    cookie = await layer.store(None, a=1)
    clock.advance(3600)
    assert await layer.read(cookie) == {"a": 1}
    clock.advance(360)
    assert await layer.read(cookie) == {}


async def test_keep_alive_and_rotation_change_the_cookie(clock: ManualClock) -> None:
    layer = CookieLayer(clock)
    cookie = await layer.store(None, a=1)
    clock.advance(400)
    kept = await layer.store(cookie)
    clock.advance(3600)
    assert await layer.read(kept) == {"a": 1}
    request_session = RequestSession(layer.manager, lambda: kept)
    session = await Session(request_session).load()
    before = session.id
    session.log_in("7")
    await session.save()
    assert session.id != before
    assert await layer.read(request_session.cookie() or "") == {"a": 1}
    session.destroy()
    await session.save()
    assert request_session.cleared
    assert request_session.cookie() is None


@pytest.mark.promise(11, backend="cookie")
async def test_a_cookie_never_exceeds_4096_bytes(clock: ManualClock) -> None:
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


async def test_encryption_at_rest_covers_the_data_not_the_header(clock: ManualClock) -> None:
    inner = MemoryStore(clock=clock)
    store = EncryptedStore(inner, KeyRing(new_secret()))
    layer = SessionLayer(store, clock)
    cookie = await layer.begin(cart="keyboard")
    held = await inner.load(key_from_id(cookie))
    assert held is not None
    assert b"keyboard" not in held.data
    assert held.expires == clock() + 3_960_000
    assert await layer.read(cookie) == {"cart": "keyboard"}
    session, request_session = await layer.load(cookie)
    session.regenerate()
    await session.save()
    tombstone = await store.load(key_from_id(cookie))
    assert tombstone is not None
    assert tombstone.is_tombstone
    assert await layer.read(request_session.cookie() or "") == {"cart": "keyboard"}
    assert isinstance(store, Listable)
    assert isinstance(store, Purgeable)
    assert [summary.key async for summary in store.scan()] == [key_from_id(request_session.cookie() or "")]


async def test_an_encrypted_record_is_bound_to_its_session_and_user(clock: ManualClock) -> None:
    inner = MemoryStore(clock=clock)
    store = EncryptedStore(inner, KeyRing(new_secret()))
    one, two = key_from_id(new_id()), key_from_id(new_id())
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
    with pytest.raises(UnreadableRecord):  # no fallback to plain data
        await store.load(one)
