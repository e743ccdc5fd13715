"""For FastAPI: the session, and its typed view, as dependencies.

@app.get("/cart")
async def cart(session: SessionDep): ...

ShopDep = Annotated[Shop, typed(Shop)]
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from .session import Session
from .typed import typed_view

T = TypeVar("T")


async def load_session(connection: HTTPConnection) -> Session:
    """The request's session, loaded. Raises `StoreUnavailable`, which the middleware answers with 503."""
    return await cast(Session, connection.session).load()


SessionDep = Annotated[Session, Depends(load_session)]
"""A loaded session as a handler's argument."""


def typed(view: type[T]) -> Any:
    """A dependency that gives the session as attributes of `view`, a class with typed fields and defaults."""
    return Depends(_viewer(view))


def _viewer(view: type[T]) -> Callable[..., Awaitable[T]]:
    async def viewed(session: SessionDep) -> T:
        return typed_view(view, session)

    return viewed
