"""Assert that processor time grows linearly with input size, by ratios within one run."""

import gc
from collections.abc import Awaitable, Callable
from time import process_time
from typing import Any

import anyio
from starlette.types import ASGIApp, Message

KIB = 1024
SIZES = (4 * KIB, 16 * KIB, 64 * KIB)  # ascending: quadratic work fails before it takes minutes
SLACK = 8  # permitted multiple of linear time; quadratic work reaches 64 at the last size
REPEATS = 5

Input = Callable[[int], Any]
"""Return an input of about the given number of bytes."""


def repeat(unit: str, before: str = "", after: str = "") -> Callable[[int], str]:
    """Return a function that fills the given size with repetitions of `unit`."""
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


async def assert_linear(work: Callable[[Any], object], make: Input) -> None:
    """Compare the processor time of `work`, a function or coroutine function, from 1 to 64 KiB."""
    await _seconds(work, make(KIB))  # warm up: imports and caches
    least = await _seconds(work, make(KIB))
    for size in SIZES:
        factor = await _seconds(work, make(size)) / least
        assert factor < SLACK * size / KIB, f"{size} bytes take {factor:.0f} times as long as 1 KiB"


async def _seconds(work: Callable[[Any], object], value: Any) -> float:
    best = float("inf")
    gc.disable()  # a collection among the objects of thousands of tests takes longer than the work
    try:
        for number in range(REPEATS):
            start = process_time()
            result = work(value)
            if isinstance(result, Awaitable):
                await result
            best = min(best, process_time() - start)
            if number and best > 0.2:
                break
    finally:
        gc.enable()
    return best


async def send_raw(
    app: ASGIApp,
    method: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes = b"",
    *,
    query: str = "",
    piece: int = 0,
    client: str = "192.0.2.7",
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send one request that no client library validates; return status, headers and body of the response.

    With `piece` the body arrives in chunks of that many bytes.
    """
    host = [] if any(name == "host" for name, _ in headers) else [("host", "testserver")]
    length = [("content-length", str(len(body)))] if body else []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "https",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(n.encode(), v.encode("latin-1")) for n, v in [*host, *length, *headers]],
        "client": (client, 1234),
        "server": ("testserver", 443),
    }
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] if piece else [body]
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(pieces)}
        for number, part in enumerate(pieces, 1)
    ]
    waiting.reverse()
    sent: list[Message] = []

    async def receive() -> Message:
        if not waiting:
            await anyio.sleep_forever()  # the client stays connected
        return waiting.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:])
