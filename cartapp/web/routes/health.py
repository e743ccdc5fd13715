"""Whether the process is alive, and whether it can serve."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from cartapp.session import StoreUnavailable
from cartapp.session.stores.timeouts import SharedTimeout

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
    """The session store and the database answer; 503 otherwise."""
    store, settings = request.app.state.store, request.app.state.settings
    parts = {
        f"the session store ({store.name})": store.ping,
        "the database of accounts and products": request.app.state.database.ping,
    }
    for name, ping in parts.items():
        try:
            await SharedTimeout(settings.session_timeout).wait_for(ping())
        except (StoreUnavailable, TimeoutError) as error:
            logger.warning("Not ready: %s gave no answer: %r", name, error)
            sentence = f"Not ready: {name} cannot be reached"
            return error_response(request.scope, 503, sentence, headers={"Retry-After": "1"})
    return JSONAnswer({"status": "ready"})
