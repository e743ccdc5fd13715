"""The page `/proof`; in development only."""

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from cartapp.session.stores import Store
from cartapp.settings import Settings

from ..deps import SettingsDep
from ..templating import page
from .sides import PATH, create_sides

router = APIRouter(include_in_schema=False)


@router.get("/proof")
async def proof(request: Request, settings: SettingsDep) -> Response:
    """Show the page; its script sends the requests."""
    return page("proof.html", request.scope, {"backend": settings.backend, "sessions": PATH})


def install(app: FastAPI, settings: Settings, store: Store) -> None:
    """Add the page, and the handlers that its script calls unless each browser keeps its own session."""
    app.include_router(router)
    if settings.backend != "cookie":
        app.mount(PATH, create_sides(store, secure=settings.session_secure))
