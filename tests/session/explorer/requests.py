"""Kinds of requests: their session operations and their responses.

One letter names a request in a run. Its text is `KIND[.old][@PROCESS]`: with `.old` it sends the cookie
that was rotated at the start of the scenario, otherwise the current one.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cartapp.session.admin.sessions import Sessions
from cartapp.session.errors import SessionError, StoreUnavailable
from cartapp.session.session import Session
from tests.support.session_layer import SessionLayer

LOG_INS = {"log_in": "ann", "log_in_bob": "bob"}
"""The kinds that log in, and the user of each."""


@dataclass(frozen=True)
class Request:
    """One request: its kind, its process and its cookie."""

    name: str
    kind: str
    process: str = "1"
    old_cookie: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{'.old' if self.old_cookie else ''}@{self.process}"


@dataclass(frozen=True)
class Response:
    """The observable outcome of a request.

    `shown` is the data and the user that the handler sees after `save`, as JSON. `cookie` is "set",
    "cleared" or None.
    """

    error: str | None = None
    result: object = None
    shown: str | None = None
    cookie: str | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether the response does not show if the request took effect."""
        return self.error == StoreUnavailable.__name__


@dataclass(frozen=True)
class Served:
    """The result of a request; the response is None if the request was cancelled."""

    response: Response | None
    new_cookie: str | None = None


class LineMissing(Exception):
    """A change of a missing cart line: a 404."""


def shown(data: object, user: str | None) -> str:
    """Return data and user in a comparable form."""
    return f"{json.dumps(data, sort_keys=True)} of {user or 'a guest'}"


def add(value: int) -> int:
    return value + 1


def change(value: int | None) -> int:
    if value is None:
        raise LineMissing
    return value + 10


async def _nothing(session: Session, name: str) -> None:
    """A read-only page."""


async def _modify(session: Session, name: str) -> None:
    session.modify("count", add, 0)


async def _update(session: Session, name: str) -> None:
    session.modify("count", change)


async def _set_light(session: Session, name: str) -> None:
    session.set("theme", "light")


async def _set_dark(session: Session, name: str) -> None:
    session.set("theme", "dark")


async def _delete(session: Session, name: str) -> None:
    session.delete("theme")


async def _clear(session: Session, name: str) -> None:
    session.clear()


async def _destroy(session: Session, name: str) -> None:
    session.destroy()


async def _rotate(session: Session, name: str) -> None:
    session.regenerate()


async def _log_in(session: Session, name: str) -> None:
    session.log_in(LOG_INS["log_in"])
    session.set("by", name)


async def _log_in_bob(session: Session, name: str) -> None:
    session.log_in(LOG_INS["log_in_bob"])
    session.set("by", name)


async def _take_flash(session: Session, name: str) -> object:
    return await session.take_flash("note")


HANDLERS: dict[str, Callable[[Session, str], Awaitable[object]]] = {
    "read": _nothing,
    "modify": _modify,
    "update": _update,
    "set_light": _set_light,
    "set_dark": _set_dark,
    "delete": _delete,
    "clear": _clear,
    "destroy": _destroy,
    "rotate": _rotate,
    "log_in": _log_in,
    "log_in_bob": _log_in_bob,
    "take_flash": _take_flash,
}
"""The handler of each kind, without its save."""

END = "end"
"""The kind of an administrator's request to end a session by its handle."""

KINDS = (*HANDLERS, END)

LOCKING = HANDLERS.keys() - {"destroy"}
"""The kinds that share more than the store with other requests of their process.

The search relies on this to skip equivalent runs; a test compares it with a complete search.
"""


async def serve(layer: SessionLayer, request: Request, cookie: str) -> Served:
    """Run one request as the middleware does: load, the handler with its `save`, the last commit."""
    try:
        session, request_session = await layer.load(cookie)
    except StoreUnavailable as error:
        return Served(Response(type(error).__name__))
    except asyncio.CancelledError:
        return Served(None)
    try:
        response = await _handle(session, request)
        if not response.is_unknown:  # a 503 commits nothing
            await session.save()
    except SessionError as error:
        response = Response(type(error).__name__)
    except asyncio.CancelledError:
        with suppress(SessionError):  # a cancelled request has no response
            await session.save()  # as the middleware does after a handler's own timeout
        return Served(None)
    new_cookie = request_session.cookie()
    changed = "set" if new_cookie is not None else "cleared" if request_session.cleared else None
    return Served(replace(response, cookie=changed), new_cookie)


async def _handle(session: Session, request: Request) -> Response:
    try:
        result = await HANDLERS[request.kind](session, request.name)
        await session.save()
    except (SessionError, LineMissing) as error:
        return Response(type(error).__name__)
    return Response(None, result, shown(session.all(), session.user_id))


async def end(sessions: Sessions, handle: str) -> Served:
    """End the session with this handle, as an administrator does."""
    try:
        return Served(Response(result=await sessions.end(handle)))
    except StoreUnavailable as error:
        return Served(Response(type(error).__name__))
    except asyncio.CancelledError:
        return Served(None)


_NAMES = "ABCDEF"
_TEXT = re.compile(r"(?P<kind>[a-z_]+)(?P<old>\.old)?(@(?P<process>\w+))?")


def parse(texts: Sequence[str]) -> tuple[Request, ...]:
    """Parse requests. Raises `ValueError`."""
    if not 1 <= len(texts) <= len(_NAMES):
        raise ValueError(f"Expected 1 to {len(_NAMES)} requests, got {len(texts)}.")
    return tuple(map(_parse_one, _NAMES, texts))


def _parse_one(name: str, text: str) -> Request:
    found = _TEXT.fullmatch(text)
    if found is None or found["kind"] not in KINDS:
        raise ValueError(f"Invalid request {text!r}: expected KIND[.old][@PROCESS], KIND one of {KINDS}.")
    process = "admin" if found["kind"] == END else found["process"] or "1"
    return Request(name, found["kind"], process, found["old"] is not None)
