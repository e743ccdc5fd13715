"""Error responses: `{"error": "<sentence>"}` for JSON clients, a page for browsers."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Host, Match, Mount
from starlette.types import Scope

from cartapp.accounts import (
    EmailTaken,
    InvalidCredentials,
    TooBusy,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from cartapp.cart import CartFull, NotInCart
from cartapp.catalogue import NoSuchProduct
from cartapp.database.shop import DatabaseUnavailable
from cartapp.messages import Message, MessageError, _
from cartapp.session import (
    RETRY_AFTER,
    SessionBusy,
    SessionEnded,
    SessionError,
    SessionTooLarge,
    StoreUnavailable,
    error_message,
    error_status,
)

from .json_response import MsgspecResponse
from .negotiation import prefers_page
from .own_pages import page_of_form
from .root_path import get_root_path, get_route_path
from .schemas.types import validation_message
from .templating import page

M = TypeVar("M", bound=BaseModel)

logger = logging.getLogger("cartapp.web")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE")
"""Methods that a route may have, besides HEAD and OPTIONS."""

STATUS_MESSAGES = {
    404: Message(_("Not found")),
    405: Message(_("Method not allowed")),
    500: Message(_("Internal server error")),
}
"""Messages that say no more than the status; an error page leaves them to its title."""


_TEMPORARY = (409, 429, 500, 503)
"""Statuses that a later request may not get again."""


_REPEATABLE = ("/preferences", "/profile/update")
"""Forms with typed fields that may be submitted twice: they set values."""

FIELDS = "form_fields"
"""Name in the scope of the fields of the request's form."""


class APIError(MessageError):
    """A rejected request: the status, a message, and optional details for JSON clients.

    `fields` has the message of each invalid form field, for the form when it is shown again.
    """

    def __init__(
        self,
        status: int,
        message: Message | str,
        *,
        details: list[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, Message] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.details = status, details
        self.headers, self.fields = headers or {}, fields or {}


class PartialFailure(MessageError):
    """A failed step of a request; `template` names what was done and has a hole for the `{reason}`."""

    def __init__(self, template: str, cause: SessionError) -> None:
        super().__init__(template, reason=session_message(cause))
        self.status = error_status(cause)


STATUS_CODES: Mapping[type[MessageError], int] = {
    NotInCart: 404,
    NoSuchProduct: 404,
    CartFull: 409,
    InvalidCredentials: 401,
    WrongPassword: 403,
    WeakPassword: 400,
    EmailTaken: 409,
    TooManyAttempts: 429,
    TooBusy: 503,
}
"""The status of each error of the shop."""

_FIELDS: Mapping[type[MessageError], tuple[str, ...]] = {
    WrongPassword: ("current_password",),
    WeakPassword: ("password", "new_password"),
    EmailTaken: ("email",),
}
"""The form fields that such an error is about."""

API_ERRORS: tuple[type[MessageError], ...] = (APIError, *STATUS_CODES)
"""Every error that rejects a request."""


def as_api_error(error: MessageError) -> APIError:
    """Return an error of `API_ERRORS` with its status, headers and form fields."""
    if isinstance(error, APIError):
        return error
    retry = None
    if isinstance(error, TooManyAttempts | TooBusy):
        retry = {"Retry-After": str(error.retry_after)}
    fields = dict.fromkeys(_FIELDS.get(type(error), ()), error.message)
    return APIError(STATUS_CODES[type(error)], error.message, headers=retry, fields=fields)


def error_response(
    scope: Scope,
    status: int,
    message: Message | str,
    *,
    details: list[Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response to a failed request: a page or JSON."""
    response: Response
    if prefers_page(scope):
        shown = message if isinstance(message, Message) else Message(str(message))
        says_more = shown if shown != STATUS_MESSAGES.get(status) else None
        context = {
            "status": status,
            "message": says_more,
            "is_get": scope["method"] == "GET",
            "again": _retry_url(scope, status),
            "fields": _repeatable_fields(scope, status),
            "action": get_root_path(scope) + get_route_path(scope),
        }
        response = page("error.html", scope, context, status)
    else:
        error = str(message) if isinstance(message, Message) else message
        content = {"error": error} | ({"details": details} if details else {})
        response = MsgspecResponse(content, status)
    response.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return response


def _retry_url(scope: Scope, status: int) -> str | None:
    """Return the URL of "Try again", if any: never that of a form, which a click could submit twice."""
    if status not in _TEMPORARY:
        return None
    if scope["method"] == "GET":
        return ""  # this page
    path = page_of_form(scope)
    return path and get_root_path(scope) + path


def _repeatable_fields(scope: Scope, status: int) -> Mapping[str, str] | None:
    """Return the fields that "Try again" submits once more, without passwords; None if it is a link."""
    if status != 503 or scope["method"] != "POST" or get_route_path(scope) not in _REPEATABLE:
        return None
    fields = scope.get(FIELDS)
    if not isinstance(fields, dict):
        return None
    return {name: "" if "password" in name else str(value) for name, value in fields.items()}


def session_message(error: SessionError) -> Message:
    """Return a message for the visitor. It makes no claim about a write with an unknown outcome."""
    match error:
        case DatabaseUnavailable():
            return Message(_("The shop's database cannot be reached at the moment"))
        case StoreUnavailable():
            return Message(_("The session store cannot be reached at the moment"))
        case SessionEnded():
            return Message(
                _("This session was ended or rotated by another request; this change was not saved")
            )
        case SessionBusy():
            return Message(
                _("The session is being changed by too many requests at once; this change was not saved")
            )
        case SessionTooLarge(size=size, limit=limit, largest=largest):
            return Message(
                _("The session would take {size} bytes and the limit is {limit}; its largest keys: {keys}"),
                size=size,
                limit=limit,
                keys=", ".join(largest),
            )
    return Message(error_message(error).removesuffix("."))


def session_error_response(scope: Scope, error: SessionError) -> Response:
    """Return the response to a failed load or commit of the session: 409, 413 or 503."""
    return _failed(scope, error_status(error), session_message(error))


def _failed(scope: Scope, status: int, message: Message) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else None
    return error_response(scope, status, message, headers=headers)


def validated(model: type[M], fields: Mapping[str, Any]) -> M:
    """Return the fields as a model. Raises `APIError` with 400."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_input=False)) from None


def _invalid(errors: Sequence[Mapping[str, Any]]) -> APIError:
    """Return the first error as the message, and several errors also as details."""
    problems = [
        {"field": str(error["loc"][-1]) if error["loc"] else "", "error": error["msg"]} for error in errors
    ]
    fields = {name: message for one in reversed(errors) for name, message in _by_field(one)}
    details = problems if len(problems) > 1 else None
    return APIError(400, validation_message(errors[0]), details=details, fields=fields)


def _by_field(error: Mapping[str, Any]) -> Iterable[tuple[str, Message]]:
    """Return the fields that an error is about, each with its message."""
    missing: Iterable[str] = error.get("ctx", {}).get("missing", ())
    if missing:
        return [(name, Message(_("{field} is required"), field=name)) for name in missing]
    return [(str(name), validation_message(error)) for name in error["loc"][-1:]]


def _allowed_methods(request: Request, error: HTTPException) -> str:
    """Return every method of the path (RFC 9110, section 10.2.1); the router names those of one route only.

    Mounted applications, such as the static files, have named their own.
    """
    named = (error.headers or {}).get("Allow", "").split(", ")
    methods = {"OPTIONS", *filter(None, named)}
    scope = {key: request.scope[key] for key in ("type", "path", "root_path", "headers")}
    routes = [route for route in request.app.routes if not isinstance(route, Mount | Host)]
    for method in METHODS:
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes):
            methods.add(method)
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MessageError)  # noqa: S101 - as below
    what = as_api_error(error)
    return error_response(
        request.scope, what.status, what.message, details=what.details, headers=what.headers
    )


async def _incomplete(request: Request, error: Exception) -> Response:
    assert isinstance(error, PartialFailure)  # noqa: S101 - as below
    logger.warning("%s %s: %s", request.method, request.url.path, error)
    return _failed(request.scope, error.status, error.message)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
    errors = error.errors()
    in_path = next((one for one in errors if one["loc"][0] == "path"), None)
    if in_path is not None:
        return error_response(request.scope, 404, validation_message(in_path))
    return await _api_error(request, _invalid(errors))


def _http_message(error: HTTPException) -> Message | str:
    """Return the detail; for the default phrase, the translatable message of the status."""
    message = STATUS_MESSAGES.get(error.status_code)
    return message if message and error.detail == HTTPStatus(error.status_code).phrase else error.detail


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if error.status_code != 405:
        return error_response(request.scope, error.status_code, _http_message(error), headers=error.headers)
    allow = {"Allow": _allowed_methods(request, error)}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    return error_response(request.scope, 405, STATUS_MESSAGES[405], headers=allow)


def install(app: FastAPI) -> None:
    """Register the handlers with the application."""
    for kind in API_ERRORS:
        app.add_exception_handler(kind, _api_error)
    app.add_exception_handler(PartialFailure, _incomplete)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
