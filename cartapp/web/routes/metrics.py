"""Figures for Prometheus; a part of the application where CART_METRICS is true only."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..metrics import CONTENT_TYPE
from ..routing import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All figures; in a thread, since those of several workers are read from files."""
    text = await asyncio.to_thread(request.app.state.metrics.text)
    return Response(text, media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})
