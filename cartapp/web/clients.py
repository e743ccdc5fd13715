"""Who is asking: a program that wants JSON, or a person who wants a page."""

from starlette.datastructures import Headers
from starlette.types import Scope

_JSON_PATHS = ("/visit-counter", "/healthz", "/readyz", "/openapi.json", "/metrics")
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


def media_type(value: str) -> str:
    """A media type without its parameters, in lower case."""
    return value.partition(";")[0].strip().lower()


def is_json_client(headers: Headers) -> bool:
    """Whether `Content-Type` or `Accept` names application/json; `*/*` alone does not."""
    named = (headers.get("content-type", ""), *headers.get("accept", "").split(","))
    return any(media_type(name) == "application/json" for name in named)


def wants_page(scope: Scope) -> bool:
    """Whether an answer that only says what happened, such as a 404, is to be a page."""
    path = scope["path"]
    if path.startswith("/api/") or path in _JSON_PATHS:
        return False
    headers = Headers(scope=scope)
    if is_json_client(headers):
        return False
    return "text/html" in headers.get("accept", "").lower() or (
        media_type(headers.get("content-type", "")) in _FORM_TYPES
    )
