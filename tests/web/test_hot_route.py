"""`HotRoute`: the short way to a handler gives the responses of FastAPI's own."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from cartapp.session import Session, SessionMiddleware, open_store
from cartapp.session.fastapi import SessionDep, load_session
from cartapp.web import errors
from cartapp.web.hot_route import HotRoute, is_simple
from cartapp.web.json_route import JSONRoute


class Item(BaseModel):
    name: str
    quantity: int = 1


async def get_path(request: Request) -> str:
    return request.url.path


async def get_first_item(session: SessionDep) -> Any:
    return next(iter(session.get("items", [])), None)


async def deny() -> None:
    raise HTTPException(403, "Denied")


def create_app(route_class: type[JSONRoute], **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.router.route_class = route_class
    app.add_middleware(SessionMiddleware, store=open_store("memory://"), load="explicit")
    errors.install(app)

    @app.post("/items/{number}")
    async def add(
        number: int, item: Item, session: SessionDep, path: Annotated[str, Depends(get_path)]
    ) -> JSONResponse:
        """Add an item."""
        if number == 404:
            raise HTTPException(404, "No such item")
        added = session.modify("items", lambda items: [*items, [number, item.name, item.quantity]], [])
        return JSONResponse({"items": added, "path": path}, 201)

    @app.get("/items")
    async def show(request: Request, session: SessionDep) -> JSONResponse:
        return JSONResponse([*session.get("items", []), request.method])

    @app.get("/first")
    async def first(item: Annotated[Any, Depends(get_first_item)], session: SessionDep) -> JSONResponse:
        return JSONResponse([item, len(session.get("items", []))])

    @app.post("/maybe")
    async def maybe(item: Annotated[Item | None, Body()] = None) -> JSONResponse:
        return JSONResponse(item and item.model_dump())

    return app


def handlers(app: FastAPI) -> dict[str, HotRoute]:
    return {route.path: route for route in app.router.routes if isinstance(route, HotRoute)}


@pytest.fixture
def both() -> Iterator[tuple[TestClient, TestClient]]:
    apps = create_app(HotRoute), create_app(JSONRoute)
    with (
        TestClient(apps[0], base_url="https://testserver") as short,
        TestClient(apps[1], base_url="https://testserver") as general,
    ):
        yield short, general


def test_handlers_of_this_module_take_the_short_way() -> None:
    assert all(is_simple(route.dependant) for route in handlers(create_app(HotRoute)).values())


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/items/1", b'{"name": "lamp", "quantity": "2"}', JSON),
        ("/items/1", b'{"name": "lamp"}', {"content-type": "application/json; charset=utf-8"}),
        ("/items/1", b'{"name": "lamp"}', {"content-type": "application/vnd.shop+json"}),
        ("/items/1", b'{"name": "lamp"}', {"content-type": "text/plain"}),
        ("/items/1", b'{"name": "lamp"}', {}),
        ("/items/1", b'{"quantity": "many"}', JSON),
        ("/items/one", b'{"name": "lamp"}', JSON),
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
def test_response_is_that_of_fastapi(
    path: str, body: bytes, headers: dict[str, str], both: tuple[TestClient, TestClient]
) -> None:
    short, general = (client.post(path, content=body, headers=headers) for client in both)
    assert (short.status_code, short.json()) == (general.status_code, general.json())
    for path in ("/items", "/first"):
        short, general = (client.get(path) for client in both)
        assert (short.status_code, short.json()) == (general.status_code, general.json())


def test_openapi_document_is_that_of_fastapi(both: tuple[TestClient, TestClient]) -> None:
    short, general = (client.get("/openapi.json").json() for client in both)
    assert short == general
    assert "/items/{number}" in short["paths"]


@pytest.mark.parametrize("reset", [False, True])
def test_dependency_override_is_used(reset: bool, both: tuple[TestClient, TestClient]) -> None:
    async def fixed(request: Request) -> Session:
        session = await load_session(request)
        session["items"] = ["from the override"]
        return session

    for client in both:
        app = client.app
        assert isinstance(app, FastAPI)
        if reset:
            app.dependency_overrides = {}
        app.dependency_overrides[load_session] = fixed
        assert client.get("/items").json() == ["from the override", "GET"]
        assert client.get("/first").json() == ["from the override", 1]
        app.dependency_overrides = {}
        assert client.get("/items").json()[-1] == "GET"


def statuses(app: FastAPI, *paths: str) -> list[int]:
    with TestClient(app) as client:
        return [client.get(path).status_code for path in paths]


def test_dependencies_of_the_route_run() -> None:
    app = create_app(HotRoute)

    @app.get("/private", dependencies=[Depends(deny)])
    async def private() -> JSONResponse:
        return JSONResponse({})

    assert statuses(app, "/private", "/items") == [403, 200]


def test_dependencies_of_the_application_run() -> None:
    assert statuses(create_app(HotRoute, dependencies=[Depends(deny)]), "/items") == [403]


def test_dependencies_of_the_router_and_of_its_inclusion_run() -> None:
    app = create_app(HotRoute)
    router, private_router = APIRouter(route_class=HotRoute), APIRouter(dependencies=[Depends(deny)])
    private_router.route_class = HotRoute

    @router.get("/hot")
    @private_router.get("/hot")
    async def hot(session: SessionDep) -> JSONResponse:
        return JSONResponse(session.get("items", []))

    outer = APIRouter(dependencies=[Depends(deny)])
    outer.include_router(router, prefix="/inner")
    app.include_router(router)
    app.include_router(router, prefix="/denied", dependencies=[Depends(deny)])
    app.include_router(private_router, prefix="/private")
    app.include_router(outer, prefix="/outer")
    found = statuses(app, "/hot", "/denied/hot", "/private/hot", "/outer/inner/hot")
    assert found == [200, 403, 403, 403]


def test_dependency_with_yield_is_closed_after_the_response() -> None:
    app = create_app(HotRoute)
    events = []

    async def resource() -> AsyncIterator[str]:
        yield "open"
        events.append("closed")

    @app.get("/resource")
    async def show(state: Annotated[str, Depends(resource)]) -> JSONResponse:
        events.append(state)
        return JSONResponse({})

    assert statuses(app, "/resource") == [200]
    assert events == ["open", "closed"]


def test_max_body_size_of_the_route_is_kept() -> None:
    app = create_app(HotRoute)

    @app.post("/small", max_body_size=30)
    async def small(item: Item) -> JSONResponse:
        return JSONResponse(item.model_dump())

    with TestClient(app) as client:
        assert client.post("/small", json={"name": "x"}).status_code == 200
        assert client.post("/small", json={"name": "x" * 50}).status_code == 413


def test_other_handlers_are_called_by_fastapi() -> None:
    app = FastAPI()
    app.router.route_class = HotRoute

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

    @app.post("/embedded")
    async def embedded(n: Annotated[int, Body(embed=True)]) -> JSONResponse:
        return JSONResponse({"n": n})

    @app.post("/two")
    async def two(a: Annotated[int, Body()], b: Annotated[int, Body()]) -> JSONResponse:
        return JSONResponse({"n": a + b})

    @app.post("/form")
    async def form(n: Annotated[int, Form()]) -> JSONResponse:
        return JSONResponse({"n": n})

    assert not [path for path, route in handlers(app).items() if is_simple(route.dependant)]
    with TestClient(app) as client:
        responses = {
            "data": client.get("/data"),
            "blocking": client.get("/blocking"),
            "query": client.get("/query?n=3"),
            "depends": client.get("/depends"),
            "embedded": client.post("/embedded", json={"n": 5}),
            "two": client.post("/two", json={"a": 2, "b": 4}),
        }
    found = {name: response.json()["n"] for name, response in responses.items()}
    assert found == {"data": 1, "blocking": 2, "query": 3, "depends": 7, "embedded": 5, "two": 6}
