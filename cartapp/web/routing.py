"""Routes of pages, routes whose body is strict JSON, and the form of a product in a path."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from cartapp.session.direct import DirectRoute

from .body import read_json


class _Product(StringConvertor):
    """Any text but the name of the sibling `/api/cart/add`, where PUT and DELETE are 405."""

    regex = "(?!add$)[^/]+"


register_url_convertor("product", _Product())

_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class _JSONRequest(Request):
    """A request whose body has been read as one JSON object, as FastAPI then finds it."""

    def __init__(self, request: Request, fields: dict[str, Any], body: bytes) -> None:
        super().__init__(request.scope if body else _without_content_type(request), request.receive)
        self._fields = fields
        self._raw = body or b"{}"  # so that every field's default applies to an empty body

    async def body(self) -> bytes:
        """What was sent; an empty object when that was nothing."""
        return self._raw

    async def json(self) -> dict[str, Any]:
        """The object."""
        return self._fields


def _without_content_type(request: Request) -> dict[str, Any]:
    """The scope of an empty body, which may come with any content type: there is nothing to be of it."""
    headers = [header for header in request.scope["headers"] if header[0] != b"content-type"]
    return {**request.scope, "headers": headers}


class PageRoute(APIRoute):
    """A route on FastAPI's general way, with the stack that this way wants to find; see `Application`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app = AsyncExitStackMiddleware(self.app)


class JSONRoute(DirectRoute):
    """A route that takes no body or one JSON object, and refuses every other (400, 415).

    That holds for routes that ignore their body too: a form on another site cannot send JSON unasked.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.is_short:
            self.app = AsyncExitStackMiddleware(self.app)
        self._beginning, parameter, _ = self.path.partition("{")
        self._has_parameters = bool(parameter)

    def is_plain(self, scope: Scope) -> bool:
        """Every request is: its body is read right here."""
        return True

    async def read_body(self, request: Request) -> Any:
        """As for `get_route_handler`. What it raises, the application's own handlers answer."""
        if request.method in _WITHOUT_BODY:
            return {}
        fields, _ = await read_json(request)
        return fields

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the framework's own, which takes a regular expression for every route of the application."""
        path: str = scope["path"]
        may_match = self._beginning in path if self._has_parameters else path.endswith(self._beginning)
        if not may_match:
            return Match.NONE, {}
        match, found = Route.matches(self, scope)  # FastAPI's own asks in between for an included router
        found["route"] = self
        return match, found

    def handle(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """As the framework's own, which first asks whether the route belongs to an included router."""
        is_allowed = scope["method"] in (self.methods or ())
        return (self.app if is_allowed else super().handle)(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the strict reading of the body."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if request.method in _WITHOUT_BODY:
                return await handle(request)
            return await handle(_JSONRequest(request, *await read_json(request)))

        return strict
