"""The language cookie, which scripts may read and which needs no session."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from .. import languages
from ..answers import JSONAnswer
from ..inputs import LanguageChoice
from ..outputs import PROBLEMS, LanguageAnswer, Message
from ..routing import JSONRoute

router = APIRouter(route_class=JSONRoute, strict_content_type=False, tags=["Language"], responses=PROBLEMS)

_YEAR = 365 * 24 * 60 * 60  # seconds


@router.post("/api/set-language", response_model=Message)
async def set_language(
    request: Request,
    choice: Annotated[
        LanguageChoice, Body(openapi_examples={"french": {"value": {"language": "fr"}}})
    ] = LanguageChoice(),
) -> JSONAnswer:
    """Remember a language in a cookie for a year."""
    answer = JSONAnswer({"message": f"Language set to {choice.language}"})
    answer.headers["Set-Cookie"] = _cookie(request, choice.language, _YEAR)
    return answer


@router.get("/api/get-language", response_model=LanguageAnswer)
async def get_language(request: Request) -> JSONAnswer:
    """The language of the cookie."""
    answer = JSONAnswer({"language": languages.from_cookie(request.headers) or languages.DEFAULT})
    answer.headers.update({"Vary": "Cookie", "Cache-Control": "private, no-cache"})
    return answer


@router.post("/api/clear-language", response_model=Message)
async def clear_language(request: Request) -> JSONAnswer:
    """Remove the cookie."""
    answer = JSONAnswer({"message": "Language cookie cleared"})
    answer.headers["Set-Cookie"] = _cookie(request, "", 0)
    return answer


def _cookie(request: Request, value: str, max_age: int) -> str:
    """A language tag needs no quoting; with a `max_age` of 0 seconds the cookie expires (RFC 6265bis).

    It is Secure where the session's cookie is. Its name has no prefix, since clients know it as `language`.
    """
    setting = request.app.state.settings.session_secure
    is_secure = request.url.scheme == "https" if setting == "auto" else setting
    secure = "; Secure" if is_secure else ""
    return f"{languages.COOKIE}={value}; Path=/; Max-Age={max_age}; SameSite=Lax{secure}"
