"""Starlette without sessions: what it costs before there are any."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.shop import full_cart


async def ping(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def cart(request: Request) -> JSONResponse:
    return JSONResponse(full_cart())


app = Starlette(routes=[Route("/ping", ping), Route("/api/cart", cart)])
