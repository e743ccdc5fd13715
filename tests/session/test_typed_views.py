"""Typed views: plain classes, dataclasses, msgspec Structs, Pydantic models and TypedDicts."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TypedDict

import msgspec
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from cartapp.session import SessionMiddleware
from cartapp.session.fastapi import SessionDep, typed
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.typed import typed_view
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


class Plain:
    LIMIT: ClassVar[int] = 3
    token: str
    visits: int = 0
    cart: list[str] = []  # noqa: RUF012 - copied for each session

    @property
    def is_full(self) -> bool:
        return len(self.cart) >= 3

    def count(self) -> int:
        self.visits += 1
        return self.visits


@dataclass
class Data:
    LIMIT: ClassVar[int] = 3
    token: str
    visits: int = 0
    cart: list[str] = field(default_factory=list)

    is_full = Plain.is_full
    count = Plain.count


@dataclass(slots=True, kw_only=True)
class SlottedData:
    token: str
    visits: int = 0
    cart: list[str] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.cart) >= 3

    def count(self) -> int:
        self.visits += 1
        return self.visits


class Record(msgspec.Struct, kw_only=True):
    token: str
    visits: int = 0
    cart: list[str] = []

    @property
    def is_full(self) -> bool:
        return len(self.cart) >= 3

    def count(self) -> int:
        self.visits += 1
        return self.visits


class Base(BaseModel):
    token: str

    def count(self) -> int:
        self.visits: int = self.visits + 1
        return self.visits


class Model(Base):
    visits: int = 0
    cart: list[str] = Field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.cart) >= 3


VIEWS = [Plain, Data, SlottedData, Record, Model]


@pytest.fixture
def layer(clock: ManualClock) -> SessionLayer:
    return SessionLayer(MemoryStore(clock=clock), clock)


@pytest.mark.parametrize("view", VIEWS)
async def test_reads_and_writes_the_session(view: type[Any], layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    data = typed_view(view, session)
    assert (data.visits, data.cart, data.is_full) == (0, [], False)
    with pytest.raises(AttributeError, match=rf"^{view.__name__}.token has no value yet and no default\.$"):
        data.token  # noqa: B018
    assert not session
    data.visits += 1
    assert data.count() == 2
    data.cart.append("tea")
    data.token = "t"
    await session.save()
    assert await layer.read(str(request_session.cookie())) == {"visits": 2, "cart": ["tea"], "token": "t"}
    data.cart.extend(["milk", "sugar"])
    assert data.is_full
    del data.token
    assert "token" not in session


@pytest.mark.parametrize("view", VIEWS)
async def test_another_type_is_one_sentence(view: type[Any], layer: SessionLayer) -> None:
    session, _ = await layer.load()
    data = typed_view(view, session)
    for name, value in (("visits", "3"), ("cart", {"a": 1}), ("cart", [1]), ("token", None)):
        with pytest.raises(TypeError, match=rf"^{view.__name__}\.{name}: ."):
            setattr(data, name, value)
    assert not session
    session["visits"] = "3"
    with pytest.raises(TypeError, match=rf"^{view.__name__}\.visits: ."):
        data.visits  # noqa: B018
    with pytest.raises(AttributeError, match=rf"^{view.__name__} has no field 'visit'\.$"):
        data.visit = 1


@pytest.mark.parametrize("view", VIEWS)
async def test_sessions_do_not_share_defaults(view: type[Any], layer: SessionLayer) -> None:
    first, second = [typed_view(view, (await layer.load())[0]) for _ in range(2)]
    first.cart.append("tea")
    assert second.cart == []


async def test_constraints_of_fields_apply(layer: SessionLayer) -> None:
    class Limited(msgspec.Struct):
        visits: Annotated[int, msgspec.Meta(ge=0)] = 0

    class LimitedModel(BaseModel):
        visits: Annotated[int, Field(ge=0)] = 0
        name: str = Field("guest", max_length=5)

    session, _ = await layer.load()
    views: list[type[Any]] = [Limited, LimitedModel]
    for view in views:
        with pytest.raises(TypeError, match=rf"^{view.__name__}\.visits: .*(>=|greater than or equal to) 0"):
            typed_view(view, session).visits = -1
    with pytest.raises(TypeError, match=r"^LimitedModel.name: String should have at most 5 characters\.$"):
        typed_view(LimitedModel, session).name = "longer"


class Items(TypedDict, total=False):
    visits: int


async def test_a_typed_dict_is_the_session(layer: SessionLayer) -> None:
    session, _ = await layer.load()
    items = typed_view(Items, session)
    items["visits"] = 1
    assert items is session


@pytest.mark.parametrize("view", [*VIEWS, Items])
def test_as_a_dependency_and_as_data(view: type[Any]) -> None:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store="memory://", data=view)

    @app.post("/")
    async def count(shop: Annotated[Any, typed(view)], session: SessionDep) -> int:
        if view is Items:
            session.data["visits"] = shop.get("visits", 0) + 1
            return int(shop["visits"])
        session.data.visits += 1
        return int(shop.visits)

    with TestClient(app, base_url="https://shop.example") as client:
        assert [client.post("/").json() for _ in range(2)] == [1, 2]
