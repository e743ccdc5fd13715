"""FastAPI dependencies for the session and its typed view.

@app.get("/cart")
async def cart(session: SessionDep): ...

ShopDep = Annotated[Shop, typed(Shop)]
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from .middleware import session_of
from .session import Session
from .typed import typed_view

T = TypeVar("T")


async def load_session(connection: HTTPConnection) -> Session:
    """Load the request's session. Raises `StoreUnavailable`, which the middleware turns into a 503."""
    return await session_of(connection).load()


SessionDep = Annotated[Session, Depends(load_session)]
"""The loaded session, as a handler's parameter."""


def typed(view: type[T]) -> Any:
    """Return a dependency for the session as attributes of `view`, a class with typed fields and defaults."""
    return Depends(_viewer(view))


def _viewer(view: type[T]) -> Callable[..., Awaitable[T]]:
    async def viewed(session: SessionDep) -> T:
        return typed_view(view, session)

    return viewed
