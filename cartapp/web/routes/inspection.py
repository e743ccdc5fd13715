"""The developer's view of the session at hand; a part of the application in development only."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from cartapp.session import Session

from ..answers import JSONAnswer
from ..clients import is_json_client
from ..inspection import Inspector
from ..routing import PageRoute
from ..templating import page
from ..users import accounts_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/inspect")
async def inspect(request: Request) -> Response:
    """What the session holds, and what the last requests did to its record. Changes neither."""
    inspector: Inspector = request.app.state.inspector
    session = await inspector.session(request.scope)
    report = inspector.report(session, request.scope)
    answer = JSONAnswer(report) if is_json_client(request.headers) else await _page(request, session, report)
    answer.headers.update({"Cache-Control": "no-store", "Vary": "Accept, Cookie"})
    return answer


async def _page(request: Request, session: Session, report: dict[str, Any]) -> Response:
    if session.user_id is not None:
        request.state.user = await accounts_of(request).user(session.user_id)
    shown = {
        entry["key"]: msgspec.json.format(msgspec.json.encode(entry["stored"]), indent=2).decode()
        for entry in (report["session"] or {"data": []})["data"]
    }
    seen = {**request.scope, "session": session}  # for the frame: the session that nobody will commit
    return page("inspect.html", seen, {"report": report, "stored": shown})
