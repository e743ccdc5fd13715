"""Liveness and readiness."""

from functools import partial

from fastapi import FastAPI, Request
from starlette.responses import Response

from ..deps import ReadinessDep, SettingsDep
from ..errors import error_response
from ..hot_route import HotRoute
from ..json_response import MsgspecResponse
from ..schemas.responses import ERRORS, HealthResponse


async def alive() -> MsgspecResponse:
    """The process responds; nothing else is checked."""
    return MsgspecResponse({"status": "ok"})


async def ready(request: Request, settings: SettingsDep, readiness: ReadinessDep) -> Response:
    """Check the session store and the database, at most once a second; 503 if one is unusable."""
    problems = await readiness.problems()
    if not problems:
        return MsgspecResponse({"status": "ready"})
    sentence = f"Not ready: {' and '.join(problem.part for problem in problems)} cannot be used"
    details = None if settings.production else [problem.reason for problem in problems]
    headers = {"Retry-After": "1"}
    return error_response(request.scope, 503, sentence, details=details, headers=headers)


def register(app: FastAPI) -> None:
    """Add the routes to the application itself: an included router is matched twice a request."""
    add = partial(
        app.router.add_api_route,
        response_model=HealthResponse,
        tags=["Health"],
        route_class_override=HotRoute,
    )
    add("/healthz", alive, methods=["GET"])
    add("/readyz", ready, methods=["GET"], responses=ERRORS)
