"""FastAPI without sessions: what it costs before there are any."""

from typing import Any

from fastapi import FastAPI

from benchmarks.shop import full_cart

app = FastAPI()


@app.get("/ping")
async def ping() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/cart")
async def cart() -> dict[str, Any]:
    return full_cart()
