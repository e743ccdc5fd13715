"""The same four handlers on a session of this library and on a plain session.

`start` logs in, `add` counts one, `pay` takes a second in which the visitor can log out, `log-out` ends the
session, and `state` reports it. They run in an application of their own, with sessions of their own.
"""

import asyncio
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from cartapp.session import CookieOptions, SessionManager, SessionMiddleware, SessionPolicy, session_of
from cartapp.session.stores import Store

from .plain_session import PlainSessions

PATH = "/proof/sessions"
_TTL = 120  # seconds
_WORK, _PAYMENT = 0.005, 1.0  # seconds in a handler, as for a query of a database or a payment provider
_PLAIN_COOKIE = "proof_plain"
_START = {"user": "Ann", "count": 0, "order": "none"}


def create_sides(store: Store, *, secure: bool | Literal["auto"]) -> Starlette:
    """Return the application for `PATH`; `secure` is the setting of the cookies."""
    cookie = CookieOptions("proof_session", secure=secure)
    manager = SessionManager(store, policy=SessionPolicy(ttl=_TTL, max_age=_TTL), cookie=cookie)
    plain = _PlainSide(PlainSessions(store, ttl=_TTL), cookie)
    return Starlette(
        routes=[Mount("/layer", routes=_routes(_LayerSide())), Mount("/plain", routes=_routes(plain))],
        middleware=[Middleware(SessionMiddleware, manager, load="explicit")],
    )


def _routes(side: "_LayerSide | _PlainSide") -> list[Route]:
    handlers = {
        "/start": side.start,
        "/add": side.add,
        "/pay": side.pay,
        "/log-out": side.log_out,
        "/state": side.state,
    }
    return [Route(path, handler, methods=["POST"]) for path, handler in handlers.items()]


class _LayerSide:
    """Handlers on `cartapp.session`."""

    async def start(self, request: Request) -> Response:
        session = await session_of(request).load()
        session.regenerate()
        session.update(_START)
        await session.save()
        return _json(session)

    async def add(self, request: Request) -> Response:
        session = await session_of(request).load()
        await asyncio.sleep(_WORK)
        session.modify("count", lambda count: count + 1, 0)
        await session.save()
        return _json(session)

    async def pay(self, request: Request) -> Response:
        session = await session_of(request).load()
        session["order"] = "pending"
        await session.save()
        await asyncio.sleep(_PAYMENT)
        session["order"] = "paid"
        await session.save()
        return _json(session)

    async def log_out(self, request: Request) -> Response:
        session = await session_of(request).load()
        session.destroy()
        await session.save()
        return _json({})

    async def state(self, request: Request) -> Response:
        return _json(await session_of(request).load())


class _PlainSide:
    """The same handlers on a plain session."""

    def __init__(self, sessions: PlainSessions, cookie: CookieOptions) -> None:
        self._sessions, self._cookie = sessions, cookie

    async def start(self, request: Request) -> Response:
        return await self._store(request, self._sessions.new_id(), dict(_START))

    async def add(self, request: Request) -> Response:
        session_id, data = await self._load(request)
        await asyncio.sleep(_WORK)
        return await self._store(request, session_id, data | {"count": data.get("count", 0) + 1})

    async def pay(self, request: Request) -> Response:
        session_id, data = await self._load(request)
        await self._sessions.write(session_id, data | {"order": "pending"})
        await asyncio.sleep(_PAYMENT)
        return await self._store(request, session_id, data | {"order": "paid"})

    async def log_out(self, request: Request) -> Response:
        session_id, _data = await self._load(request)
        await self._sessions.delete(session_id)
        response = _json({})
        response.delete_cookie(_PLAIN_COOKIE)
        return response

    async def state(self, request: Request) -> Response:
        return _json((await self._load(request))[1])

    async def _load(self, request: Request) -> tuple[str, dict[str, Any]]:
        session_id = request.cookies.get(_PLAIN_COOKIE, "")
        return session_id, await self._sessions.load(session_id) if session_id else {}

    async def _store(self, request: Request, session_id: str, data: dict[str, Any]) -> Response:
        """Store the session and set its cookie, as most session middlewares do after each change."""
        await self._sessions.write(session_id, data)
        response = _json(data)
        secure = request.url.scheme == "https" if self._cookie.secure == "auto" else self._cookie.secure
        response.set_cookie(_PLAIN_COOKIE, session_id, _TTL, secure=secure, httponly=True)
        return response


def _json(data: Any) -> Response:
    state = {name: data.get(name) for name in ("user", "count", "order")}
    return JSONResponse(state, headers={"Cache-Control": "no-store"})
