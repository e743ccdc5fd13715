"""Whether the process is alive, and whether it can serve."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..answers import JSONAnswer
from ..errors import error_response
from ..outputs import PROBLEMS, Health
from ..routing import JSONRoute

router = APIRouter(route_class=JSONRoute, tags=["Health"])


@router.get("/healthz", response_model=Health)
async def alive() -> JSONAnswer:
    """The process answers; nothing else is asked."""
    return JSONAnswer({"status": "ok"})


@router.get("/readyz", response_model=Health, responses=PROBLEMS)
async def ready(request: Request) -> Response:
    """The session store and the database do what requests need, as tried within the last second; else 503."""
    problems = await request.app.state.readiness.problems()
    if not problems:
        return JSONAnswer({"status": "ready"})
    sentence = f"Not ready: {' and '.join(problem.part for problem in problems)} cannot be used"
    details = None if request.app.state.settings.production else [problem.reason for problem in problems]
    headers = {"Retry-After": "1"}
    return error_response(request.scope, 503, sentence, details=details, headers=headers)
