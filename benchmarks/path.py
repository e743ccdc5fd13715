"""The functions of cartapp that a request for the cart runs through.

    .venv/bin/python -m benchmarks.path file
    .venv/bin/python -m benchmarks.path redis redis://127.0.0.1:6379/15

Calls the complete shop, with the settings of production, in this process and without uvicorn. A call counts
again when a coroutine resumes; a comprehension is a function.
"""

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from types import CodeType, FrameType

from starlette.types import ASGIApp

from .inside import Client, run_in_shop
from .registry import GET, PUT
from .shop import PRODUCTS

_ROOT = Path(__file__).parent.parent / "cartapp"
_WARM_UP = 3  # the first requests import, connect and fill caches

Calls = Counter[CodeType]


async def trace(app: ASGIApp) -> dict[str, Calls]:
    """Return the calls of cartapp's functions in one request, by endpoint."""
    client = Client(app)
    for product in PRODUCTS:
        await client.request("POST", "/api/cart/add", json.dumps(product | {"quantity": 1}).encode())

    quantities = count(2)

    def put() -> Awaitable[None]:
        body = json.dumps({"quantity": next(quantities)}).encode()
        return client.request("PUT", "/api/cart/1", body)

    endpoints = {GET: lambda: client.request("GET", "/api/cart"), PUT: put}
    return {endpoint: await _calls(send) for endpoint, send in endpoints.items()}


async def _calls(send: Callable[[], Awaitable[None]]) -> Calls:
    calls = Calls()

    def record(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and Path(frame.f_code.co_filename).is_relative_to(_ROOT):
            calls[frame.f_code] += 1

    for _ in range(_WARM_UP):
        await send()
    sys.setprofile(record)
    try:
        await send()
    finally:
        sys.setprofile(None)
    return calls


def describe(endpoint: str, calls: Calls) -> str:
    """Return the totals, and the functions by file."""
    files: dict[str, list[str]] = {}
    for code, number in calls.items():
        name = str(Path(code.co_filename).relative_to(_ROOT))
        files.setdefault(name, []).append(f"{code.co_qualname}{f' ×{number}' if number > 1 else ''}")
    total = f"{endpoint}: {len(files)} files, {len(calls)} functions, {calls.total()} calls"
    return "\n".join([total, *(f"  {name}: {', '.join(found)}" for name, found in files.items())])


def main(backend: str, url: str = "") -> None:
    found = run_in_shop(trace, backend, url)
    print(*(describe(endpoint, calls) for endpoint, calls in found.items()), sep="\n\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
