"""Routes added to the shop from outside work as the FastAPI docs say."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx2 as httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, File, HTTPException, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from cartapp.session import Session
from cartapp.session.fastapi import SessionDep, load_session
from tests.support.shop import browser, running_app

pytestmark = pytest.mark.anyio


class Note(BaseModel):
    text: str
    stars: int = 0


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    async with running_app() as app:
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as client:
        yield client


async def test_route_returns_a_model(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.post("/notes/{number}", status_code=201)
    async def create(number: int, note: Note, loud: Annotated[bool, Query()] = False) -> Note:
        return Note(text=note.text.upper() if loud else note.text, stars=number)

    response = await client.post("/notes/3?loud=1", json={"text": "hello"})
    assert (response.status_code, response.json()) == (201, {"text": "HELLO", "stars": 3})
    response = await client.post("/notes/3", json={"stars": 1})
    assert (response.status_code, list(response.json())) == (400, ["error"])


async def test_session_is_kept(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/counter")
    async def count(session: SessionDep) -> int:
        return int(session.modify("n", lambda n: n + 1, 0))

    assert [(await client.get("/counter")).json() for _ in range(3)] == [1, 2, 3]


async def test_included_router(app: FastAPI, client: httpx.AsyncClient) -> None:
    router = APIRouter(prefix="/notes")

    @router.get("/{number}")
    async def show(number: int) -> dict[str, int]:
        return {"number": number}

    app.include_router(router, prefix="/v2")
    assert (await client.get("/v2/notes/7")).json() == {"number": 7}
    assert (await client.head("/v2/notes/7")).status_code == 200
    response = await client.delete("/v2/notes/7")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert "/v2/notes/{number}" in app.openapi()["paths"]


async def test_plain_function_runs_in_a_thread(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/plain")
    def plain() -> list[int]:
        return [1, 2]

    assert (await client.get("/plain")).json() == [1, 2]


async def test_dependency_with_yield_is_closed(app: FastAPI, client: httpx.AsyncClient) -> None:
    events: list[Any] = []

    async def resource() -> AsyncIterator[str]:
        try:
            yield "open"
        except HTTPException as error:
            events.append(error.status_code)
            raise
        finally:
            events.append("closed")

    @app.get("/resource")
    async def use(state: Annotated[str, Depends(resource)], fail: bool = False) -> str:
        events.append(state)
        if fail:
            raise HTTPException(418, "No coffee")
        return state

    assert (await client.get("/resource")).json() == "open"
    response = await client.get("/resource?fail=1")
    assert (response.status_code, response.json()) == (418, {"error": "No coffee"})
    assert events == ["open", "closed", "open", 418, "closed"]


async def test_upload_and_background_task(app: FastAPI, client: httpx.AsyncClient) -> None:
    done: list[str] = []

    @app.post("/upload")
    async def upload(file: Annotated[bytes, File()], tasks: BackgroundTasks) -> int:
        tasks.add_task(done.append, file.decode())
        return len(file)

    assert (await client.post("/upload", files={"file": b"content"})).json() == 7
    assert done == ["content"]


async def test_stream(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "one "
            yield "two"

        return StreamingResponse(parts())

    assert (await client.get("/stream")).text == "one two"


async def test_dependency_overrides(app: FastAPI, client: httpx.AsyncClient) -> None:
    async def with_language(request: Request) -> Session:
        session = await load_session(request)
        session["language"] = "pt"
        return session

    async def deny() -> None:
        raise HTTPException(403, "Denied")

    assert (await client.get("/api/preferences")).json()["language"] == "en"
    app.dependency_overrides[load_session] = with_language
    assert (await client.get("/api/preferences")).json()["language"] == "pt"
    app.dependency_overrides = {load_session: deny}
    for path in ("/api/preferences", "/api/cart"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (403, {"error": "Denied"}), path
    app.dependency_overrides = {}
    assert (await client.get("/api/cart")).status_code == 200


async def test_dependencies_of_a_router_protect_its_routes(app: FastAPI, client: httpx.AsyncClient) -> None:
    async def deny() -> None:
        raise HTTPException(403, "Denied")

    router = APIRouter(dependencies=[Depends(deny)])

    @router.get("/private")
    async def private() -> int:
        return 1

    app.include_router(router)
    assert (await client.get("/private")).status_code == 403


async def test_max_body_size(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.post("/small", max_body_size=20)
    async def small(note: Note) -> str:
        return note.text

    assert (await client.post("/small", json={"text": "hi"})).json() == "hi"
    assert (await client.post("/small", json={"text": "hello" * 10})).status_code == 413


async def test_error_handlers(app: FastAPI, client: httpx.AsyncClient) -> None:
    class OutOfTea(Exception):
        pass

    @app.exception_handler(OutOfTea)
    async def out_of_tea(_request: Request, _error: OutOfTea) -> JSONResponse:
        return JSONResponse({"tea": 0}, 418)

    @app.get("/tea")
    async def tea(session: SessionDep, late: bool = False, broken: bool = False) -> str:
        def pour(cups: int) -> int:
            if session.get("brewed"):
                raise OutOfTea
            return cups + 1

        if broken:
            raise ZeroDivisionError
        if late:
            session.modify("cups", pour, 0)
            return "poured"
        raise OutOfTea

    response = await client.get("/tea")
    assert (response.status_code, response.json()) == (418, {"tea": 0})
    assert (await client.get("/tea?late=1")).json() == "poured"
    response = await client.get("/tea?broken=1")
    assert (response.status_code, response.json()) == (500, {"error": "Internal server error"})


@pytest.mark.parametrize(
    ("status", "detail", "shown"),
    [
        (404, "No such coffee", "No such coffee"),
        (404, None, "Not found"),
        (422, {"cups": 0}, {"cups": 0}),
        (500, None, "Internal server error"),
        (599, "Cold", "Cold"),
    ],
)
async def test_detail_of_an_http_exception(
    app: FastAPI, client: httpx.AsyncClient, status: int, detail: Any, shown: Any
) -> None:
    @app.get("/coffee")
    async def coffee() -> None:
        raise HTTPException(status, detail)

    response = await client.get("/coffee")
    assert (response.status_code, response.json()) == (status, {"error": shown})
    page = await client.get("/coffee", headers={"Accept": "text/html"})
    assert page.status_code == status


async def test_error_after_the_response_has_started_is_not_answered(app: FastAPI) -> None:
    async def parts() -> AsyncIterator[str]:
        yield "first"
        raise HTTPException(418)

    @app.get("/broken-stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts())

    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": "/broken-stream", "query_string": b"", "headers": []}
    with pytest.raises(RuntimeError, match="already started"):
        await app(
            {**scope, "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.4"}}, receive, send
        )
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
