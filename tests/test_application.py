"""The shop's `Application`: exceptions get their answers once, and only while there is an answer to give."""

import pytest
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartapp.web.application import Application

pytestmark = pytest.mark.anyio


class Refused(Exception):
    """What the application has a handler for."""


async def refused(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("refused", 418)


class Stream:
    """An answer that fails in its middle."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Refused


async def refuse(_request: Request) -> Response:
    raise Refused


async def missing(_request: Request) -> Response:
    raise HTTPException(404, "nothing here")


async def broken(_request: Request) -> Response:
    raise ZeroDivisionError


class FailsFirst:
    """A layer that does not let the first answer begin, as a session whose commit fails."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed = False

        async def second(message: Message) -> None:
            nonlocal failed
            if not failed:
                failed = True
                raise Refused
            await send(message)

        await self.app(scope, receive, second)


async def fine(_request: Request) -> Response:
    return PlainTextResponse("fine")


ROUTES = [
    Route("/fine", fine),
    Route("/refuse", refuse),
    Route("/missing", missing),
    Route("/broken", broken),
    Route("/stream", Stream()),
]


async def sent(path: str, messages: list[Message], *layers: Middleware) -> None:
    app = Application(exception_handlers={Refused: refused}, middleware=layers)
    app.router.routes.extend(ROUTES)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    for _ in range(2):  # the first request of an application takes another way
        messages.clear()
        await app({**scope, "root_path": ""}, receive, send)


@pytest.mark.parametrize(("path", "status"), [("/refuse", 418), ("/missing", 404), ("/nowhere", 404)])
async def test_an_exception_is_answered_by_its_handler(path: str, status: int) -> None:
    messages: list[Message] = []
    await sent(path, messages)
    assert [message.get("status") for message in messages] == [status, None]


async def test_an_exception_before_the_first_byte_is_answered_although_the_handler_has_answered() -> None:
    messages: list[Message] = []
    await sent("/fine", messages, Middleware(FailsFirst))
    assert [message.get("status") for message in messages] == [418, None]


async def test_an_exception_without_a_handler_goes_on() -> None:
    messages: list[Message] = []
    with pytest.raises(ZeroDivisionError):
        await sent("/broken", messages)
    assert messages == []


async def test_an_exception_amid_an_answer_goes_on() -> None:
    messages: list[Message] = []
    with pytest.raises(Refused):
        await sent("/stream", messages)
    assert [message["type"] for message in messages] == ["http.response.start"]
