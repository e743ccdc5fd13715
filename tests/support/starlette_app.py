"""A small Starlette application with the session middleware, and clients of it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2 as httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from cartapp.session import SessionError, SessionMiddleware, StoreUnavailable, session_of
from cartapp.session.record import Clock, Record, RecordOrSummary, Version
from cartapp.session.stores.base import Store
from cartapp.session.stores.memory import MemoryStore

AppFactory = Callable[..., ASGIApp]
"""Create the application with options of the middleware."""


class CountingStore(MemoryStore):
    """A memory store that records its operations and fails on demand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[str] = []
        self.failing = False

    def _record(self, name: str) -> None:
        self.calls.append(name)
        if self.failing:
            raise StoreUnavailable("The store is down for this test.")

    async def create(self, record: Record) -> Version | None:
        self._record("create")
        return await super().create(record)

    async def load(self, key: str) -> Record | None:
        self._record("load")
        return await super().load(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        self._record("save")
        return await super().save(record, expected=expected)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        self._record("touch")
        return await super().touch(key, expected=expected, last_used=last_used, expires=expires)

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        self._record("delete")
        return await super().delete(key, expected=expected)


# Handlers as written for Starlette's own SessionMiddleware.


async def view(request: Request) -> Response:
    return JSONResponse({"session": request.session})


async def update(request: Request) -> Response:
    request.session.update(await request.json())
    return JSONResponse({"session": request.session})


async def append(request: Request) -> Response:
    request.session["list"].append(1)
    return JSONResponse({"session": request.session})


async def clear(request: Request) -> Response:
    request.session.clear()
    return JSONResponse({"session": request.session})


async def ping(_request: Request) -> Response:
    return PlainTextResponse("pong")


# Handlers that use this library's session.


async def destroy(request: Request) -> Response:
    session_of(request).destroy()
    return PlainTextResponse("gone")


async def rotate(request: Request) -> Response:
    session_of(request).regenerate()
    return PlainTextResponse("rotated")


async def lifetime(request: Request) -> Response:
    session_of(request).set_lifetime(**await request.json())
    return PlainTextResponse("set")


async def fail(request: Request) -> Response:
    request.session["kept"] = False
    if "destroy" in request.query_params:
        session_of(request).destroy()
    return PlainTextResponse("failed", 500)


async def big(request: Request) -> Response:
    request.session["big"] = "x" * 70_000
    return PlainTextResponse("stored")


async def caching(request: Request) -> Response:
    headers = {"Cache-Control": request.query_params["cache"]}
    return PlainTextResponse(str("a" in request.session), headers=headers)


async def stream(request: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        yield "first"
        request.session["late"] = 1
        yield "last"
        if "rotate" in request.query_params:
            session_of(request).regenerate()
        if "save" in request.query_params:
            await session_of(request).save()

    if "late" not in request.query_params:
        request.session["early"] = 1
    return StreamingResponse(body())


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    if websocket.query_params.get("load"):
        await session_of(websocket).load()
    websocket.session["socket"] = 1
    try:
        await session_of(websocket).save()
    except SessionError as error:
        await websocket.send_json({"error": str(error)})
    else:
        await websocket.send_json({"session": websocket.session})
    await websocket.close()


ROUTES = [
    Route("/view", view),
    Route("/update", update, methods=["POST"]),
    Route("/append", append, methods=["POST"]),
    Route("/clear", clear, methods=["POST"]),
    Route("/ping", ping),
    Route("/static/ping", ping),
    Route("/static/view", view),
    Route("/destroy", destroy, methods=["POST"]),
    Route("/rotate", rotate, methods=["POST"]),
    Route("/lifetime", lifetime, methods=["POST"]),
    Route("/fail", fail, methods=["POST"]),
    Route("/big", big, methods=["POST"]),
    Route("/caching", caching),
    Route("/stream", stream),
    WebSocketRoute("/socket", socket),
]


def app_factory(store: Store, clock: Clock) -> AppFactory:
    """Return a factory of applications with a session middleware on this store."""

    def build(**options: Any) -> ASGIApp:
        app = Starlette(routes=ROUTES)
        app.add_middleware(SessionMiddleware, **{"store": store, "clock": clock, **options})
        return app

    return build


def client(app: ASGIApp, base_url: str = "https://testserver") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)


def with_cookie(value: str) -> dict[str, str]:
    return {"Cookie": f"__Host-cart_session={value}"}
