"""Valid, nearly valid and invalid HTTP inputs: each kind is a function of a seeded `Random`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

PATHS = (
    *("/", "/api/cart", "/visit-counter", "/healthz", "/readyz", "/docs", "/login", "/profile", "/nowhere"),
    *("/static/style.css", "/api/get-language", "/openapi.json", "/account/sessions", "/dashboard"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BODIES = (
    b'{"product_id": 1, "name": "Keyboard", "price": 79.99}', b"{}", b"[]", b"product_id=1&name=a", b"\xff",
)  # fmt: skip
TYPES = (
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/\xff",
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """Data for one connection, sent in pieces; with `waits_for_close` the client waits for the server."""

    pieces: tuple[bytes, ...]
    waits_for_close: bool = False


def noise(random: Random, most: int) -> bytes:
    return random.randbytes(random.randint(1, most))


def request(
    *lines: bytes, method: str = "GET", path: str = "/api/cart", body: bytes = b"", host: bool = True
) -> bytes:
    head = [f"{method} {path} HTTP/1.1".encode(), *([b"Host: shop.example"] if host else []), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def any_request(random: Random) -> bytes:
    """Return a valid request."""
    if random.random() < 0.6:
        return request(path=random.choice(PATHS), method=random.choice(("GET", "HEAD", "OPTIONS")))
    body = random.choice(BODIES)
    lines = (b"Content-Length: %d" % len(body), f"Content-Type: {random.choice(TYPES)}".encode("latin-1"))
    path = random.choice(("/api/cart/add", "/cart/add", "/api/set-language", *PATHS))
    return request(*lines, method=random.choice(METHODS), path=path, body=body)


def post(random: Random, *lines: bytes, body: bytes) -> bytes:
    """Return a POST to a route that reads the body (400 for most) or to an unknown path (404)."""
    path = random.choice(("/api/cart/add", "/nowhere"))
    return request(*lines, b"Content-Type: application/json", method="POST", path=path, body=body)


def noise_only(random: Random) -> bytes:
    return noise(random, 2_000)


def other_protocols(random: Random) -> bytes:
    starts = (
        b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x\r\n", b"EHLO x\r\n",
    )  # fmt: skip
    return random.choice(starts) + noise(random, 200)


def flipped_bytes(random: Random) -> bytes:
    data = bytearray(any_request(random))
    for _ in range(random.randint(1, 5)):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def request_lines(random: Random) -> bytes:
    methods = ("get", "G\x00T", "", "CONNECT", "TRACE", "M-SEARCH", "A" * 300, "GET ", "PROPFIND", "QUERY")
    versions = (
        "HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "", "http/1.1", "HTCPCP/1.0",
    )  # fmt: skip
    method = random.choice((*methods, "GET"))
    line = f"{method}{random.choice((' ', '  ', chr(9)))}{random.choice(PATHS)} {random.choice(versions)}"
    return line.encode() + random.choice((b"\r\n", b"\n", b"\r")) + b"Host: x\r\n\r\n"


def targets(random: Random) -> bytes:
    part = "".join(
        random.choice(
            ("%00", "%2e%2e/", "..", "//", "%ff", "\x7f", "%", "%0d%0a", "#", "?", "é", "a;b", "\\")
        )
        for _ in range(random.randint(1, 4))
    )
    starts = ("/", "http://other.example/", "*", "shop.example:443", "//", "/static/", "/api/cart/", "")
    return request(path=random.choice(starts) + part * random.choice((1, 1, 300)))


def header_names(random: Random) -> bytes:
    names = (
        b"", b" X", b"X ", b"X\x00Y", b"X\ty", b":", b"\xffX", b"(x)", b"X" * 5_000, b"Host",
        noise(random, 20),
    )  # fmt: skip
    return request(random.choice(names) + random.choice((b":", b": ", b" : ", b"")) + b"value")


def header_values(random: Random) -> bytes:
    names = (
        b"Accept", b"Accept-Language", b"Origin", b"Sec-Fetch-Site", b"Referer", b"Content-Type",
        b"If-None-Match", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded", b"Range", b"Authorization",
        b"Connection", b"TE",
    )  # fmt: skip
    values = (
        b"", noise(random, 300).replace(b"\n", b""), b",;=" * 500, b"en;q=" + b"9" * 500, b"a\r\n b",
        b"\xff\xfe",
    )  # fmt: skip
    method = random.choice(("GET", "POST"))
    return request(
        random.choice(names) + b": " + random.choice(values), method=method, path=random.choice(PATHS)
    )


def large_heads(random: Random) -> bytes:
    size = random.choice((8_000, 30_000, 34_000, 200_000))
    lines = (
        b"X: " + b"a" * size, b"\r\n".join([b"X: y"] * (size // 6)), b"Cookie: " + b"a=b; " * (size // 5),
    )  # fmt: skip
    return request(random.choice(lines), path=random.choice(PATHS))


def hosts(random: Random) -> bytes:
    several = (
        b"Host: a\r\nHost: b", b"Host:", b"Host: a b", b"Host: [::1", b"Host: a:99999", b"Host: \xff",
        b"X: y",
    )  # fmt: skip
    return request(random.choice(several), host=False, path=random.choice(PATHS))


def content_lengths(random: Random) -> bytes:
    values = (
        b"-1", b"+2", b"0x2", b"2, 2", b"2, 3", b"", b" ", b"9" * 30, b"1_0", b"2 3", b"\xb2", b"070000",
        b"65537",
    )  # fmt: skip
    line = b"Content-Length: " + random.choice(values)
    twice = random.choice((b"", b"\r\nContent-Length: 2", b"\r\nContent-Length: 3"))
    return post(random, line + twice, body=b"{}")


def transfer_encodings(random: Random) -> bytes:
    values = (
        b"chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked", b"chunked\x0b",
        b",chunked", b"",
    )  # fmt: skip
    line = random.choice(
        (b"Transfer-Encoding: ", b"Transfer-Encoding : ", b"Transfer-Encoding:\t")
    ) + random.choice(values)
    more = random.choice((b"", b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: identity"))
    body = b"2\r\n{}\r\n0\r\n\r\n" + random.choice((b"", request(path="/healthz")))
    return post(random, line + more, body=body)


def chunks(random: Random) -> bytes:
    sizes = (
        b"2", b"02", b"+2", b"-2", b"0x2", b"2;a=b", b"2 ", b"f" * 17, b"", b"g", b"2;" + b"x" * 3_000,
        b"10000",
    )  # fmt: skip
    ends = (b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 3\r\n\r\n", b"0\n\n", b"")
    lines = [random.choice((b"\r\n", b"\r\n", b"\n", b"")) for _ in range(2)]
    chunk = random.choice(sizes) + lines[0] + b"{}" + lines[1]
    return post(random, b"Transfer-Encoding: chunked", body=chunk + random.choice(ends))


def cookies(random: Random) -> bytes:
    names = ("cart_session", "__Host-cart_session", "remember_me", "__Host-remember_me", "language", "x", "")
    parts = (
        lambda: noise(random, 60).translate(None, bytes(range(32)) + b"\x7f"),
        lambda: b"A" * 43,
        lambda: b'"' + b"\\" * random.choice((1, 65, 8_000)) + b'"',
        lambda: b"%00%ff=;",
        lambda: b"=" * 500,
    )
    pairs = [
        random.choice(names).encode() + b"=" + random.choice(parts)() for _ in range(random.randint(1, 12))
    ]
    joined = random.choice((b"; ", b";", b",", b"\r\nCookie: ")).join(pairs)
    return request(b"Cookie: " + joined, path=random.choice(PATHS))


def bodies(random: Random) -> bytes:
    whole = (
        noise(random, 500),
        b"[" * 5_000,
        b"a=b&" * 200,
        json.dumps({"product_id": random.choice((1, -1, 1e300, "1", None)), "name": "\u202e" * 9}).encode(),
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--",
        b"a" * 70_000,
    )
    body = random.choice(whole)
    lines = (b"Content-Length: %d" % len(body), f"Content-Type: {random.choice(TYPES)}".encode("latin-1"))
    path = random.choice(("/api/cart/add", "/cart/add", "/api/set-language", "/profile/update", "/nowhere"))
    return request(*lines, method=random.choice(METHODS), path=path, body=body)


def unread_bodies(random: Random) -> bytes:
    line = b"Content-Length: %d" % random.choice((10, 60_000, 10**7, 10**12))
    return request(
        line, method=random.choice(METHODS), path=random.choice(PATHS), body=b"a" * random.randint(0, 200_000)
    )


def expectations(random: Random) -> bytes:
    values = (b"100-continue", b"100-Continue", b"200-ok", b"", b"100-continue, 100-continue")
    lines = (b"Expect: " + random.choice(values), b"Content-Length: 2")
    return post(random, *lines, body=random.choice((b"", b"{}")))


def upgrades(random: Random) -> bytes:
    lines = [
        b"Upgrade: " + random.choice((b"websocket", b"WebSocket", b"h2c", b"websocket, h2c", b"")),
        b"Connection: " + random.choice((b"Upgrade", b"keep-alive, Upgrade", b"close")),
        b"Sec-WebSocket-Version: " + random.choice((b"13", b"8", b"x")),
        b"Sec-WebSocket-Key: " + random.choice((b"dGhlIHNhbXBsZSBub25jZQ==", b"short", b"\xff")),
        random.choice(
            (b"X: y", b"Content-Length: 5", b"Origin: http://other.example", b"Transfer-Encoding: chunked")
        ),
    ]
    return request(*lines, method=random.choice(("GET", "POST")), path=random.choice(PATHS)) + noise(
        random, 50
    )


def pipelines(random: Random) -> bytes:
    several = [any_request(random) for _ in range(random.randint(2, 6))]
    return b"".join(several) + random.choice((b"", b"\r\n\r\n", noise(random, 50), flipped_bytes(random)))


def cut_requests(random: Random) -> bytes:
    data = any_request(random)
    return data[: random.randrange(1, len(data))]


KINDS: dict[str, Callable[[Random], bytes]] = {
    "valid requests": any_request,
    "random bytes": noise_only,
    "other protocols: TLS, HTTP/2, SSH, SMTP": other_protocols,
    "valid requests with changed bytes": flipped_bytes,
    "request lines: methods, versions, spaces": request_lines,
    "targets: escapes, `..`, absolute, long": targets,
    "header names": header_names,
    "header values, folded ones too": header_values,
    "large heads, up to 200 KB": large_heads,
    "`Host`: none, several, malformed": hosts,
    "`Content-Length`: malformed, several": content_lengths,
    "`Transfer-Encoding`, with a hidden request": transfer_encodings,
    "chunks and trailers": chunks,
    "cookies": cookies,
    "bodies": bodies,
    "bodies that nothing reads, some not whole": unread_bodies,
    "`Expect`": expectations,
    "upgrades, some with a body": upgrades,
    "several requests at once, the last one bad": pipelines,
    "requests cut short": cut_requests,
}


def nth_input(seed: int, number: int) -> tuple[str, Input]:
    """Return the kind and input with this number; deterministic for a seed."""
    random = Random(f"{seed}:{number}")
    kinds = list(KINDS)
    kind = kinds[number % len(kinds)]
    data = KINDS[kind](random)
    return kind, Input(pieces(random, data), waits_for_close=random.random() < 0.02)


def pieces(random: Random, data: bytes) -> tuple[bytes, ...]:
    """Split the data into one piece, several pieces or single bytes."""
    how = random.random()
    if how < 0.7 or len(data) < 2:
        return (data,)
    if how < 0.8 and len(data) < 300:
        return tuple(data[i : i + 1] for i in range(len(data)))
    cuts = sorted(random.sample(range(1, len(data)), min(len(data) - 1, random.randint(1, 4))))
    return tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
