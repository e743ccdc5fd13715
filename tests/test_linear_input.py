"""Every parser of request data takes linear time: each by itself, and through the whole application."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import APIRouter, Cookie
from starlette.datastructures import Headers

from cartapp.cart import decimal_of
from cartapp.session.cookies import CookieOptions, WrittenCookie, cookie_values, read_cookie
from cartapp.web.account_inputs import PersonName, own_path
from cartapp.web.browsers import browser_of
from cartapp.web.clients import is_json_client, media_type
from cartapp.web.fields import Email, Kind, LanguageTag, Price, Text, Whole
from cartapp.web.languages import from_accept_language, from_cookie, page_language
from cartapp.web.layers.cross_origin import parse_origin
from cartapp.web.routing import PageRoute
from cartapp.web.sentences import recognised
from cartapp.web.wording import wording

from .growth import KIB, assert_linear, repeated, send_raw
from .shop import shop_app

pytestmark = pytest.mark.anyio

QUOTED = repeated("\\", 'x="', '"')
"""A cookie that the standard library's unquoting takes quadratic time for, before Python 3.11.10."""
COOKIES = {
    "quoted": QUOTED,
    "octal": repeated("\\054", 'x="', '"'),
    "ours": repeated("\\", '__Host-cart_session="', '"'),
    "language": repeated("\\", 'language="', '"'),
    "device": repeated("\\", '__Host-remember_me="', '"'),
    "many": repeated("__Host-cart_session=x; "),
    "different": lambda size: "; ".join(f"language={number}" for number in range(size // 16)),
    "blanks": repeated(" \t", "x="),
    "semicolons": repeated(";"),
    "equals": repeated("="),
    "nearly": repeated("__Host-cart_session"),
}


def lines(text: str, size: int = 128) -> list[tuple[str, str]]:
    """A Cookie header in several lines, as servers of HTTP/2 pass it on."""
    return [("cookie", text[at : at + size]) for at in range(0, len(text), size)]


def raw(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]


def read_all(text: str) -> None:
    for headers in (raw([("cookie", text)]), raw(lines(text))):
        cookie_values(headers, "language")
        read_cookie(headers, "__Host-cart_session")
        from_cookie(Headers(raw=headers))


@pytest.mark.parametrize("name", COOKIES)
async def test_the_reader_of_cookies(name: str) -> None:
    await assert_linear(read_all, COOKIES[name])


def field(kind: Kind) -> Callable[[object], None]:
    def read(value: object) -> None:
        with suppress(ValueError):
            kind.read(value)

    return read


def unescaped(number: str) -> object:
    return decimal_of(number)


PARSERS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    "accept-language commas": (from_accept_language, repeated(",")),
    "accept-language weights": (from_accept_language, repeated("de-AT;q=0.5, ")),
    "accept-language tag": (from_accept_language, repeated("-x", "x")),
    "accept-language weight": (from_accept_language, repeated("0", "de;q=0.")),
    "page language": (lambda text: page_language(text, Headers({"cookie": text})), repeated("a-")),
    "language name": (wording("de").language_name, repeated("a-")),
    "language name of one part": (wording("de").language_name, repeated("a")),
    "accept": (lambda text: is_json_client(Headers({"accept": text})), repeated("application/json+,")),
    "media type": (media_type, repeated(" ;")),
    "origin of dots": (parse_origin, repeated(".", "https://")),
    "origin of ports": (parse_origin, repeated(":1", "https://a")),
    "origin in brackets": (parse_origin, repeated(":", "https://[")),
    "own path": (own_path, repeated("/a")),
    "own path, refused at the end": (own_path, repeated("/a", after="\\")),
    "user agent": (browser_of, repeated("Safar")),
    "user agent of one name": (browser_of, repeated("a-")),
    "email dots": (field(Email()), repeated("a.", "a@")),
    "email at signs": (field(Email()), repeated("@")),
    "email marks": (field(Email()), repeated("\u0301", "a@b")),
    "name": (field(PersonName()), repeated("a ")),
    "blanks": (field(Text(200)), repeated(" ")),
    "whole number": (field(Whole(1, 100, "")), repeated("9")),
    "whole decimal": (lambda text: field(Whole(1, 100, ""))(decimal_of(text)), repeated("0", "3.")),
    "price text": (field(Price()), repeated("1", "1.")),
    "price": (lambda text: field(Price())(decimal_of(text)), repeated("1", "1.")),
    "number": (unescaped, repeated("9")),
    "exponent": (unescaped, repeated("9", "1e")),
    "language tag": (field(LanguageTag()), repeated("-x")),
    "sentence with two holes": (recognised, repeated(") or JSON (", "The body must be a form (")),
    "sentence of fields": (recognised, repeated("a, ", after="a and a are required")),
    "sentence of fields, refused": (recognised, repeated("a, ")),
    "sentence of a product": (recognised, repeated("Added to your cart: ")),
    "sentence of a backend": (recognised, repeated(" backend cannot list sessions;", "The a")),
    "sentence of digits": (recognised, repeated("1", "quantity must be a whole number from ")),
    "sentence of keys": (
        recognised,
        repeated("the limit is 1; its largest keys: ", "The session "),
    ),
    "variants of a cookie": (
        lambda text: WrittenCookie(CookieOptions(), https=False).expire_variants(
            {"headers": [(b"host", text.encode())], "path": f"/{text}"}, keep_own=False
        ),
        repeated("a."),
    ),
}


@pytest.mark.parametrize("name", PARSERS)
async def test_a_parser(name: str) -> None:
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
    await assert_linear(get, lambda size: lines(COOKIES[name](size)))


async def test_a_route_from_outside_that_reads_cookies() -> None:
    router = APIRouter(route_class=PageRoute)

    @router.get("/outside")
    async def outside(x: str = Cookie("")) -> dict[str, str]:
        return {"x": x}

    app = shop_app()
    app.router.routes.extend(router.routes)

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
    "accept-language": ("GET", "/", [], "accept-language", repeated("de-AT;q=0.5, ")),
    "accept": ("GET", "/nope", [], "accept", repeated("text/html;q=0.5, ")),
    "origin": ("POST", "/cart/clear", [PAGE], "origin", repeated(".", "https://")),
    "host": ("POST", "/cart/clear", [PAGE, ("origin", "https://testserver")], "host", repeated("a.")),
    "content type": ("POST", "/api/cart/add", [], "content-type", repeated("application/json;")),
    "content length": ("POST", "/api/cart/add", [JSON], "content-length", repeated("9")),
    "range": ("GET", "/static/style.css", [], "range", repeated("0-0,", "bytes=")),
    "range of blanks": ("GET", "/static/style.css", [], "range", repeated(" ", "bytes=", "-")),
    "etag": ("GET", "/static/style.css", [], "if-none-match", repeated('"a",')),
    "date": ("GET", "/static/style.css", [], "if-modified-since", repeated("Mon, ")),
    "forwarded for": ("GET", "/", [], "x-forwarded-for", repeated("10.0.0.1, ")),
    "forwarded proto": ("GET", "/", [], "x-forwarded-proto", repeated("https, ")),
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
    "fields": ("/login", FORM, repeated("a=1&", LOGIN)),
    "escapes": ("/profile/update", FORM, repeated("%41", "name=")),
    "broken escapes": ("/profile/update", FORM, repeated("%", "name=")),
    "blanks": ("/profile/update", FORM, repeated("+", "name=")),
    "equals": ("/profile/update", FORM, repeated("=", "name=")),
    "email": ("/profile/update", FORM, repeated("a.", "email=a%40")),
    "language": ("/preferences", FORM, repeated("a-", "language=")),
    "next": ("/login", FORM, repeated("/a", "email=a&next=")),
    "lists": ("/api/cart/add", JSON, repeated("[")),
    "objects": ("/api/cart/add", JSON, repeated('{"a":')),
    "keys": (
        "/api/cart/add",
        JSON,
        lambda size: "{%s}" % ",".join(f'"k{n}":{n}' for n in range(size // 12)),  # noqa: UP031
    ),
    "integer": ("/api/cart/add", JSON, repeated("9", '{"product_id":', ',"name":"x","price":1}')),
    "decimals": ("/api/cart/add", JSON, repeated("1", '{"product_id":1,"name":"x","price":1.', "}")),
    "zeros": ("/api/cart/add", JSON, repeated("0", '{"product_id":1,"name":"x","price":1.', "}")),
    "exponent": ("/api/cart/add", JSON, repeated("9", '{"product_id":1,"name":"x","price":1e', "}")),
    "digits": ("/api/cart/add", JSON, repeated("9", '{"product_id":1,"name":"x","price":"', '"}')),
    "unicode": ("/api/cart/add", JSON, repeated("\\u0041", '{"product_id":1,"price":1,"name":"', '"}')),
    "surrogates": ("/api/cart/add", JSON, repeated("\\ud83d\\ude00", '{"product_id":1,"name":"', '"}')),
    "multipart": (
        "/profile/update",
        ("content-type", "multipart/form-data; boundary=b"),
        repeated("\r\n--b\r\n"),
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
    "fields": ("/", repeated("a=1&")),
    "page": ("/", repeated("1", "page=")),
    "next": ("/login", repeated("/a", "next=")),
    "escapes": ("/login", repeated("%41", "next=")),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_queries_through_the_application(name: str) -> None:
    path, make = QUERIES[name]

    async def request(query: str) -> None:
        status, _, _ = await send_raw(APP, "GET", path, [], query=query)
        assert status == 200

    await assert_linear(request, make)


PATHS: dict[str, tuple[str, Callable[[int], str]]] = {
    "product": ("DELETE", repeated("9", "/api/cart/")),
    "preference": ("DELETE", repeated("a", "/api/preferences/")),
    "handle": ("DELETE", repeated("A", "/account/sessions/")),
    "file": ("GET", repeated("a/", "/static/")),
    "dots": ("GET", repeated("../", "/static/")),
    "slashes": ("GET", repeated("/")),
}


@pytest.mark.parametrize("name", PATHS)
async def test_paths_through_the_application(name: str) -> None:
    method, make = PATHS[name]

    async def request(path: str) -> None:
        status, _, _ = await send_raw(APP, method, path, [PAGE])
        assert 400 <= status < 500

    await assert_linear(request, make)


async def test_the_measure_notices_quadratic_work() -> None:
    def quadratic(text: str) -> object:
        return re.search("a*b", text)

    with pytest.raises(AssertionError, match="times as long as 1 KiB"):
        await assert_linear(quadratic, repeated("a"))
