"""A short way through FastAPI for the hot JSON routes of the shop.

FastAPI's general dependency solver takes about as long as the session and the cart of a request together.
A handler on the short way stays an ordinary FastAPI function: its dependencies, overrides and validation
errors, and its entry in the OpenAPI document, are those of any other.

`APIRoute.get_route_handler` is documented; `APIRoute.dependant` is not. It is read here only, while the
application is built: what a handler takes is not known otherwise.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import get_annotations, iscoroutinefunction
from typing import Any

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from .body import read_json
from .json_route import WITHOUT_BODY, Handler, JSONRoute


class HotRoute(JSONRoute):
    """A `JSONRoute` with a short way to handlers that return a response.

    Such a handler is an `async` function that takes path parameters, one JSON body, the request, and `async`
    dependencies that take the request. Every other handler is called by FastAPI itself, and so is this one
    while the application has `dependency_overrides`.
    """

    def get_route_handler(self) -> Handler:
        """Return the short handler if this route can have one, else FastAPI's."""
        general = super().get_route_handler()
        # `include_router` calls this again on a finished route. Only FastAPI knows its further dependencies.
        is_finished = hasattr(self, "app")
        if is_finished or not is_simple(self.dependant):
            return general
        return _short_handler(self.dependant, general, self.dependency_overrides_provider)


def is_simple(dependant: Dependant) -> bool:
    """Return whether a handler can be called the short way."""
    bodies = [field.field_info for field in dependant.body_params]
    return (
        len(bodies) < 2
        and all(map(_is_whole_body, bodies))
        and _returns_response(dependant.call)
        and not _takes_more(dependant)
        and all(map(_is_simple_dependency, dependant.dependencies))
    )


def _is_whole_body(field: Any) -> bool:
    """Return whether a parameter is the JSON body itself, not a field of it or of a form."""
    return isinstance(field, params.Body) and not isinstance(field, params.Form) and not field.embed


def _returns_response(handler: Callable[..., Any] | None) -> bool:
    returned = get_annotations(handler, eval_str=True).get("return") if iscoroutinefunction(handler) else None
    return isinstance(returned, type) and issubclass(returned, Response)


def _takes_more(dependant: Dependant) -> bool:
    """Return whether a function takes more than the request, path parameters, a body and dependencies."""
    return any(
        (
            dependant.query_params,
            dependant.header_params,
            dependant.cookie_params,
            dependant.websocket_param_name,
            dependant.response_param_name,
            dependant.background_tasks_param_name,
            dependant.security_scopes_param_name,
        )
    )


def _is_simple_dependency(dependant: Dependant) -> bool:
    """Return whether a dependency is an `async` function, without `yield`, of the request and its like."""
    return (
        iscoroutinefunction(dependant.call)
        and dependant.use_cache
        and not (dependant.path_params or dependant.body_params or _takes_more(dependant))
        and all(map(_is_simple_dependency, dependant.dependencies))
    )


@dataclass(frozen=True, slots=True)
class _Dependency:
    name: str | None
    call: Callable[..., Awaitable[Any]]
    request_names: tuple[str, ...]
    dependencies: tuple["_Dependency", ...]


async def _values(
    dependencies: tuple[_Dependency, ...], request: Request, cache: dict[Any, Any]
) -> dict[str, Any]:
    """Call each function, once a request."""
    values: dict[str, Any] = {}
    for each in dependencies:
        if each.call not in cache:
            arguments = await _values(each.dependencies, request, cache) if each.dependencies else {}
            for name in each.request_names:
                arguments[name] = request
            cache[each.call] = await each.call(**arguments)
        if each.name is not None:
            values[each.name] = cache[each.call]
    return values


def _dependencies(dependant: Dependant) -> tuple[_Dependency, ...]:
    return tuple(
        _Dependency(each.name, each.call, _request_names(each), _dependencies(each))
        for each in dependant.dependencies
        if each.call is not None
    )


def _request_names(dependant: Dependant) -> tuple[str, ...]:
    names = (dependant.request_param_name, dependant.http_connection_param_name)
    return tuple(name for name in names if name is not None)


def _short_handler(dependant: Dependant, general: Handler, provider: Any) -> Handler:
    handler: Any = dependant.call
    dependencies, request_names = _dependencies(dependant), _request_names(dependant)
    path_fields = [(field.name, field.alias, field.validate) for field in dependant.path_params]
    body_fields = [(field.name, field.validate) for field in dependant.body_params]

    async def handle(request: Request) -> Response:
        if provider is not None and provider.dependency_overrides:
            return await general(request)
        body: Any = {}
        if request.method not in WITHOUT_BODY:
            body, _ = await read_json(request)
        values = await _values(dependencies, request, {})
        errors: list[Any] = []
        for name, alias, validate in path_fields:
            values[name], found = validate(request.path_params[alias], loc=("path", alias))
            errors += found
        for name, validate in body_fields:
            values[name], found = validate(body, loc=("body",))
            errors += found
        if errors:
            raise RequestValidationError(errors, body=body)
        for name in request_names:
            values[name] = request
        response: Response = await handler(**values)
        return response

    return handle
