"""Validation of request bodies and paths: accepted variants, and the error for each invalid value."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.shop import KEYBOARD, browser, line, operations, running_app, shop

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        yield client


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (
            {**KEYBOARD, "product_id": "1", "price": "79.99", "quantity": "3"},
            line(KEYBOARD, 239.97, quantity=3),
        ),
        ({**KEYBOARD, "quantity": 2.0}, line(KEYBOARD, 159.98, quantity=2)),
        ({**KEYBOARD, "quantity": None}, line(KEYBOARD, 79.99)),
        ({**KEYBOARD, "price": 0}, line(KEYBOARD, 0.0, price=0.0)),
        ({**KEYBOARD, "price": 10}, line(KEYBOARD, 10.0, price=10.0)),
        ({**KEYBOARD, "price": 1_000_000}, line(KEYBOARD, 1e6, price=1e6)),
        ({**KEYBOARD, "product_id": 2**53 - 1}, line(KEYBOARD, 79.99, product_id=2**53 - 1)),
        ({**KEYBOARD, "name": "é" * 200, "added_at": "now"}, line(KEYBOARD, 79.99, name="é" * 200)),
        ({**KEYBOARD, "quantity": 10_000}, line(KEYBOARD, 799_900.0, quantity=10_000)),
    ],
)
async def test_accepted_bodies(
    client: httpx.AsyncClient, body: dict[str, Any], items: dict[str, Any]
) -> None:
    assert (await client.post("/api/cart/add", json=body)).json()["items"] == [items]


@pytest.mark.parametrize("type_", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_content_types(client: httpx.AsyncClient, type_: str) -> None:
    response = await client.post(
        "/api/cart/add", content=json.dumps(KEYBOARD), headers={"Content-Type": type_}
    )
    assert response.status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, JSON])
async def test_an_empty_body_needs_no_content_type(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.post("/api/preferences", headers=headers)).status_code == 200
    missing = await client.post("/api/cart/add", headers=headers)
    assert (missing.status_code, missing.json()) == (
        400,
        {"error": "product_id, name, and price are required"},
    )


REQUIRED = "product_id, name, and price are required"
PRODUCT = "product_id must be a whole number from 1 to 9007199254740991"
QUANTITY = "quantity must be a whole number from 1 to 10000"
PRICE = "price must be a number from 0 to 1000000 with at most two decimals"
NAME = "name must be text of 1 to 200 characters"
NOT_WHOLE = [True, False, 1.5, "1.5", "1e3", " 3", "3 ", "+3", "٣", "3\n", "", [], {}, [1], -1, "-1", 10**25]
RAW_NOT_WHOLE = [
    "1e999999999",
    "1E-999999999",
    "1e1000000000000000000",
    "1e-1999999999999999999",
    "1e400",
    "123456789012345678901234567890123",
    '"' + "9" * 99 + '"',
]


def bad_bodies() -> list[tuple[str, str]]:
    """Return bodies of /api/cart/add with their error messages."""
    cases: list[tuple[str, str]] = []

    def case(field: str, values: list[Any], sentence: str) -> None:
        cases.extend((json.dumps({**KEYBOARD, field: value}), sentence) for value in values)

    for field in ("product_id", "name", "price"):
        case(field, [None], REQUIRED)
        cases.append((json.dumps({key: KEYBOARD[key] for key in KEYBOARD if key != field}), REQUIRED))
    case("product_id", [0, "0", 2**53, str(2**53), *NOT_WHOLE], PRODUCT)
    case("quantity", [0, "0", 10_001, "10001", *NOT_WHOLE], QUANTITY)
    case("price", [-0.01, -1, 1_000_000.01, 79.999, 0.001, 1e-7, True, "", "1e3", " 1", "abc", [], {}], PRICE)
    case("price", ["79.999", "NaN", "Infinity", "-1", "1_0", "٣", 10**25], PRICE)
    case("name", ["", " ", "\t\n", "x" * 201, 5, True, [], {}], NAME)
    for raw in RAW_NOT_WHOLE:
        for field, sentence in (("product_id", PRODUCT), ("quantity", QUANTITY), ("price", PRICE)):
            cases.append((json.dumps({**KEYBOARD, field: "@"}).replace('"@"', raw), sentence))
    return cases


@pytest.mark.parametrize(("body", "sentence"), bad_bodies())
async def test_invalid_field_is_named(client: httpx.AsyncClient, body: str, sentence: str) -> None:
    response = await client.post("/api/cart/add", content=body, headers=JSON)
    assert (response.status_code, response.json()) == (400, {"error": sentence})
    assert not client.cookies  # nothing was stored


async def test_several_invalid_fields_are_listed(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/cart/add", json={"product_id": 0, "name": "", "price": "x"})
    assert response.json() == {
        "error": PRODUCT,
        "details": [
            {"field": "product_id", "error": PRODUCT},
            {"field": "name", "error": NAME},
            {"field": "price", "error": PRICE},
        ],
    }


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"1", b'"x"', b"null", b"true", b"{", b"{}{}", b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}',
        b'{"a": -Infinity}', b"\xef\xbb\xbf{}", b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\\ud800"}', b"[" * 60_000,
        b'{"a":' * 10_000, b'{"a": ' + b"9" * 60_000 + b"}", b" ", b"\x00", b'{"a": "\n"}',
        '{"a": 1}'.encode("utf-16"), b"quantity=1",
    ],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
async def test_body_must_be_one_json_object(client: httpx.AsyncClient, body: bytes) -> None:
    for method, path in (("POST", "/api/cart/add"), ("PUT", "/api/cart/1"), ("POST", "/api/session/clear")):
        response = await client.request(method, path, content=body, headers=JSON)
        assert response.status_code == 400
        assert list(response.json()) == ["error"]


OTHER_TYPES = (
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "text/json",
    "application/problem+json",
    "application/jsonx",
    "",
)


async def test_json_routes_reject_other_content_types() -> None:
    async with running_app() as app, browser(app) as client:
        routes = [(m, p) for m, p in operations(app) if p.startswith("/api/") and m != "GET"]
        assert len(routes) == 9
        for method, path in routes:
            for type_ in OTHER_TYPES:
                response = await client.request(method, path, content="{}", headers={"Content-Type": type_})
                assert (response.status_code, list(response.json())) == (415, ["error"]), (path, type_)
        assert not client.cookies


@pytest.mark.parametrize(
    "path",
    ["0", "-1", "1.0", "1.5", "abc", "added", "true", "01x", "9007199254740992", "٣", "1e3", "9" * 5000],
)
async def test_invalid_product_id_in_path_returns_404(client: httpx.AsyncClient, path: str) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    for response in (
        await client.put(f"/api/cart/{path}", json={"quantity": 1}),
        await client.delete(f"/api/cart/{path}"),
        await client.put(f"/api/cart/{path}", json={"quantity": "bad"}),
    ):
        assert (response.status_code, response.json()) == (404, {"error": "Product not in cart"})


async def test_product_not_in_cart_returns_404(client: httpx.AsyncClient) -> None:
    for response in (
        await client.put("/api/cart/1", json={"quantity": 0}),
        await client.delete("/api/cart/1"),
    ):
        assert (response.status_code, response.json()) == (404, {"error": "Product not in cart"})


@pytest.mark.parametrize("body", [{}, {"quantity": None}])
async def test_quantity_is_required(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    response = await client.put("/api/cart/1", json=body)
    assert (response.status_code, response.json()) == (400, {"error": "quantity is required"})
    assert (await client.put("/api/cart/1", json={"quantity": 10_001})).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"language": "e"}, {"language": "en_US"}, {"language": "en-" + "x" * 33}, {"language": 5},
        {"language": ""}, {"language": "en-US-"}, {"language": "ſr"}, {"theme": "blue"}, {"theme": 1},
        {"theme": "LIGHT"}, {"items_per_page": 0}, {"items_per_page": 101}, {"items_per_page": "many"},
    ],
)  # fmt: skip
async def test_invalid_preferences_change_nothing(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    chosen = {"language": "de-CH-1996", "theme": "auto", "items_per_page": 7}
    await client.post("/api/preferences", json=chosen)
    response = await client.post("/api/preferences", json=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{next(iter(body))} must be ")
    assert (await client.get("/api/preferences")).json() == chosen


async def test_unknown_preference_returns_404(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    for key in ("cart", "_flash", "x", "Theme"):
        assert (await client.delete(f"/api/preferences/{key}")).status_code == 404
    assert (await client.get("/api/cart")).json()["item_count"] == 1
