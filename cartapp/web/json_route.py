"""Routes with a strict JSON request body."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from .body import read_json

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class JSONRoute(APIRoute):
    """A route that takes no body or one JSON object. Any other body is a 400 or 415.

    That includes routes that ignore their body: a form on another site cannot send JSON without asking first.
    """

    def get_route_handler(self) -> Handler:
        """Return FastAPI's handler behind the strict parser."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if request.method in WITHOUT_BODY:
                return await handle(request)
            return await handle(_JSONRequest(request, *await read_json(request)))

        return strict


class _JSONRequest(Request):
    """A request with a parsed body. An empty body is an empty object, so all defaults apply."""

    def __init__(self, request: Request, fields: dict[str, Any], body: bytes) -> None:
        super().__init__(request.scope if body else _with_json_type(request), request.receive)
        self._fields = fields
        self._raw = body or b"{}"

    async def body(self) -> bytes:
        """Return the body as it was sent, or an empty object."""
        return self._raw

    async def json(self) -> dict[str, Any]:
        """Return the object."""
        return self._fields


def _with_json_type(request: Request) -> dict[str, Any]:
    """Return the scope of an empty body, which needs no content type, as FastAPI expects a JSON body."""
    headers = [header for header in request.scope["headers"] if header[0] != b"content-type"]
    return {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
