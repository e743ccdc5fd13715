"""Files at fixed addresses that browsers and crawlers ask for."""

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, RedirectResponse

from .root_path import get_root_path
from .static import static_url

router = APIRouter(include_in_schema=False)

_ROBOTS = """User-agent: *
Disallow: /account/
Disallow: /api/
Disallow: /cart
Disallow: /dashboard
Disallow: /*?q=
"""


@router.get("/favicon.ico")
async def favicon(request: Request) -> RedirectResponse:
    """Redirect to the icon, for clients that do not read the page's link to it."""
    return RedirectResponse(get_root_path(request.scope) + static_url("icon.svg"))


@router.get("/robots.txt")
async def robots() -> PlainTextResponse:
    """Return the rules for crawlers (RFC 9309)."""
    return PlainTextResponse(_ROBOTS, headers={"Cache-Control": "public, max-age=86400"})
