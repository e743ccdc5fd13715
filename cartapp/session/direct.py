"""For FastAPI: a shorter way from the router to handlers that want little.

app.router.route_class = DirectRoute

FastAPI's general way (exit stacks, dependency solving, telemetry) takes as long as everything else that a
request to a cart does, the session layer included. A handler on the short way stays an ordinary FastAPI
function: it is in the OpenAPI document, and its parameters are validated by the same fields with the same
errors.
"""

import json
from collections.abc import Awaitable, Callable
from inspect import get_annotations, iscoroutinefunction
from typing import Any

from fastapi import HTTPException, params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .fastapi import load_session

Direct = Callable[[Request, Any], Awaitable[Response]]
"""Calls a handler with the request and what its JSON body holds."""

_JSON = (b"application/json", b"application/json; charset=utf-8")
_LIMITED = "starlette.max_body_size"  # the scope's key of a limit that FastAPI has an answer for


class DirectRoute(APIRoute):
    """A route that takes the short way to an `async` handler which wants nothing but its path, one JSON body,
    `SessionDep` and the request, and returns a Response. To every other handler it goes FastAPI's own way.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        call = direct(self.dependant)
        if call is not None:
            self.app = self.short_way(call)

    def short_way(self, call: Direct) -> ASGIApp:
        """The application that reads the body and calls the handler."""
        general = self.app
        wants_body = self.body_field is not None
        provider = self.dependency_overrides_provider

        async def short(scope: Scope, receive: Receive, send: Send) -> None:
            if (provider and provider.dependency_overrides) or (wants_body and not _brings_json(scope)):
                await general(scope, receive, send)
                return
            request = Request(scope, receive, send)
            response = await call(request, await _json(request) if wants_body else None)
            await response(scope, receive, send)

        return short


def direct(dependant: Dependant) -> Direct | None:
    """The short way to a handler; None when it wants more than that. Raises RequestValidationError."""
    handler = dependant.call
    if handler is None or not _wants_little(dependant) or not _answers(handler):
        return None
    session_name = next((each.name for each in dependant.dependencies), None)
    request_name = dependant.request_param_name
    in_path = [(field.name, field.alias, field.validate) for field in dependant.path_params]
    in_body = [(field.name, field.validate) for field in dependant.body_params]

    async def call(request: Request, body: Any) -> Response:
        values: dict[str, Any] = {}
        errors: list[dict[str, Any]] = []
        for name, alias, validate in in_path:
            values[name], wrong = validate(request.path_params[alias], loc=("path", alias))
            errors += wrong
        for name, validate in in_body:
            values[name], wrong = validate(body, loc=("body",))
            errors += wrong
        if errors:
            raise RequestValidationError(errors, body=body)
        if request_name is not None:
            values[request_name] = request
        if session_name is not None:
            values[session_name] = await load_session(request)
        response: Response = await handler(**values)
        return response

    return call


def _wants_little(dependant: Dependant) -> bool:
    elsewhere = (dependant.query_params, dependant.header_params, dependant.cookie_params)
    objects = (
        dependant.response_param_name,
        dependant.background_tasks_param_name,
        dependant.http_connection_param_name,
        dependant.security_scopes_param_name,
    )
    sessions = [each.call is load_session for each in dependant.dependencies]
    bodies = [_is_whole_body(field.field_info) for field in dependant.body_params]
    return (
        not any(elsewhere)
        and not any(objects)
        and all(sessions)
        and all(bodies)
        and max(len(sessions), len(bodies)) < 2
    )


def _is_whole_body(field: Any) -> bool:
    """Whether it is the JSON body itself, and no field of it or of a form."""
    return isinstance(field, params.Body) and not isinstance(field, params.Form) and not field.embed


def _answers(handler: Callable[..., Any]) -> bool:
    """Whether it makes its own response, so that there is nothing left to serialize."""
    returned = get_annotations(handler, eval_str=True).get("return")
    return iscoroutinefunction(handler) and isinstance(returned, type) and issubclass(returned, Response)


def _brings_json(scope: Scope) -> bool:
    """Whether there is a body that is plainly JSON; of all else FastAPI knows what to make."""
    headers = dict(scope["headers"])
    empty = headers.get(b"content-length", b"0") == b"0"
    return not empty and headers.get(b"content-type") in _JSON and _LIMITED not in scope


async def _json(request: Request) -> Any:
    """The body's value. Raises RequestValidationError or HTTPException (400), as FastAPI does."""
    try:
        return await request.json()
    except json.JSONDecodeError as error:
        wrong = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise RequestValidationError([wrong], body=error.doc) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, "There was an error parsing the body") from error
