"""Whether the process is alive, and whether it can serve."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from cartapp.session import StoreUnavailable

from ..answers import JSONAnswer
from ..errors import error_response, logger
from ..outputs import PROBLEMS, Health
from ..routing import JSONRoute

router = APIRouter(route_class=JSONRoute, tags=["Health"])


@router.get("/healthz", response_model=Health)
async def alive() -> JSONAnswer:
    """The process answers; nothing else is asked."""
    return JSONAnswer({"status": "ok"})


@router.get("/readyz", response_model=Health, responses=PROBLEMS)
async def ready(request: Request) -> Response:
    """The session store answers; 503 otherwise."""
    state = request.app.state
    try:
        async with asyncio.timeout(state.settings.session_timeout):
            await state.store.ping()
    except (StoreUnavailable, TimeoutError) as error:
        logger.warning("Not ready: the %s session store gave no answer: %r", state.store.name, error)
        sentence = f"Not ready: the session store ({state.store.name}) cannot be reached"
        return error_response(request.scope, 503, sentence, headers={"Retry-After": "1"})
    return JSONAnswer({"status": "ready"})
