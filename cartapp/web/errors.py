"""One shape for every failure: `{"error": "<sentence>"}` for programs, for people a page that says it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
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
from cartapp.schema import DatabaseUnavailable
from cartapp.session import SessionError, StoreUnavailable
from cartapp.session.fastapi import load_session
from cartapp.session.middleware import RETRY_AFTER, message_of, status_of

from .answers import JSONAnswer
from .clients import wants_page
from .templating import page

M = TypeVar("M", bound=BaseModel)

logger = logging.getLogger("cartapp.web")

_SENTENCES = {404: "Not found", 405: "Method not allowed", 500: "Internal server error"}
"""What says no more than the status does, and than the title of its page."""


class Refused(Exception):
    """A request that is not carried out: the status, one sentence, and perhaps a list of what is wrong.

    `fields` has the sentence of each field that is wrong, for the form that is shown again.
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        details: list[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.details, self.headers = status, sentence, details, headers or {}
        self.fields = fields or {}


class Incomplete(Exception):
    """A request of several steps, one of which failed: a sentence about what was done, and that error."""

    def __init__(self, sentence: str, cause: SessionError) -> None:
        self.status = status_of(cause)
        super().__init__(f"{sentence}: {sentence_of(cause)}")


RULES: Mapping[type[Exception], int] = {
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
"""The status of each rule of the shop that can be broken."""

_FIELDS: Mapping[type[Exception], tuple[str, ...]] = {
    WrongPassword: ("current_password",),
    WeakPassword: ("password", "new_password"),
    EmailTaken: ("email",),
}
"""The fields of forms that such a rule is about."""

REFUSALS: tuple[type[Exception], ...] = (Refused, *RULES)
"""Everything that a request may be refused for."""


def refused(error: Exception) -> Refused:
    """A broken rule, in the words of HTTP."""
    if isinstance(error, Refused):
        return error
    retry = None
    if isinstance(error, TooManyAttempts | TooBusy):
        retry = {"Retry-After": str(error.retry_after)}
    fields = dict.fromkeys(_FIELDS.get(type(error), ()), str(error))
    return Refused(RULES[type(error)], str(error), headers=retry, fields=fields)


def error_response(
    scope: Scope,
    status: int,
    sentence: str,
    *,
    details: list[Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a request that failed."""
    response: Response
    if wants_page(scope):
        again = scope["method"] == "GET" and status in (429, 500, 503)
        says_more = sentence if sentence != _SENTENCES.get(status) else None
        context = {"status": status, "sentence": says_more, "again": again}
        response = page("error.html", scope, context, status)
    else:
        response = JSONAnswer({"error": sentence} | ({"details": details} if details else {}), status)
    response.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return response


def sentence_of(error: SessionError) -> str:
    """One sentence for the visitor. Of a change whose outcome is unknown it claims nothing."""
    if isinstance(error, DatabaseUnavailable):
        return "The shop's database cannot be reached at the moment"
    return message_of(error).removesuffix(".")


def session_error_response(scope: Scope, error: SessionError) -> Response:
    """The answer when the session could not be loaded or committed: 409, 413 or 503."""
    return _failed(scope, status_of(error), sentence_of(error))


def _failed(scope: Scope, status: int, sentence: str) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else None
    return error_response(scope, status, sentence, headers=headers)


def validated(model: type[M], fields: Mapping[str, Any]) -> M:
    """The fields as a model. Raises `Refused` with 400."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_input=False)) from None


async def _meet_visitor(request: Request) -> None:
    """Load what a page shows of its visitor. Without an answer of the store the page does without."""
    is_file = request.url.path.startswith("/static/")
    if is_file or not wants_page(request.scope) or hasattr(request.state, "user"):
        return
    with suppress(StoreUnavailable):
        session = await load_session(request)
        if session.user_id is not None:
            request.state.user = await request.app.state.accounts.user(session.user_id)


def _invalid(errors: Sequence[Mapping[str, Any]]) -> Refused:
    """The first error is the sentence; when there are several, all of them are the details."""
    problems = [
        {"field": str(error["loc"][-1]) if error["loc"] else "", "error": error["msg"]} for error in errors
    ]
    fields = {name: one["msg"] for one in reversed(errors) for name in _names(one)}
    return Refused(400, problems[0]["error"], problems if len(problems) > 1 else None, fields=fields)


def _names(error: Mapping[str, Any]) -> Iterable[str]:
    """The fields that an error is about."""
    missing: Iterable[str] = error.get("ctx", {}).get("missing", ())
    return missing or [str(name) for name in error["loc"][-1:]]


def _allowed(request: Request, error: HTTPException) -> str:
    """Every method that the path knows (RFC 9110, section 10.2.1); the router names only one route's.

    What it named stands for the static files, which answer for themselves.
    """
    named = (error.headers or {}).get("Allow", "").split(", ")
    methods = {"OPTIONS", *filter(None, named)}
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


async def _refused(request: Request, error: Exception) -> Response:
    what = refused(error)
    await _meet_visitor(request)
    return error_response(
        request.scope, what.status, what.sentence, details=what.details, headers=what.headers
    )


async def _incomplete(request: Request, error: Exception) -> Response:
    assert isinstance(error, Incomplete)  # noqa: S101 - as below
    logger.warning("%s %s: %s", request.method, request.url.path, error)
    return _failed(request.scope, error.status, str(error))


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - tells the type checker what is registered
    errors = error.errors()
    in_path = next((one for one in errors if one["loc"][0] == "path"), None)
    if in_path is not None:
        await _meet_visitor(request)
        return error_response(request.scope, 404, in_path["msg"])
    return await _refused(request, _invalid(errors))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if request.method != "OPTIONS":
        await _meet_visitor(request)
    if error.status_code != 405:
        sentence = _SENTENCES.get(error.status_code, error.detail)
        return error_response(request.scope, error.status_code, sentence, headers=error.headers)
    allow = {"Allow": _allowed(request, error)}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    return error_response(request.scope, 405, _SENTENCES[405], headers=allow)


def install(app: FastAPI) -> None:
    """Register the handlers with the application."""
    for kind in REFUSALS:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(Incomplete, _incomplete)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
