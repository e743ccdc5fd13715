"""How the work for an input grows with the size of the input: as ratios within one run, never as seconds."""

from collections.abc import Awaitable, Callable
from time import process_time
from typing import Any

from starlette.types import ASGIApp, Message

KIB = 1024
SIZES = (4 * KIB, 16 * KIB, 64 * KIB)  # ascending: quadratic work ends the test before it takes minutes
SLACK = 8  # times what is linear; quadratic work is 64 times that at the last size
REPEATS = 5

Input = Callable[[int], Any]
"""Makes an input of about so many bytes."""


def repeated(unit: str, before: str = "", after: str = "") -> Callable[[int], str]:
    """An input made of one text again and again."""
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


async def assert_linear(work: Callable[[Any], object], make: Input) -> None:
    """Measure the processor time of `work`, a function or a coroutine function, from 1 to 64 KiB."""
    await _seconds(work, make(KIB))  # what is imported and cached by the first call
    least = await _seconds(work, make(KIB))
    for size in SIZES:
        factor = await _seconds(work, make(size)) / least
        assert factor < SLACK * size / KIB, f"{size} bytes take {factor:.0f} times as long as 1 KiB"


async def _seconds(work: Callable[[Any], object], value: Any) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        start = process_time()
        result = work(value)
        if isinstance(result, Awaitable):
            await result
        best = min(best, process_time() - start)
        if best > 0.2:
            break
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
    """Status, headers and body of the response to one request, which no client library looks at.

    With `piece` the body comes in pieces of so many bytes.
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
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:])
