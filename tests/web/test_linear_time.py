"""Parsers of request data take linear time, alone and in the whole application."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import APIRouter, Cookie
from pydantic import TypeAdapter
from starlette.datastructures import Headers

from cartapp.cart import parse_decimal, parse_price
from cartapp.messages import Message
from cartapp.session.cookies import CookieOptions, CookieWriter, cookie_values, read_cookie
from cartapp.web.account.browsers import browser_from_user_agent
from cartapp.web.i18n.formatter import formatter_for
from cartapp.web.i18n.languages import from_accept_language, from_cookie, page_language
from cartapp.web.middleware.cross_origin import parse_origin
from cartapp.web.negotiation import is_json_client, media_type
from cartapp.web.schemas.account_requests import own_path
from cartapp.web.schemas.types import (
    ProductName,
    parse_email,
    parse_int,
    parse_language_tag,
    parse_person_name,
)
from tests.support.linear_time import KIB, assert_linear, repeat, send_raw
from tests.support.shop import shop_app

pytestmark = pytest.mark.anyio

QUOTED = repeat("\\", 'x="', '"')
"""A cookie that the standard library unquotes in quadratic time before Python 3.11.10."""
COOKIES = {
    "quoted": QUOTED,
    "octal": repeat("\\054", 'x="', '"'),
    "ours": repeat("\\", '__Host-cart_session="', '"'),
    "language": repeat("\\", 'language="', '"'),
    "device": repeat("\\", '__Host-remember_me="', '"'),
    "many": repeat("__Host-cart_session=x; "),
    "different": lambda size: "; ".join(f"language={number}" for number in range(size // 16)),
    "blanks": repeat(" \t", "x="),
    "semicolons": repeat(";"),
    "equals": repeat("="),
    "nearly": repeat("__Host-cart_session"),
}


def split_cookie(text: str, size: int = 128) -> list[tuple[str, str]]:
    """Split a Cookie header into several lines, as HTTP/2 servers do."""
    return [("cookie", text[at : at + size]) for at in range(0, len(text), size)]


def raw(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]


def read_all(text: str) -> None:
    for headers in (raw([("cookie", text)]), raw(split_cookie(text))):
        cookie_values(headers, "language")
        read_cookie(headers, "__Host-cart_session")
        from_cookie(Headers(raw=headers))


@pytest.mark.parametrize("name", COOKIES)
async def test_cookie_reader(name: str) -> None:
    await assert_linear(read_all, COOKIES[name])


def field(parse: Callable[[object], Any]) -> Callable[[object], None]:
    def read(value: object) -> None:
        with suppress(ValueError):
            parse(value)

    return read


def small_int(value: object) -> int:
    return parse_int(value, 1, 100)


def parse_number(number: str) -> object:
    return parse_decimal(number)


PARSERS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    "accept-language commas": (from_accept_language, repeat(",")),
    "accept-language weights": (from_accept_language, repeat("de-AT;q=0.5, ")),
    "accept-language tag": (from_accept_language, repeat("-x", "x")),
    "accept-language weight": (from_accept_language, repeat("0", "de;q=0.")),
    "page language": (lambda text: page_language(text, Headers({"cookie": text})), repeat("a-")),
    "language name": (formatter_for("de").language_name, repeat("a-")),
    "language name of one part": (formatter_for("de").language_name, repeat("a")),
    "accept": (lambda text: is_json_client(Headers({"accept": text})), repeat("application/json+,")),
    "media type": (media_type, repeat(" ;")),
    "origin of dots": (parse_origin, repeat(".", "https://")),
    "origin of ports": (parse_origin, repeat(":1", "https://a")),
    "origin in brackets": (parse_origin, repeat(":", "https://[")),
    "own path": (own_path, repeat("/a")),
    "own path, refused at the end": (own_path, repeat("/a", after="\\")),
    "user agent": (browser_from_user_agent, repeat("Safar")),
    "user agent of one name": (browser_from_user_agent, repeat("a-")),
    "email dots": (field(parse_email), repeat("a.", "a@")),
    "email at signs": (field(parse_email), repeat("@")),
    "email marks": (field(parse_email), repeat("\u0301", "a@b")),
    "name": (field(parse_person_name), repeat("a ")),
    "blanks": (field(TypeAdapter(ProductName).validate_python), repeat(" ")),
    "whole number": (field(small_int), repeat("9")),
    "whole decimal": (lambda text: field(small_int)(parse_decimal(text)), repeat("0", "3.")),
    "price text": (field(parse_price), repeat("1", "1.")),
    "price": (lambda text: field(parse_price)(parse_decimal(text)), repeat("1", "1.")),
    "number": (parse_number, repeat("9")),
    "exponent": (parse_number, repeat("9", "1e")),
    "language tag": (field(parse_language_tag), repeat("-x")),
    "message of a product": (
        lambda text: formatter_for("de").translate(Message("{product}", product=text)),
        repeat("{product}"),
    ),
    "message of holes": (lambda text: str(Message(text, a="a")), repeat("{a}{")),
    "message of braces": (lambda text: str(Message(text, a="a")), repeat("{a")),
    "variants of a cookie": (
        lambda text: CookieWriter(CookieOptions(), https=False).expire_variants(
            {"headers": [(b"host", text.encode())], "path": f"/{text}"}, keep_own=False
        ),
        repeat("a."),
    ),
}


@pytest.mark.parametrize("name", PARSERS)
async def test_parser(name: str) -> None:
    await assert_linear(*PARSERS[name])


APP = shop_app(trusted_proxies="10.0.0.0/8,192.0.2.7")
PAGES = ("/", "/login", "/docs", "/api/get-language", "/nope", "/cart", "/dashboard", "/api/cart", "/inspect")


@pytest.mark.parametrize("name", ["quoted", "ours", "language", "device", "many"])
@pytest.mark.parametrize("path", PAGES)
async def test_cookies_through_the_application(path: str, name: str) -> None:
    async def get(headers: list[tuple[str, str]]) -> None:
        status, _, _ = await send_raw(APP, "GET", path, [("accept", "text/html"), *headers])
        assert status < 500

    await assert_linear(get, lambda size: [("cookie", COOKIES[name](size))])
    await assert_linear(get, lambda size: split_cookie(COOKIES[name](size)))


async def test_external_route_that_reads_cookies() -> None:
    router = APIRouter()

    @router.get("/outside")
    async def outside(x: str = Cookie("")) -> dict[str, str]:
        return {"x": x}

    app = shop_app()
    app.include_router(router)

    async def get(text: str) -> bytes:
        status, _, body = await send_raw(app, "GET", "/outside", [("cookie", text)])
        assert status == 200
        return body

    async with app.router.lifespan_context(app):
        await assert_linear(get, QUOTED)
        assert await get(r'x="a\054 \"b\""; y=z') == rb'{"x":"a, \"b\""}'
        assert await get("y=" + "\\" * KIB + "; x=kept") == b'{"x":"kept"}'


FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")
PAGE = ("accept", "text/html")
HEADERS: dict[str, tuple[str, str, list[tuple[str, str]], str, Callable[[int], str]]] = {
    "accept-language": ("GET", "/", [], "accept-language", repeat("de-AT;q=0.5, ")),
    "accept": ("GET", "/nope", [], "accept", repeat("text/html;q=0.5, ")),
    "origin": ("POST", "/cart/clear", [PAGE], "origin", repeat(".", "https://")),
    "host": ("POST", "/cart/clear", [PAGE, ("origin", "https://testserver")], "host", repeat("a.")),
    "content type": ("POST", "/api/cart/add", [], "content-type", repeat("application/json;")),
    "content length": ("POST", "/api/cart/add", [JSON], "content-length", repeat("9")),
    "range": ("GET", "/static/style.css", [], "range", repeat("0-0,", "bytes=")),
    "range of blanks": ("GET", "/static/style.css", [], "range", repeat(" ", "bytes=", "-")),
    "etag": ("GET", "/static/style.css", [], "if-none-match", repeat('"a",')),
    "date": ("GET", "/static/style.css", [], "if-modified-since", repeat("Mon, ")),
    "forwarded for": ("GET", "/", [], "x-forwarded-for", repeat("10.0.0.1, ")),
    "forwarded proto": ("GET", "/", [], "x-forwarded-proto", repeat("https, ")),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_headers_through_the_application(name: str) -> None:
    method, path, others, header, make = HEADERS[name]

    async def request(value: str) -> None:
        status, _, _ = await send_raw(APP, method, path, [*others, (header, value)])
        assert status < 500

    await assert_linear(request, make)


LOGIN = "email=a%40example.com&password=x&"
BODIES: dict[str, tuple[str, tuple[str, str], Callable[[int], str]]] = {
    "fields": ("/login", FORM, repeat("a=1&", LOGIN)),
    "escapes": ("/profile/update", FORM, repeat("%41", "name=")),
    "broken escapes": ("/profile/update", FORM, repeat("%", "name=")),
    "blanks": ("/profile/update", FORM, repeat("+", "name=")),
    "equals": ("/profile/update", FORM, repeat("=", "name=")),
    "email": ("/profile/update", FORM, repeat("a.", "email=a%40")),
    "language": ("/preferences", FORM, repeat("a-", "language=")),
    "next": ("/login", FORM, repeat("/a", "email=a&next=")),
    "lists": ("/api/cart/add", JSON, repeat("[")),
    "objects": ("/api/cart/add", JSON, repeat('{"a":')),
    "keys": (
        "/api/cart/add",
        JSON,
        lambda size: "{%s}" % ",".join(f'"k{n}":{n}' for n in range(size // 12)),  # noqa: UP031
    ),
    "integer": ("/api/cart/add", JSON, repeat("9", '{"product_id":', ',"name":"x","price":1}')),
    "decimals": ("/api/cart/add", JSON, repeat("1", '{"product_id":1,"name":"x","price":1.', "}")),
    "zeros": ("/api/cart/add", JSON, repeat("0", '{"product_id":1,"name":"x","price":1.', "}")),
    "exponent": ("/api/cart/add", JSON, repeat("9", '{"product_id":1,"name":"x","price":1e', "}")),
    "digits": ("/api/cart/add", JSON, repeat("9", '{"product_id":1,"name":"x","price":"', '"}')),
    "unicode": ("/api/cart/add", JSON, repeat("\\u0041", '{"product_id":1,"price":1,"name":"', '"}')),
    "surrogates": ("/api/cart/add", JSON, repeat("\\ud83d\\ude00", '{"product_id":1,"name":"', '"}')),
    "multipart": (
        "/profile/update",
        ("content-type", "multipart/form-data; boundary=b"),
        repeat("\r\n--b\r\n"),
    ),
}


@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize("name", BODIES)
async def test_bodies_through_the_application(name: str, piece: int) -> None:
    path, content_type, make = BODIES[name]

    async def request(body: str) -> None:
        status, _, _ = await send_raw(APP, "POST", path, [content_type, PAGE], body.encode(), piece=piece)
        assert status < 500

    await assert_linear(request, lambda size: make(size)[: 64 * KIB])


QUERIES: dict[str, tuple[str, Callable[[int], str]]] = {
    "fields": ("/", repeat("a=1&")),
    "page": ("/", repeat("1", "page=")),
    "next": ("/login", repeat("/a", "next=")),
    "escapes": ("/login", repeat("%41", "next=")),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_queries_through_the_application(name: str) -> None:
    path, make = QUERIES[name]

    async def request(query: str) -> None:
        status, _, _ = await send_raw(APP, "GET", path, [], query=query)
        assert status == 200

    await assert_linear(request, make)


PATHS: dict[str, tuple[str, Callable[[int], str]]] = {
    "product": ("DELETE", repeat("9", "/api/cart/")),
    "preference": ("DELETE", repeat("a", "/api/preferences/")),
    "handle": ("DELETE", repeat("A", "/account/sessions/")),
    "file": ("GET", repeat("a/", "/static/")),
    "dots": ("GET", repeat("../", "/static/")),
    "slashes": ("GET", repeat("/")),
}


@pytest.mark.parametrize("name", PATHS)
async def test_paths_through_the_application(name: str) -> None:
    method, make = PATHS[name]

    async def request(path: str) -> None:
        status, _, _ = await send_raw(APP, method, path, [PAGE])
        assert 400 <= status < 500

    await assert_linear(request, make)


async def test_assertion_detects_quadratic_work() -> None:
    def quadratic(text: str) -> object:
        return re.search("a*b", text)

    with pytest.raises(AssertionError, match="times as long as 1 KiB"):
        await assert_linear(quadratic, repeat("a"))
