"""Cookies for the language and the theme, which outlive the session and need none."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from cartapp.session import cookie_values
from cartapp.settings import Settings

THEME = "theme"
THEMES = ("light", "dark", "auto")
YEAR = 365 * 24 * 60 * 60  # seconds


def set_cookie(
    response: Response, request: Request, settings: Settings, name: str, value: str, max_age: int = YEAR
) -> None:
    """Set the cookie of a preference; with a `max_age` of 0 seconds it expires (RFC 6265bis).

    Neither value needs quoting. It is Secure where the session's cookie is. Its name has no prefix, since
    clients know it.
    """
    secure_option = settings.session_secure
    is_secure = request.url.scheme == "https" if secure_option == "auto" else secure_option
    secure = "; Secure" if is_secure else ""
    response.headers.append("Set-Cookie", f"{name}={value}; Path=/; Max-Age={max_age}; SameSite=Lax{secure}")


def get_theme(headers: Headers) -> str | None:
    """Return the theme of the cookie; None without a valid one."""
    value = next(reversed(cookie_values(headers.raw, THEME)), "")
    return value if value in THEMES else None
