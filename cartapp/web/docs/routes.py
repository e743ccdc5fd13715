"""The OpenAPI document and its page, with local assets."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from ..json_response import MsgspecResponse
from ..root_path import get_root_path
from ..templating import page

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> MsgspecResponse:
    """Return the document."""
    document = request.app.openapi()
    if root := get_root_path(request.scope):
        document = document | {"servers": [{"url": root}]}
    response = MsgspecResponse(document)
    response.headers["Cache-Control"] = "no-cache"
    return response


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> Response:
    """Show Swagger UI."""
    return page("docs.html", request.scope, {})
