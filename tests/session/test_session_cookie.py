"""The session cookie: attributes, and which values are accepted."""

import pytest

from cartapp.session import CookieOptions
from cartapp.session.record import key_from_id, new_id
from tests.conftest import ManualClock
from tests.support.starlette_app import AppFactory, CountingStore, client, with_cookie

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock=clock)


async def test_the_cookie_is_secure_and_host_only_on_https(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        header = (await http.post("/update", json={"a": 1})).headers["set-cookie"]
    name, _, rest = header.partition("=")
    assert name == "__Host-cart_session"
    assert len(rest.partition(";")[0]) == 43
    assert rest.partition("; ")[2] == "Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure"


async def test_the_cookie_has_no_prefix_on_http(wrap: AppFactory) -> None:
    async with client(wrap(), "http://127.0.0.1") as http:
        header = (await http.post("/update", json={"a": 1})).headers["set-cookie"]
    assert header.startswith("cart_session=")
    assert header.endswith("; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax")


async def test_each_scheme_reads_its_own_name_only(wrap: AppFactory) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    for base, name, known in [
        ("https://testserver", "__Host-cart_session", True),
        ("https://testserver", "cart_session", False),
        ("http://testserver", "cart_session", True),
        ("http://testserver", "__Host-cart_session", False),
    ]:
        async with client(app, base) as http:
            response = await http.get("/view", headers={"Cookie": f"{name}={cookie}"})
            assert bool(response.json()["session"]) is known


@pytest.mark.parametrize(
    ("options", "https", "expected"),
    [
        (CookieOptions(domain="shop.example"), True, "s=v; Path=/; Max-Age=9; Domain=shop.example"),
        (CookieOptions(path="/shop"), True, "s=v; Path=/shop; Max-Age=9"),
        (CookieOptions(secure=True), False, "s=v; Path=/; Max-Age=9"),
        (CookieOptions(secure=False), True, "s=v; Path=/; Max-Age=9"),
    ],
)
def test_other_cookies_have_no_host_prefix(options: CookieOptions, https: bool, expected: str) -> None:
    header = options.format("v", 9, https=https).replace("cart_session", "s")
    assert header.startswith(expected)
    assert header.endswith("Secure") is (options.secure is True or (options.secure == "auto" and https))


async def test_a_cookie_that_ends_with_the_browser_has_no_max_age(wrap: AppFactory) -> None:
    async with client(wrap(cookie=CookieOptions(persistent=False))) as http:
        header = (await http.post("/update", json={"a": 1})).headers["set-cookie"]
        assert header.partition("; ")[2] == "Path=/; HttpOnly; SameSite=Lax; Secure"
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
        assert "; Max-Age=0; " in (await http.post("/destroy")).headers["set-cookie"]


@pytest.mark.parametrize(
    ("base_url", "partitioned"), [("https://testserver", True), ("http://testserver", False)]
)
async def test_partitioned_is_set_with_secure_only(
    base_url: str, partitioned: bool, wrap: AppFactory
) -> None:
    async with client(wrap(cookie=CookieOptions(partitioned=True)), base_url) as http:
        header = (await http.post("/update", json={"a": 1})).headers["set-cookie"]
    assert header.endswith("; SameSite=Lax; Secure; Partitioned") is partitioned
    assert ("Partitioned" in header) is partitioned


async def test_a_cookie_from_before_partitioning_is_expired(wrap: AppFactory) -> None:
    values = f"__Host-cart_session={new_id()}; __Host-cart_session={new_id()}"
    async with client(wrap(cookie=CookieOptions(partitioned=True))) as http:
        response = await http.post("/update", json={"a": 1}, headers={"Cookie": values})
    expired, own = response.headers.get_list("set-cookie")
    assert expired == "__Host-cart_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
    assert own.endswith("; Secure; Partitioned")


async def test_malformed_ids_never_reach_the_store(wrap: AppFactory, store: CountingStore) -> None:
    good = new_id()
    odd = [
        "",
        "../../x",
        "x" * 251,
        "x" * 10_000,
        good + "=",
        '"' + good + '"',
        good[:-1],
        good[:-1] + "B",
        good[:-1] + "\u00e9",
        " " + good[1:],
        good[:-1] + "%",
        "null",
    ]
    async with client(wrap()) as http:
        for value in odd:
            headers = [(b"cookie", b"__Host-cart_session=" + value.encode("latin-1"))]
            response = await http.get("/view", headers=headers)
            assert (response.status_code, response.json()) == (200, {"session": {}})
            assert "set-cookie" not in response.headers
        for raw in (b"\x00", b"a\r\nb", b"\xff" * 43):
            headers = [(b"cookie", b"__Host-cart_session=" + raw)]
            assert (await http.get("/view", headers=headers)).status_code == 200
    assert store.calls == []


async def test_two_different_cookies_count_as_none(
    wrap: AppFactory, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    store.calls.clear()
    pair, other = f"__Host-cart_session={cookie}", f"__Host-cart_session={new_id()}"
    async with client(app) as http:
        for headers in ([("Cookie", f"{pair}; {other}")], [("Cookie", pair), ("Cookie", other)]):
            response = await http.get("/view", headers=headers)
            assert response.json() == {"session": {}}
            assert response.headers.get_list("set-cookie") == [
                "__Host-cart_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
            ]
    assert store.calls == []
    assert len([line for line in caplog.messages if "2 different cookies" in line]) == 2


async def test_a_repeated_value_counts_as_one_cookie(
    wrap: AppFactory, caplog: pytest.LogCaptureFixture
) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    pair = f"__Host-cart_session={cookie}"
    async with client(app) as http:
        for headers in ([("Cookie", f"{pair}; {pair}")], [("Cookie", pair), ("Cookie", pair)]):
            response = await http.get("/view", headers=headers)
            assert response.json() == {"session": {"a": 1}}
            assert "set-cookie" not in response.headers
    assert not caplog.messages


async def test_other_cookies_are_ignored(wrap: AppFactory) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    async with client(app) as http:
        mixed = f'x="a; b"; not__Host-cart_session=1;\t__Host-cart_session={cookie} ; __Host-cart_session2=y'
        assert (await http.get("/view", headers={"Cookie": mixed})).json() == {"session": {"a": 1}}
        lookalike = f"\u00a0__Host-cart_session={cookie}".encode("latin-1")
        assert (await http.get("/view", headers=[(b"cookie", lookalike)])).json() == {"session": {}}


async def test_a_store_key_is_not_a_valid_cookie(wrap: AppFactory) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    async with client(app) as http:
        response = await http.get("/view", headers=with_cookie(key_from_id(cookie)))
        assert response.json() == {"session": {}}


async def test_destroy_clears_the_cookie_with_the_same_attributes(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        header = (await http.post("/destroy")).headers["set-cookie"]
        assert header == "__Host-cart_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
        assert (await http.get("/view")).json() == {"session": {}}


async def test_an_unknown_id_neither_sets_nor_clears_a_cookie(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        for method, path in (("GET", "/view"), ("POST", "/destroy"), ("POST", "/clear"), ("POST", "/rotate")):
            response = await http.request(method, path, headers=with_cookie(new_id()))
            assert response.status_code == 200
            assert "set-cookie" not in response.headers


async def test_a_former_id_gets_409_and_no_cookie(wrap: AppFactory) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
        assert "set-cookie" in (await http.post("/rotate")).headers
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
    async with client(app) as late:
        response = await late.post("/update", json={"b": 1}, headers=with_cookie(cookie))
        assert response.status_code == 409
        assert response.json() == {
            "error": "This session was ended or rotated by another request; this change was not saved."
        }
        assert "set-cookie" not in response.headers
