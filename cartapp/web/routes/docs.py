"""The OpenAPI document, and the page that shows it with assets of our own."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from ..answers import JSONAnswer
from ..routing import PageRoute
from ..templating import page

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONAnswer:
    """The document."""
    answer = JSONAnswer(request.app.openapi())
    answer.headers["Cache-Control"] = "no-cache"
    return answer


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> Response:
    """Swagger UI."""
    return page("docs.html", request.scope, {})
