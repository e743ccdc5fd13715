"""What `cart serve` sends: head and body together, and no more than a slow client takes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from cartapp.server.wire import OneWriteProtocol

from .serving import serving

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNK = b"x" * 32_768
CHUNKS = 2_000  # far more than the kernel's buffers hold


class Watched:
    """A transport that counts what is written."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]) -> None:
        self._transport, self._written = transport, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)


@asynccontextmanager
async def served(
    app: ASGIApp,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, list[bytes]]]:
    """A connection to the application on uvicorn, and what is written to it."""
    written: list[bytes] = []

    class Protocol(OneWriteProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(Watched(transport, written))

    async with serving(app, Protocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer, written
        finally:
            writer.close()
            await writer.wait_closed()


async def small(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"2"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_an_answer_is_written_at_once() -> None:
    async with served(small) as (reader, writer, written):
        for _ in range(3):
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(2) == b"ok"
        assert len(written) == 3


async def test_an_answer_that_is_not_whole_is_left_to_uvicorn() -> None:
    async def headless(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"2")]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"ok"})

    async with served(headless) as (reader, writer, _):
        writer.write(REQUEST.replace(b"GET", b"HEAD") + REQUEST)
        assert b"content-length: 2" in await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(2) == b"ok"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([[b"Content-Length", b"2"]], b"content-length: 2\r\nconnection: close\r\n\r\nok"),  # a pair as well
        ([], b"chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ([(b"transfer-encoding", b"chunked")], b"close\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ([(b"content-length", b"2"), (b"connection", b"close")], b"connection: close\r\n\r\nok"),
    ],
)
async def test_an_answer_is_framed_as_by_uvicorn(
    headers: list[tuple[bytes, bytes]], expected: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def answering(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    async with served(answering) as (reader, writer, _):
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await reader.read()
        assert answer.endswith(expected)
        assert answer.count(b"connection: close") == 1


@pytest.mark.parametrize("header", [(b"x", b"a\r\nset-cookie: b"), (b"x:y", b"a")])
async def test_a_header_that_would_break_the_head_is_refused(
    header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def injecting(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2"), header]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    async with served(injecting) as (reader, writer, _):
        writer.write(REQUEST)
        assert await reader.read() == b""  # uvicorn hangs up


@pytest.mark.parametrize("length", [b"1", b"3"])
async def test_an_answer_of_another_length_than_announced_is_never_sent_whole(
    length: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def lying(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    async with served(lying) as (reader, writer, _):
        writer.write(REQUEST)
        _head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert len(body) < int(length)  # cut short, so that the client knows


async def test_the_last_answer_is_sent_before_the_connection_closes() -> None:
    async with served(small) as (reader, writer, _):
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await reader.read()
        assert answer.endswith(b"\r\n\r\nok")


async def test_a_stream_arrives_as_it_is_made() -> None:
    arrived = asyncio.Event()

    async def streaming(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await arrived.wait()
        await send({"type": "http.response.body", "body": b"second"})

    async with served(streaming) as (reader, writer, _):
        writer.write(REQUEST)
        await reader.readuntil(b"first")
        arrived.set()
        await reader.readuntil(b"second")


async def test_a_client_that_does_not_read_holds_the_application_up() -> None:
    made = 0
    full = asyncio.Event()

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal made
        await send({"type": "http.response.start", "status": 200, "headers": []})
        asyncio.get_running_loop().call_soon(full.set)  # which runs once `send` has to wait
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            made += 1
        await send({"type": "http.response.body", "body": b"the end"})

    async with served(endless) as (reader, writer, _):
        writer.write(REQUEST)
        await full.wait()
        assert made < CHUNKS
        await _read_to_the_end(reader)
        assert made == CHUNKS


async def _read_to_the_end(reader: asyncio.StreamReader) -> None:
    last = b""
    while not last.endswith(b"the end\r\n0\r\n\r\n"):
        last = last[-20:] + await reader.read(1_000_000)
