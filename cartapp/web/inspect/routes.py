"""The developer's view of the current session; in development only."""

from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from cartapp.accounts import Accounts
from cartapp.session import Session

from ..deps import AccountsDep
from ..json_response import MsgspecResponse
from ..negotiation import is_json_client
from ..templating import page
from .trace import Inspector

router = APIRouter(include_in_schema=False)


async def get_inspector(request: Request) -> Inspector:
    """Return the application's inspector."""
    return cast(Inspector, request.app.state.inspector)


@router.get("/inspect")
async def inspect(
    request: Request, accounts: AccountsDep, inspector: Annotated[Inspector, Depends(get_inspector)]
) -> Response:
    """Show the session's data and what recent requests did to its record. Changes neither."""
    session = await inspector.session(request.scope)
    report = inspector.report(session, request.scope)
    response = (
        MsgspecResponse(report)
        if is_json_client(request.headers)
        else await _page(request, session, accounts, report)
    )
    response.headers.update({"Cache-Control": "no-store", "Vary": "Accept, Cookie"})
    return response


async def _page(request: Request, session: Session, accounts: Accounts, report: dict[str, Any]) -> Response:
    if session.user_id is not None:
        request.state.user = await accounts.get_user(session.user_id)
    shown = {
        entry["key"]: msgspec.json.format(msgspec.json.encode(entry["stored"]), indent=2).decode()
        for entry in (report["session"] or {"data": []})["data"]
    }
    seen = {**request.scope, "session": session}  # for the layout: a session that is not committed
    return page("inspect.html", seen, {"report": report, "stored": shown})
