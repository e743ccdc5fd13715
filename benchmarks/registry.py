"""Who is measured. A new peer is one file in peers/ and one line here."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent

ENDPOINTS = ("/ping", "GET /api/cart", "PUT /api/cart/1", "/visit-counter")


@dataclass(frozen=True)
class Peer:
    """A server that can be started."""

    name: str
    command: tuple[str, ...]
    """With `{port}` where the port belongs. It runs in an empty folder of its own, named `BENCH_FOLDER`."""
    packages: tuple[str, ...]
    """Whose versions the report names."""
    env: Mapping[str, str] = field(default_factory=dict)
    ping: str = "/ping"
    endpoints: tuple[str, ...] = ENDPOINTS


def uvicorn(module: str) -> tuple[str, ...]:
    """One of the ASGI applications in peers/, on one worker of uvicorn, with the options of `cart serve`."""
    options = ("--no-access-log", "--log-level", "warning", "--no-server-header", "--no-proxy-headers")
    app = f"benchmarks.peers.{module}:app"
    return (sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}", *options)


def ours(backend: str) -> Peer:
    """The whole application, as users run it."""
    env = {"CART_SESSION_BACKEND": backend, "CART_LOG_LEVEL": "WARNING"}
    command = (sys.executable, str(ROOT / "cli.py"), "serve", "--port", "{port}")
    shown = {"cookie": "encrypted cookie", "database": "SQLite"}.get(backend, backend)
    return Peer(f"cartapp, {shown}", command, ("cartapp",), env, ping="/healthz")


FASTAPI = Peer("FastAPI alone", uvicorn("fastapi_alone"), ("fastapi",), endpoints=("/ping",))
SIGNED_COOKIE = Peer(
    "FastAPI + SessionMiddleware, signed cookie",
    uvicorn("fastapi_signed_cookie"),
    ("starlette", "itsdangerous"),
)

PEERS = (
    ours("file"),
    ours("memory"),
    ours("cookie"),
    ours("database"),
    Peer("FastAPI + cartapp.session, file", uvicorn("fastapi_cartapp_session"), ("cartapp",)),
    SIGNED_COOKIE,
    FASTAPI,
)

REFERENCE = dict.fromkeys(ENDPOINTS, SIGNED_COOKIE.name) | {"/ping": FASTAPI.name}
"""Whom an endpoint's ratios compare with."""
