"""One ASGI function: what the server costs, and so the ceiling of everything in Python."""

import json
from typing import Any

from benchmarks.shop import full_cart

ANSWERS = {
    "/ping": json.dumps({"status": "ok"}).encode(),
    "/api/cart": json.dumps(full_cart()).encode(),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = ANSWERS[scope["path"]]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
