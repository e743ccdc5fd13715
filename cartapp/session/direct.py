"""For FastAPI: a shorter way from the router to handlers that want little.

app.router.route_class = DirectRoute

FastAPI's general way (exit stacks, dependency solving, telemetry) takes as long as everything else that a
request to a cart does, the session layer included. A handler on the short way stays an ordinary FastAPI
function: it is in the OpenAPI document, and its parameters are validated by the same fields with the same
errors.
"""

import json
from collections.abc import Callable
from inspect import get_annotations, iscoroutinefunction
from typing import Any, cast

from fastapi import HTTPException, params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .fastapi import load_session
from .session import Session

_JSON = (b"application/json", b"application/json; charset=utf-8")
_LIMITED = "starlette.max_body_size"  # the scope's key of a limit that FastAPI has an answer for


class DirectRoute(APIRoute):
    """A route that takes the short way to an `async` handler which wants nothing but its path, one JSON body,
    `SessionDep` and the request, and returns a Response. To every other handler it goes FastAPI's own way.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.is_short = wants_little(self.dependant)
        if self.is_short:
            self.app = self._short_way(self.app)

    def is_plain(self, scope: Scope) -> bool:
        """Whether a request can go the short way; of any other FastAPI knows what to make."""
        provider = self.dependency_overrides_provider
        overridden = provider is not None and provider.dependency_overrides
        return not overridden and (self.body_field is None or _brings_json(scope))

    async def read_body(self, request: Request) -> Any:
        """The JSON body's value. Raises RequestValidationError or HTTPException (400), as FastAPI does."""
        return None if self.body_field is None else await _json(request)

    def _short_way(self, general: ASGIApp) -> ASGIApp:
        handler = self.dependant.call
        assert handler is not None  # noqa: S101 - it wants little
        arguments_of = _arguments(self.dependant)
        session_name = next((each.name for each in self.dependant.dependencies), None)

        # All in one function: each coroutine round one that waits is gone through when that is resumed.
        async def short(scope: Scope, receive: Receive, send: Send) -> None:
            if not self.is_plain(scope):
                await general(scope, receive, send)
                return
            request = Request(scope, receive, send)
            arguments = arguments_of(request, await self.read_body(request))
            if session_name is not None:
                arguments[session_name] = await cast(Session, request.session).load()
            response: Response = await handler(**arguments)
            await response(scope, receive, send)

        return short


def _arguments(dependant: Dependant) -> Callable[[Request, Any], dict[str, Any]]:
    """Makes a handler's arguments, but for the session, of a request and what its body holds."""
    request_name = dependant.request_param_name
    in_path = [(field.name, field.alias, field.validate) for field in dependant.path_params]
    in_body = [(field.name, field.validate) for field in dependant.body_params]

    def arguments_of(request: Request, body: Any) -> dict[str, Any]:
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
        return values

    return arguments_of


def wants_little(dependant: Dependant) -> bool:
    """Whether a handler can be called the short way."""
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
        dependant.call is not None
        and _answers(dependant.call)
        and not any(elsewhere)
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
