"""Content negotiation: JSON or a page."""

from starlette.datastructures import Headers
from starlette.types import Scope

from .root_path import get_route_path

_JSON_PATHS = ("/visit-counter", "/healthz", "/readyz", "/openapi.json", "/metrics")
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


def media_type(value: str) -> str:
    """Return a media type without its parameters, in lower case."""
    return value.partition(";")[0].strip().lower()


def is_json_client(headers: Headers) -> bool:
    """Return whether `Content-Type` or `Accept` names application/json; `*/*` alone does not."""
    named = (headers.get("content-type", ""), *headers.get("accept", "").split(","))
    return any(media_type(name) == "application/json" for name in named)


def prefers_representation(headers: Headers) -> bool:
    """Return whether a form's response should be the changed page, without a redirect (RFC 7240)."""
    preferences = ",".join(headers.getlist("prefer")).split(",")
    return "return=representation" in (preference.strip().lower() for preference in preferences)


def prefers_page(scope: Scope) -> bool:
    """Return whether an error response, such as a 404, should be a page."""
    path = get_route_path(scope)
    if path.startswith("/api/") or path in _JSON_PATHS:
        return False
    headers = Headers(scope=scope)
    if is_json_client(headers):
        return False
    return "text/html" in headers.get("accept", "").lower() or (
        media_type(headers.get("content-type", "")) in _FORM_TYPES
    )
