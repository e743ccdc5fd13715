"""The requests: what each kind does with its session, and what its response shows.

One letter names a request in a run. Its text is `KIND[.old][@PROCESS]`: with `.old` it comes with the cookie
that the start of the scenario gave up, otherwise with the current one.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cartapp.session.errors import SessionError, StoreUnavailable
from cartapp.session.session import Session
from cartapp.session.sessions import Sessions
from tests.layer import Layer

LOG_INS = {"log_in": "ann", "log_in_bob": "bob"}
"""The kinds that log in, and the user of each."""


@dataclass(frozen=True)
class Request:
    """One request: what it does, in which process, and with which cookie it comes."""

    name: str
    kind: str
    process: str = "1"
    old_cookie: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{'.old' if self.old_cookie else ''}@{self.process}"


@dataclass(frozen=True)
class Response:
    """What a client sees of a request.

    `shown` is the data and the user that the handler sees after `save`, as JSON. `cookie` is "set",
    "cleared" or None.
    """

    error: str | None = None
    result: object = None
    shown: str | None = None
    cookie: str | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether the response leaves open if the request took effect."""
        return self.error == StoreUnavailable.__name__


@dataclass(frozen=True)
class Served:
    """What became of a request; the response is None when the request was cancelled."""

    response: Response | None
    new_cookie: str | None = None


class LineMissing(Exception):
    """The change of a cart line that is not there: a 404."""


def shown(data: object, user: str | None) -> str:
    """Data and user in a form that compares equal when they are equal."""
    return f"{json.dumps(data, sort_keys=True)} of {user or 'a guest'}"


def add(value: int) -> int:
    return value + 1


def change(value: int | None) -> int:
    if value is None:
        raise LineMissing
    return value + 10


async def _nothing(session: Session, name: str) -> None:
    """A page that only reads."""


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
"""What the handler of each kind does before it saves."""

END = "end"
"""The kind of an administrator who ends the session by its handle."""

KINDS = (*HANDLERS, END)

LOCKING = HANDLERS.keys() - {"destroy"}
"""The kinds that share more with the other requests of their process than the store.

The search relies on this to leave out equal runs; a test compares it with a search that does not.
"""


async def serve(layer: Layer, request: Request, cookie: str) -> Served:
    """Run one request as the middleware does: load, the handler with its `save`, the last commit."""
    try:
        session, visit = await layer.visit(cookie)
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
        with suppress(SessionError):  # the client of a cancelled request gets no response
            await session.save()  # as the middleware does when a handler goes on after its own timeout
        return Served(None)
    new_cookie = visit.cookie()
    changed = "set" if new_cookie is not None else "cleared" if visit.cleared else None
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
    """Return the requests that these texts name; raises `ValueError`."""
    if not 1 <= len(texts) <= len(_NAMES):
        raise ValueError(f"Expected 1 to {len(_NAMES)} requests, got {len(texts)}.")
    return tuple(map(_parse_one, _NAMES, texts))


def _parse_one(name: str, text: str) -> Request:
    found = _TEXT.fullmatch(text)
    if found is None or found["kind"] not in KINDS:
        raise ValueError(f"Invalid request {text!r}: expected KIND[.old][@PROCESS], KIND one of {KINDS}.")
    process = "admin" if found["kind"] == END else found["process"] or "1"
    return Request(name, found["kind"], process, found["old"] is not None)
