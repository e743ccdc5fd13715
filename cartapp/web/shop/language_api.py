"""The language cookie, which scripts can read and which needs no session."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from ..deps import SettingsDep
from ..i18n import languages
from ..json_response import MsgspecResponse
from ..json_route import JSONRoute
from ..preference_cookies import set_cookie
from ..schemas.requests import LanguageUpdate
from ..schemas.responses import ERRORS, LanguageResponse, MessageResponse

router = APIRouter(route_class=JSONRoute, tags=["Language"], responses=ERRORS)


@router.post("/api/set-language", response_model=MessageResponse)
async def set_language(
    request: Request,
    settings: SettingsDep,
    body: Annotated[
        LanguageUpdate, Body(openapi_examples={"french": {"value": {"language": "fr"}}})
    ] = LanguageUpdate(),
) -> MsgspecResponse:
    """Set the language cookie for a year."""
    response = MsgspecResponse({"message": f"Language set to {body.language}"})
    set_cookie(response, request, settings, languages.COOKIE, body.language)
    return response


@router.get("/api/get-language", response_model=LanguageResponse)
async def get_language(request: Request) -> MsgspecResponse:
    """Show the language of the cookie."""
    response = MsgspecResponse({"language": languages.from_cookie(request.headers) or languages.DEFAULT})
    response.headers.update({"Vary": "Cookie", "Cache-Control": "private, no-cache"})
    return response


@router.post("/api/clear-language", response_model=MessageResponse)
async def clear_language(request: Request, settings: SettingsDep) -> MsgspecResponse:
    """Remove the cookie."""
    response = MsgspecResponse({"message": "Language cookie cleared"})
    set_cookie(response, request, settings, languages.COOKIE, "", 0)
    return response
