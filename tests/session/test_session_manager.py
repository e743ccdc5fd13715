"""`SessionManager`: one object for the middleware, `Sessions`, the inspector and the lifespan."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import httpx2 as httpx
import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from cartapp.session import (
    CookieOptions,
    Hooks,
    InvalidStoreURL,
    KeyRing,
    SessionManager,
    SessionMiddleware,
    SessionPolicy,
    Sessions,
    StoreNotSupported,
    StoreUnavailable,
    is_strong,
    new_secret,
    open_store,
    session_lifespan,
)
from cartapp.session.admin import SessionInspector
from cartapp.session.errors import StoreTimeout
from cartapp.session.manager import SessionOptions
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from cartapp.session.stores.wrappers.encryption import EncryptedStore
from cartapp.session.stores.wrappers.instrumentation import InstrumentedStore
from cartapp.session.testing import FaultyStore
from tests.conftest import ManualClock
from tests.support.starlette_app import CountingStore

pytestmark = pytest.mark.anyio


def create_app(middleware_options: dict[str, Any], **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_middleware(SessionMiddleware, **middleware_options)

    @app.get("/visits")
    async def count_visit(request: Request) -> int:
        visits: int = request.session.setdefault("visits", 0) + 1
        request.session["visits"] = visits
        return visits

    return app


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop.example")


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[SessionManager, httpx.AsyncClient]]:
    manager = SessionManager(options.pop("store", "memory://"), **options)
    async with client(create_app({"manager": manager})) as http:
        yield manager, http


async def test_sessions_and_middleware_share_a_manager() -> None:
    deleted: list[str] = []
    hooks = Hooks(on_deleted=lambda handle, data: deleted.append(handle))
    async with running(policy=SessionPolicy(hooks=hooks)) as (manager, http):
        assert [(await http.get("/visits")).json() for _ in range(2)] == [1, 2]
        (info,) = [info async for info in Sessions(manager).find()]
        found = await Sessions(manager).get(info.handle)
        assert found is not None
        assert found.data == {"visits": 2}
        assert await Sessions(manager).end(info.handle)
        assert deleted == [info.handle]
        assert (await http.get("/visits")).json() == 1


@pytest.mark.parametrize("store", ["memory://", open_store("memory://")], ids=["URL", "store"])
async def test_the_middleware_accepts_a_store_or_its_url(store: Any) -> None:
    async with client(create_app({"store": store, "ttl": 60, "cookie": CookieOptions("sid")})) as http:
        assert [(await http.get("/visits")).json() for _ in range(2)] == [1, 2]
        assert "__Host-sid" in http.cookies


async def test_the_cookie_store_uses_the_same_interface() -> None:
    keys = KeyRing(new_secret())
    async with running(store="cookie://", keys=keys, cookie=CookieOptions("sid")) as (manager, http):
        assert [(await http.get("/visits")).json() for _ in range(2)] == [1, 2]
        await manager.ping()
        with pytest.raises(StoreNotSupported):
            await Sessions(manager).clear()


async def test_keys_encrypt_the_data_in_a_store() -> None:
    store = MemoryStore()
    async with running(store=store, keys=KeyRing(new_secret())) as (manager, http):
        await http.get("/visits")
        (info,) = [info async for info in Sessions(manager).find()]
        record = await store.load(info.handle)
        assert record is not None
        assert b"visits" not in record.data
        readable = await Sessions(manager).get(info.handle)
        assert readable is not None
        assert readable.data == {"visits": 1}


async def test_the_inspector_leaves_a_session_unchanged(clock: ManualClock) -> None:
    store = CountingStore(clock=clock)
    async with running(store=store, clock=clock) as (manager, http):
        await http.get("/visits")
        clock.advance(400)  # a keep-alive is due
        cookie = f"__Host-cart_session={http.cookies['__Host-cart_session']}".encode()
        scope = {"scheme": "https", "headers": [(b"cookie", cookie)]}
        inspector = SessionInspector(manager)
        store.calls.clear()
        report = inspector.report(await inspector.load(scope))
        assert store.calls == ["load"]
        assert report is not None
        assert report.handle == inspector.handle(scope)
        assert [(value.key, value.stored, value.size) for value in report.values] == [("visits", 1, 1)]
        assert (report.idle_seconds, report.size_limit) == (400, 65536)
        assert inspector.report(await inspector.load({"scheme": "https", "headers": []})) is None
        name, attributes = inspector.cookie_attributes(scope)
        assert name == "__Host-cart_session"
        assert "Secure" in attributes


class ClosableStore(MemoryStore):
    """A store that notes when it was purged and closed."""

    is_closed = False

    def __init__(self) -> None:
        super().__init__()
        self.purged = asyncio.Event()

    async def purge(self, now: int) -> int:
        self.purged.set()
        return 0

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("sweep", [True, False])
async def test_the_lifespan_sweeps_and_closes_the_store(sweep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartapp.session.admin.sweeper.random.uniform", lambda *_: 0.0)
    store = ClosableStore()
    async with session_lifespan(SessionManager(store), sweep=sweep):
        async with asyncio.timeout(5):
            if sweep:
                await store.purged.wait()
        assert not store.is_closed
    assert store.is_closed
    assert store.purged.is_set() is sweep


def test_the_lifespan_of_an_application() -> None:
    store = ClosableStore()
    manager = SessionManager(store)
    app = create_app({"manager": manager}, lifespan=lambda _: session_lifespan(manager))
    with TestClient(app, base_url="https://shop.example") as http:
        assert http.get("/visits").json() == 1
        assert not store.is_closed
    assert store.is_closed


async def test_a_ping_fails_at_once_while_the_circuit_breaker_is_open() -> None:
    class HangingStore(MemoryStore):
        async def ping(self) -> None:
            raise StoreTimeout("The store did not respond within 2 seconds.")

    changes: list[bool] = []
    manager = SessionManager(HangingStore(), on_breaker=changes.append)
    with pytest.raises(StoreUnavailable, match="within"):
        await manager.ping()
    with pytest.raises(StoreUnavailable, match="waiting for a probe"):
        await manager.ping()
    assert changes == [True]


ALL_OPTIONS = (
    "manager, store, load, skip, data, error_response, ttl, max_age, max_bytes, timeout, eager, is_current, "
    "hooks, cookie, keys, clock, on_count"
)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ttl": 0}, "SessionPolicy.ttl: expected seconds above 0, at most 315360000 (ten years), got 0."),
        ({"ttl": "1h"}, "SessionPolicy.ttl: expected a number of seconds, got '1h'."),
        ({"max_age": -1}, "SessionPolicy.max_age: expected seconds above 0"),
        ({"timeout": float("nan")}, "SessionPolicy.timeout: expected seconds above 0"),
        ({"timeout": True}, "SessionPolicy.timeout: expected a number of seconds, got True."),
        ({"ttl": timedelta(0)}, "SessionPolicy.ttl: expected seconds above 0"),
        ({"max_age": timedelta(days=4000)}, "SessionPolicy.max_age: expected seconds above 0, at most"),
        ({"max_bytes": 0}, "SessionPolicy.max_bytes: expected a whole number of bytes above 0, got 0."),
        ({"max_bytes": 1.5}, "SessionPolicy.max_bytes: expected a whole number of bytes above 0, got 1.5."),
        ({"is_current": 1}, "SessionPolicy.is_current: expected an async function (user_id, epoch), got 1."),
        ({"hooks": print}, "SessionPolicy.hooks: expected Hooks(…)"),
        ({"cookie": "sid"}, "SessionManager: cookie: expected CookieOptions(…), got 'sid'."),
        ({"keys": "secret"}, "SessionManager: keys: expected KeyRing(secret), got str."),
        (
            {"store": None},
            'SessionMiddleware: expected a manager or a store, for example store="memory://".',
        ),
        ({"store": 7}, "SessionManager: expected a store or a URL such as redis://localhost, got 7."),
        ({"store": "nosuch://"}, "No session store for nosuch"),
        (
            {"store": "cookie://"},
            "SessionManager: cookie:// needs keys=KeyRing(secret), to encrypt sessions.",
        ),
        ({"tll": 60}, f"Unknown session option tll; expected one of {ALL_OPTIONS}."),
        ({"store": None, "secret_key": "x"}, "Unknown session option secret_key; expected one of manager,"),
        (
            {"manager": SessionManager("memory://"), "store": None, "secret_key": "x"},
            "Unknown session option secret_key; expected one of manager,",
        ),
        ({"load": "lazy"}, "SessionMiddleware: load: expected 'auto' or 'explicit', got 'lazy'."),
        ({"skip": "/static"}, "SessionMiddleware: skip: expected a list of path prefixes, got '/static'."),
        ({"manager": "redis://"}, "SessionMiddleware: manager: expected SessionManager(…), got 'redis://'."),
        (
            {"manager": SessionManager("memory://"), "ttl": 60},
            "SessionMiddleware: pass store, ttl to SessionManager.from_options, not along with a manager.",
        ),
    ],
)
def test_bad_arguments_raise_one_clear_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError, InvalidStoreURL)) as caught:
        SessionMiddleware(FastAPI(), **{"store": "memory://", **options})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "a b"}, "CookieOptions.name: expected a cookie name (RFC 6265), got 'a b'."),
        ({"name": ""}, "CookieOptions.name: expected a cookie name (RFC 6265), got ''."),
        ({"name": "__Secure-sid"}, "CookieOptions.name: expected no __Secure- prefix without secure=True"),
        ({"name": "__Host-sid"}, "CookieOptions.name: expected no __Host- prefix without secure=True"),
        (
            {"same_site": "lax"},
            "CookieOptions.same_site: expected Lax, Strict or None as a string, got 'lax'.",
        ),
        ({"same_site": "None"}, "CookieOptions: same_site='None' needs secure=True"),
        (
            {"partitioned": True, "secure": False},
            "CookieOptions: partitioned=True needs Secure: browsers reject it otherwise.",
        ),
        ({"partitioned": 1}, "CookieOptions.partitioned: expected True or False, got 1."),
        ({"persistent": None}, "CookieOptions.persistent: expected True or False, got None."),
        ({"http_only": "yes"}, "CookieOptions.http_only: expected True or False, got 'yes'."),
        ({"secure": "yes"}, "CookieOptions.secure: expected True, False or 'auto', got 'yes'."),
        ({"domain": "a;b"}, "CookieOptions.domain: expected a domain such as example.org, got 'a;b'."),
        (
            {"path": "shop"},
            "CookieOptions.path: expected a path such as /shop, without blanks and ;, got 'shop'.",
        ),
        ({"path": "/; Secure"}, "CookieOptions.path: expected a path such as /shop"),
    ],
)
def test_bad_cookie_options_raise_one_clear_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^CookieOptions") as caught:
        CookieOptions(**options)
    assert str(caught.value).startswith(sentence)


def test_the_advice_of_error_messages_works() -> None:
    SessionMiddleware(FastAPI(), store="memory://")
    manager = SessionManager.from_options(store="memory://", ttl=60)
    assert SessionMiddleware(FastAPI(), manager).manager.policy.ttl == 60
    named = {*inspect.signature(SessionMiddleware).parameters} - {"app", "options"}
    assert {*ALL_OPTIONS.split(", ")} == named | SessionOptions.__annotations__.keys()


WRAPPERS: dict[str, Callable[[Any], object]] = {
    "FaultyStore": FaultyStore,
    "CircuitBreakerStore": CircuitBreakerStore,
    "EncryptedStore": lambda store: EncryptedStore(store, KeyRing(new_secret())),
    "InstrumentedStore": lambda store: InstrumentedStore(store, print),
}


@pytest.mark.parametrize(
    ("store", "given"),
    [("redis://:password@host", "a string"), (None, "None"), (MemoryStore, repr(MemoryStore))],
    ids=["URL", "None", "class"],
)
@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_accept_only_a_store(name: str, store: object, given: str) -> None:
    with pytest.raises(TypeError) as caught:
        WRAPPERS[name](store)
    assert str(caught.value) == f"{name}: expected a store such as open_store(url), got {given}."


def test_wrappers_check_their_other_arguments() -> None:
    store, text = open_store("memory://"), cast("Any", "s3cret")
    with pytest.raises(TypeError, match=r"^EncryptedStore: keys: expected KeyRing\(secret\), got str\.$"):
        EncryptedStore(store, text)
    with pytest.raises(TypeError, match=r"^InstrumentedStore: on_call: expected a function \(call\), got"):
        InstrumentedStore(store, text)


def test_durations_are_seconds_or_timedeltas() -> None:
    given = SessionPolicy(timedelta(minutes=30), timedelta(days=1), timeout=timedelta(milliseconds=500))
    assert (given.ttl, given.max_age, given.timeout) == (1800, 86400, 0.5)
    manager = SessionManager.from_options("memory://", ttl=timedelta(minutes=30))
    assert (manager.policy.ttl, manager.policy.touch_interval) == (1800, 180_000)
    open_store("memory://", timeout=timedelta(seconds=1), max_age=timedelta(days=1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"timeout": 0}, r"open_store: timeout: expected seconds above 0"),
        ({"max_age": "1d"}, r"open_store: max_age: expected a number of seconds, got '1d'\."),
        ({"pool_size": 0}, r"open_store: pool_size: expected a whole number above 0, got 0\."),
        ({"pool_size": "5"}, r"open_store: pool_size: expected a whole number above 0, got '5'\."),
        ({"url": 5}, r"open_store: expected a URL such as redis://localhost, got 5\."),
    ],
)
def test_bad_arguments_of_a_store_raise_one_clear_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{sentence}"):
        open_store(**{"url": "memory://", **options})


NUMBER: Any = 5
TEXT: Any = "redis://:a-password@host"


@pytest.mark.parametrize(
    ("create", "sentence"),
    [
        (lambda: KeyRing(NUMBER), "A secret must be 43 base64url characters"),
        (lambda: Hooks(on_started=NUMBER), "Hooks.on_started: expected a function, got 5."),
        (lambda: Sessions(TEXT), "Sessions: expected a SessionManager or a store, got a str"),
        (lambda: SessionManager("memory://", keys=TEXT), "SessionManager: keys: expected KeyRing(secret)"),
    ],
    ids=["KeyRing", "Hooks", "Sessions", "SessionManager"],
)
def test_wrong_types_raise_one_clear_sentence_without_a_secret(
    create: Callable[[], object], sentence: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        create()
    assert str(caught.value).startswith(sentence)
    assert "a-password" not in str(caught.value)


def test_a_new_secret_is_strong() -> None:
    assert is_strong(new_secret())
    assert not is_strong("a" * 43)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": None}, "SessionMiddleware: skip: expected a list of path prefixes, got None."),
        ({"skip": [""]}, "SessionMiddleware: skip: expected prefixes such as /static, got ''."),
        ({"skip": ["static"]}, "SessionMiddleware: skip: expected prefixes such as /static, got 'static'."),
        ({"skip": [1]}, "SessionMiddleware: skip: expected prefixes such as /static, got 1."),
        ({"data": "Shop"}, "SessionMiddleware: data: expected a class, got 'Shop'."),
        (
            {"error_response": 5},
            "SessionMiddleware: error_response: expected a function (scope, error), got 5.",
        ),
        ({"clock": 5}, "SessionManager: clock: expected a function, got 5."),
        ({"on_count": 5}, "SessionManager: on_count: expected a function, got 5."),
        ({"eager": "yes"}, "SessionPolicy.eager: expected True or False, got 'yes'."),
    ],
)
def test_an_impossible_argument_is_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        SessionMiddleware(FastAPI(), store="memory://", **options)
    assert str(raised.value) == message


def test_a_class_is_no_store() -> None:
    with pytest.raises(TypeError, match=r"^SessionManager: expected a store or a URL"):
        SessionManager(MemoryStore)  # type: ignore[arg-type]


async def test_the_lifespan_takes_a_manager_only() -> None:
    with pytest.raises(
        TypeError, match=r"^session_lifespan: expected SessionManager\(…\), got 'memory://'\.$"
    ):
        async with session_lifespan("memory://"):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("options", [{"domain": 5}, {"path": None}, {"secure": 1}])
def test_a_cookie_option_of_another_type_is_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^CookieOptions.{next(iter(options))}: expected "):
        CookieOptions(**options)
