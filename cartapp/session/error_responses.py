"""Session errors as HTTP responses: status, message, and the default response of the middleware."""

from collections.abc import Callable, Mapping

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from .errors import SessionBusy, SessionEnded, SessionError, SessionTooLarge, StoreUnavailable

STATUS_CODES: Mapping[type[SessionError], int] = {
    SessionEnded: 409,
    SessionTooLarge: 413,
    SessionBusy: 503,
    StoreUnavailable: 503,
}
"""The errors that the middleware turns into responses. Any other is a bug in the application."""

HANDLED_ERRORS = tuple(STATUS_CODES)
"""For an `except` clause: the errors that have an HTTP status."""

RETRY_AFTER = 1
"""Value in seconds of the `Retry-After` header of a 503."""

ErrorResponse = Callable[[Scope, SessionError], Response]
"""Builds the response for an error of `STATUS_CODES`."""

_PUBLIC_MESSAGES: Mapping[type[SessionError], str] = {
    StoreUnavailable: "The session store cannot be reached at the moment.",
}


def default_error_response(_scope: Scope, error: SessionError) -> Response:
    """Return `{"error": …}` with status 409, 413 or 503."""
    status = error_status(error)
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    return JSONResponse({"error": error_message(error)}, status, headers)


def error_status(error: SessionError) -> int:
    """Return the HTTP status of an error; one of `STATUS_CODES`."""
    return next(status for kind, status in STATUS_CODES.items() if isinstance(error, kind))


def error_message(error: SessionError) -> str:
    """Return one sentence for users, without internals such as host names."""
    public = (message for kind, message in _PUBLIC_MESSAGES.items() if isinstance(error, kind))
    return next(public, str(error))
