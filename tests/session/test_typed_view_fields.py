"""Field types of typed views: what a session does not return as such is refused, and no change is lost."""

import collections
from collections.abc import Callable, Set
from dataclasses import dataclass, field, make_dataclass
from enum import Enum, StrEnum
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model
from starlette.testclient import TestClient

from cartapp.session import SessionMiddleware
from cartapp.session.fastapi import SessionDep, typed
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.typed import typed_view
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


class Nested(BaseModel):
    street: str = ""


@dataclass
class NestedData:
    tags: list[str] = field(default_factory=list)


class NestedStruct(msgspec.Struct):
    tags: list[str] = []


class Point(NamedTuple):
    x: int = 0


class Colour(Enum):
    RED = 1


class Theme(StrEnum):
    DARK = "dark"


class Plain:
    street = ""


class Tree(TypedDict, total=False):
    name: str
    children: list["Tree"]


class Area(TypedDict):
    corner: tuple[int, int]


def plain_class(kind: Any, default: Callable[[], Any]) -> type[Any]:
    return type("View", (), {"__annotations__": {"value": kind}, "value": default()})


def data_class(kind: Any, default: Callable[[], Any]) -> type[Any]:
    return make_dataclass("View", [("value", kind, field(default_factory=default))])


def struct(kind: Any, default: Callable[[], Any]) -> type[Any]:
    return msgspec.defstruct("View", [("value", kind, msgspec.field(default_factory=default))])


def model(kind: Any, default: Callable[[], Any]) -> type[Any]:
    return create_model("View", value=(kind, Field(default_factory=default)))


VIEWS = [plain_class, data_class, struct, model]


@pytest.fixture
def layer(clock: ManualClock) -> SessionLayer:
    return SessionLayer(MemoryStore(clock=clock), clock)


REFUSED: list[tuple[Any, Callable[[], Any], str]] = [
    (Nested, Nested, "Nested"),
    (Nested | None, Nested, "Nested"),
    (NestedData, NestedData, "NestedData"),
    (NestedStruct, NestedStruct, "NestedStruct"),
    (dict[str, Annotated[list[NestedData], "all"]], dict, "NestedData"),
    (set[int], set, r"set\[int\]"),
    (frozenset[int], frozenset, r"frozenset\[int\]"),
    (Set[int], set, r"collections\.abc\.Set\[int\]"),
    (collections.deque[int], collections.deque, r"collections\.deque\[int\]"),
    (tuple[int, int], lambda: (1, 2), r"tuple\[int, int\]"),
    (list[tuple[int, ...]], list, r"tuple\[int, \.\.\.\]"),
    (tuple, tuple, "tuple"),
    (Point, Point, "Point"),
    (Area, lambda: {"corner": (1, 2)}, r"tuple\[int, int\]"),
    (Colour, lambda: Colour.RED, "Colour"),
]
NOT_IN_A_MODEL = (NestedStruct, Area)  # Pydantic has no schema for these


@pytest.mark.parametrize(
    ("make", "kind", "default", "shown"),
    [(make, *row) for make in VIEWS for row in REFUSED if make is not model or row[0] not in NOT_IN_A_MODEL],
)
async def test_a_type_that_a_session_does_not_return_is_refused(
    make: Callable[[Any, Callable[[], Any]], type[Any]],
    kind: Any,
    default: Callable[[], Any],
    shown: str,
    layer: SessionLayer,
) -> None:
    session, _ = await layer.load()
    view = make(kind, default)
    expected = "expected a type that a session returns, such as str, list, dict or a TypedDict, got"
    for _ in range(2):
        with pytest.raises(TypeError, match=rf"^View\.value: {expected} {shown}\.$"):
            typed_view(view, session)
    assert not session


@pytest.mark.parametrize("make", VIEWS)
@pytest.mark.parametrize(
    ("kind", "default", "change", "stored"),
    [
        (list[int], list, lambda value: value.append(1), [1]),
        (list[int] | None, list, lambda value: value.append(1), [1]),
        (dict[str, list[int]], dict, lambda value: value.update(a=[1]), {"a": [1]}),
        (dict[str, list[int]], lambda: {"a": []}, lambda value: value["a"].append(1), {"a": [1]}),
        (Any, list, lambda value: value.append(1), [1]),
    ],
)
async def test_a_change_inside_a_default_is_stored(
    make: Callable[[Any, Callable[[], Any]], type[Any]],
    kind: Any,
    default: Callable[[], Any],
    change: Callable[[Any], None],
    stored: Any,
    layer: SessionLayer,
) -> None:
    session, request_session = await layer.load()
    change(typed_view(make(kind, default), session).value)
    await session.save()
    assert await layer.read(str(request_session.cookie())) == {"value": stored}


@pytest.mark.parametrize("default", [Nested, NestedData, NestedStruct, Plain, set])
async def test_a_default_that_cannot_be_stored_is_refused(
    default: Callable[[], Any], layer: SessionLayer
) -> None:
    """With `Any` the type says nothing, so the default is checked when it is read."""
    session, _ = await layer.load()
    for make in VIEWS:
        with pytest.raises(TypeError, match="'value' cannot hold this value"):
            typed_view(make(Any, default), session).value  # noqa: B018


async def test_types_that_a_session_returns(layer: SessionLayer) -> None:
    class View:
        tree: Tree = {}  # noqa: RUF012 - copied for each session
        theme: Theme = Theme.DARK
        count: Annotated[int, msgspec.Meta(ge=0)] = 0
        last: int | None = None

    session, request_session = await layer.load()
    view = typed_view(View, session)
    assert (view.tree, view.theme, view.count, view.last) == ({}, "dark", 0, None)
    view.tree["name"] = "root"
    view.tree["children"] = [{"name": "leaf"}]
    view.theme, view.count = Theme.DARK, 1
    await session.save()
    tree = {"name": "root", "children": [{"name": "leaf"}]}
    stored = await layer.read(str(request_session.cookie()))
    assert stored == {"tree": tree, "theme": "dark", "count": 1}


def test_in_an_application() -> None:
    class Address(BaseModel):
        address: Nested = Nested()

    app = FastAPI()
    app.add_middleware(SessionMiddleware, store="memory://", data=Address)

    @app.post("/dependency")
    async def dependency(view: Annotated[Address, typed(Address)]) -> None:
        view.address.street = "Main"

    @app.post("/data")
    async def data(session: SessionDep) -> None:
        session.data.address.street = "Main"

    client = TestClient(app, base_url="https://shop.example")
    for path in ("/dependency", "/data"):
        with pytest.raises(TypeError, match=r"^Address\.address: expected a type that a session returns"):
            client.post(path)
