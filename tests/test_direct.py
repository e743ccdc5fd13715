"""The short way to a FastAPI handler gives the answers of FastAPI's own way."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel

from cartapp.session import Session, SessionMiddleware, open_store
from cartapp.session.direct import DirectRoute, wants_little
from cartapp.session.fastapi import SessionDep, load_session


class Item(BaseModel):
    name: str
    quantity: int = 1


def application(route_class: type[APIRoute]) -> FastAPI:
    app = FastAPI()
    app.router.route_class = route_class
    app.add_middleware(SessionMiddleware, store=open_store("memory://"), load="explicit")

    @app.post("/items/{number}")
    async def add(number: int, item: Item, session: SessionDep, request: Request) -> JSONResponse:
        """Add."""
        if number == 404:
            raise HTTPException(404, "No such item")
        added = session.modify("items", lambda items: [*items, [number, item.name, item.quantity]], [])
        return JSONResponse({"items": added, "path": request.url.path}, 201)

    @app.get("/items")
    async def show(session: SessionDep) -> JSONResponse:
        return JSONResponse(session.get("items", []))

    @app.post("/maybe")
    async def maybe(item: Annotated[Item | None, Body()] = None) -> JSONResponse:
        return JSONResponse(item and item.model_dump())

    return app


@pytest.fixture
def both() -> Iterator[tuple[TestClient, TestClient]]:
    ours, theirs = (application(kind) for kind in (DirectRoute, APIRoute))
    with (
        TestClient(ours, base_url="https://testserver") as short,
        TestClient(theirs, base_url="https://testserver") as general,
    ):
        yield short, general


def routes(app: FastAPI) -> dict[str, APIRoute]:
    return {route.path: route for route in app.router.routes if isinstance(route, APIRoute)}


def test_the_routes_of_this_test_take_the_short_way() -> None:
    assert all(wants_little(route.dependant) for route in routes(application(DirectRoute)).values())


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/items/1", b'{"name": "lamp", "quantity": "2"}', JSON),
        ("/items/1", b'{"name": "lamp"}', {"content-type": "application/json; charset=utf-8"}),
        ("/items/1", b'{"name": "lamp"}', {"content-type": "application/vnd.shop+json"}),
        ("/items/1", b'{"name": "lamp"}', {"content-type": "text/plain"}),
        ("/items/1", b'{"name": "lamp"}', {}),
        ("/items/one", b'{"quantity": "many"}', JSON),
        ("/items/404", b'{"name": "lamp"}', JSON),
        ("/items/1", b'{"name": ', JSON),
        ("/items/1", b'{"name": "\xff"}', JSON),
        ("/items/1", b"[]", JSON),
        ("/items/1", b"null", JSON),
        ("/items/1", b"", JSON),
        ("/maybe", b"", {}),
        ("/maybe", b"null", JSON),
        ("/maybe", b'{"name": "lamp"}', JSON),
    ],
)
def test_a_body_is_answered_as_by_fastapi(
    path: str, body: bytes, headers: dict[str, str], both: tuple[TestClient, TestClient]
) -> None:
    short, general = (client.post(path, content=body, headers=headers) for client in both)
    assert (short.status_code, short.json()) == (general.status_code, general.json())
    short, general = (client.get("/items") for client in both)
    assert (short.status_code, short.json()) == (general.status_code, general.json())


def test_the_openapi_document_is_the_same(both: tuple[TestClient, TestClient]) -> None:
    short, general = (client.get("/openapi.json").json() for client in both)
    assert short == general
    assert "/items/{number}" in short["paths"]


def test_an_override_of_the_session_counts(both: tuple[TestClient, TestClient]) -> None:
    async def fixed(request: Request) -> Session:
        session = await load_session(request)
        session["items"] = ["from the override"]
        return session

    for client in both:
        app = client.app
        assert isinstance(app, FastAPI)
        app.dependency_overrides[load_session] = fixed
        assert client.get("/items").json() == ["from the override"]


def test_handlers_that_want_more_go_the_general_way() -> None:
    app = FastAPI()
    app.router.route_class = DirectRoute

    def number() -> int:
        return 7

    @app.get("/data")
    async def data() -> dict[str, int]:
        return {"n": 1}

    @app.get("/blocking")
    def blocking() -> JSONResponse:
        return JSONResponse({"n": 2})

    @app.get("/query")
    async def query(n: int) -> JSONResponse:
        return JSONResponse({"n": n})

    @app.get("/depends")
    async def depends(n: Annotated[int, Depends(number)]) -> JSONResponse:
        return JSONResponse({"n": n})

    @app.post("/form")
    async def form(n: Annotated[int, Form()]) -> JSONResponse:
        return JSONResponse({"n": n})

    @app.post("/embedded")
    async def embedded(n: Annotated[int, Body(embed=True)]) -> JSONResponse:
        return JSONResponse({"n": n})

    @app.post("/two")
    async def two(a: Annotated[int, Body()], b: Annotated[int, Body()]) -> JSONResponse:
        return JSONResponse({"n": a + b})

    assert not [path for path, route in routes(app).items() if wants_little(route.dependant)]
    answers: dict[str, Any] = {}
    with TestClient(app) as client:
        answers["data"] = client.get("/data")
        answers["blocking"] = client.get("/blocking")
        answers["query"] = client.get("/query?n=3")
        answers["depends"] = client.get("/depends")
        answers["form"] = client.post("/form", data={"n": "4"})
        answers["embedded"] = client.post("/embedded", json={"n": 5})
        answers["two"] = client.post("/two", json={"a": 2, "b": 4})
    found = {name: answer.json()["n"] for name, answer in answers.items()}
    assert found == {"data": 1, "blocking": 2, "query": 3, "depends": 7, "form": 4, "embedded": 5, "two": 6}
