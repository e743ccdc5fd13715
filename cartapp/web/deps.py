"""Dependencies of handlers, as `Annotated` types.

The application's own objects come from `app.state`; only `create_app` writes there.
"""

from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from fastapi import Depends
from pydantic import BaseModel
from starlette.requests import Request

from cartapp.accounts import Accounts, User
from cartapp.session import Sessions
from cartapp.session.fastapi import SessionDep
from cartapp.settings import Settings

from .account.current_user import LoginRequired, find_user
from .forms import Form, form_reader
from .health.readiness import Readiness
from .shop.closed_catalogue import ShopCatalogue

__all__ = [
    "AccountsDep",
    "CatalogueDep",
    "CurrentUser",
    "FormBody",
    "OptionalUser",
    "ReadinessDep",
    "SessionDep",
    "SessionsDep",
    "SettingsDep",
    "get_current_user",
]

M = TypeVar("M", bound=BaseModel)

# They are `async`, since FastAPI calls other functions in a thread.


async def get_settings(request: Request) -> Settings:
    """Return the application's settings."""
    return cast(Settings, request.app.state.settings)


async def get_accounts(request: Request) -> Accounts:
    """Return the application's accounts."""
    return cast(Accounts, request.app.state.accounts)


async def get_catalogue(request: Request) -> ShopCatalogue:
    """Return the application's catalogue."""
    return cast(ShopCatalogue, request.app.state.shop_catalogue)


async def get_sessions(request: Request) -> Sessions:
    """Return all sessions of the application."""
    return cast(Sessions, request.app.state.sessions)


async def get_readiness(request: Request) -> Readiness:
    """Return the check of the application's stores."""
    return cast(Readiness, request.app.state.readiness)


SettingsDep = Annotated[Settings, Depends(get_settings)]
AccountsDep = Annotated[Accounts, Depends(get_accounts)]
CatalogueDep = Annotated[ShopCatalogue, Depends(get_catalogue)]
SessionsDep = Annotated[Sessions, Depends(get_sessions)]
ReadinessDep = Annotated[Readiness, Depends(get_readiness)]


async def get_current_user(request: Request, session: SessionDep, accounts: AccountsDep) -> User | None:
    """Return the user of the session, or of the remember-me cookie, which then logs in; None for a guest.

    Raises `StoreUnavailable`: without sessions and accounts there is no access.
    """
    if not hasattr(request.state, "user"):
        request.state.user = await find_user(request, session, accounts)
    user: User | None = request.state.user
    return user


OptionalUser = Annotated[User | None, Depends(get_current_user)]


async def require_user(user: OptionalUser) -> User:
    """Return the current user. Raises `LoginRequired` for a guest."""
    if user is None:
        raise LoginRequired
    return user


CurrentUser = Annotated[User, Depends(require_user)]

if TYPE_CHECKING:
    FormBody = Annotated[Form[M], "a form or JSON"]
else:

    class FormBody:
        """`FormBody[Model]`: the submitted form, or JSON object, for a `Model`."""

        def __class_getitem__(cls, model: type[M]) -> object:
            return Annotated[Form[M], Depends(form_reader(model))]
