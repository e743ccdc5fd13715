"""A shorter way from the router to a handler that wants nothing but its path, body, session and request.

FastAPI's general way (exit stacks, dependency solving, telemetry) takes as long as everything else that a
request to the cart does, the session layer included. Such a handler stays an ordinary FastAPI function: it is
in the OpenAPI document, and its parameters are validated by the same fields with the same errors.
"""

from collections.abc import Awaitable, Callable
from inspect import get_annotations
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from cartapp.session.fastapi import load_session

Direct = Callable[[Request, dict[str, Any]], Awaitable[Response]]
"""Calls a handler with the request and its body's fields."""


def direct(dependant: Dependant) -> Direct | None:
    """The short way to a handler; None when it wants more than that. Raises RequestValidationError."""
    handler = dependant.call
    if handler is None or not _wants_little(dependant) or not _answers(handler):
        return None
    session_name = next((each.name for each in dependant.dependencies), None)
    request_name = dependant.request_param_name
    in_path = [(field.name, field.alias, field.validate) for field in dependant.path_params]
    in_body = [(field.name, field.validate) for field in dependant.body_params]

    async def call(request: Request, fields: dict[str, Any]) -> Response:
        values: dict[str, Any] = {}
        errors: list[dict[str, Any]] = []
        for name, alias, validate in in_path:
            values[name], wrong = validate(request.path_params[alias], loc=("path", alias))
            errors += wrong
        for name, validate in in_body:
            values[name], wrong = validate(fields, loc=("body",))
            errors += wrong
        if errors:
            raise RequestValidationError(errors, body=fields)
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
    return (
        not any(elsewhere)
        and not any(objects)
        and all(sessions)
        and max(len(sessions), len(dependant.body_params)) < 2
    )


def _answers(handler: Callable[..., Any]) -> bool:
    """Whether it makes its own response, so that there is nothing left to serialize."""
    returned = get_annotations(handler, eval_str=True).get("return")
    return isinstance(returned, type) and issubclass(returned, Response)
