"""Metrics for Prometheus; part of the application only if CART_METRICS is true."""

import asyncio
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from .figures import CONTENT_TYPE, Metrics
from .store_gauges import StoreGauges

router = APIRouter(include_in_schema=False)


async def get_metrics(request: Request) -> Metrics:
    """Return the application's metrics."""
    return cast(Metrics, request.app.state.metrics)


async def get_store_gauges(request: Request) -> StoreGauges:
    """Return the gauges of the session store."""
    return cast(StoreGauges, request.app.state.store_gauges)


@router.get("/metrics")
async def metrics(
    metrics: Annotated[Metrics, Depends(get_metrics)],
    gauges: Annotated[StoreGauges, Depends(get_store_gauges)],
) -> Response:
    """Return all metrics; in a thread, since those of several workers are read from files."""
    await gauges.refresh()
    text = await asyncio.to_thread(metrics.text)
    return Response(text, media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})
