"""Who is measured. A new peer is one file in peers/ and one line here."""

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / "peers"
NODE_MODULES = PEERS / "node_modules"
TINA4 = ROOT / ".venv" / "tina4"

PING, GET, PUT, VISIT = "/ping", "GET /api/cart", "PUT /api/cart/1", "/visit-counter"
ENDPOINTS = (PING, GET, PUT, VISIT)


@dataclass(frozen=True)
class Peer:
    """A server that can be started."""

    name: str
    command: tuple[str, ...]
    """With `{port}` where the port belongs. It runs in an empty folder of its own."""
    packages: tuple[str, ...]
    """Whose versions the report names."""
    sessions: str = ""
    """The URL of its sessions, which it finds in `BENCH_SESSIONS`. `{folder}` is its own folder; `redis://`
    and `valkey://` stand for a database of its own on the benchmark's server."""
    env: Mapping[str, str] = field(default_factory=dict)
    ping: str = "/ping"
    endpoints: tuple[str, ...] = ENDPOINTS
    page: bool = False
    """Whether its start page is looked at."""
    home: Path | None = None
    """Where its packages are, if not among ours; without it the peer is left out."""


FILES, SQLITE = "file://{folder}/sessions", "sqlite:///{folder}/sessions.db"


def uvicorn(module: str) -> tuple[str, ...]:
    """One of the ASGI applications in peers/, on one worker of uvicorn.

    With the options of `cart serve`, but for its protocol: that is a part of the shop, and not of uvicorn.
    """
    options = ("--no-access-log", "--log-level", "warning", "--no-server-header", "--no-proxy-headers")
    app = f"benchmarks.peers.{module}:app"
    return (sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}", *options)


def gunicorn(module: str) -> tuple[str, ...]:
    """One of the WSGI applications in peers/, on one worker of gunicorn with eight threads.

    Its manual advises two to four; eight are faster here, and more are hardly faster and less even.
    """
    options = ("--workers", "1", "--threads", "8", "--log-level", "warning")
    return (
        *(sys.executable, "-m", "gunicorn", f"benchmarks.peers.{module}:app"),
        *("--bind", "127.0.0.1:{port}", *options),
    )


def ours(name: str, backend: str, sessions: str) -> Peer:
    """The whole application, as users run it."""
    env = {
        "CART_ENV": "production",
        "CART_SECRET_KEY": secrets.token_urlsafe(32),
        "CART_SESSION_BACKEND": backend,
        "CART_LOG_LEVEL": "WARNING",
    }
    command = (sys.executable, str(ROOT / "cli.py"), "serve", "--port", "{port}")
    is_default = backend == "file"
    return Peer(f"cartapp, {name}", command, ("cartapp",), sessions, env, ping="/healthz", page=is_default)


def layer(name: str, sessions: str) -> Peer:
    """The small FastAPI application of the peers, on our layer."""
    command = uvicorn("fastapi_cartapp_session")
    return Peer(f"FastAPI + cartapp.session, {name}", command, ("cartapp", "fastapi"), sessions)


def litestar(name: str, sessions: str) -> Peer:
    return Peer(f"Litestar, {name}", uvicorn("litestar_sessions"), ("litestar",), sessions)


def flask(name: str, sessions: str) -> Peer:
    packages = ("flask", "flask-session", "gunicorn")
    return Peer(f"Flask + Flask-Session, {name}", gunicorn("flask_sessions"), packages, sessions)


def django(name: str, sessions: str) -> Peer:
    return Peer(f"Django, {name}", gunicorn("django_sessions"), ("django", "gunicorn"), sessions)


def tina4(name: str, sessions: str) -> Peer:
    """On a Python of its own, since it needs a newer one than we do; otherwise as the others on uvicorn."""
    command = (str(TINA4 / "bin" / "python"), *uvicorn("tina4_sessions")[1:])
    env = {"TINA4_SECRET": secrets.token_urlsafe(32), "TINA4_LOG_LEVEL": "ERROR"}
    return Peer(f"tina4-python, {name}", command, ("tina4-python",), sessions, env, home=TINA4)


def node(name: str, module: str, packages: tuple[str, ...], sessions: str) -> Peer:
    command = ("node", str(PEERS / f"{module}.js"), "{port}")
    return Peer(name, command, packages, sessions, home=NODE_MODULES)


EXPRESS = ("express", "express-session")
FASTIFY = ("fastify",)

GROUPS: Mapping[str, tuple[Peer, ...]] = {
    "redis": (
        ours("redis", "redis", "redis://"),
        ours("valkey", "valkey", "valkey://"),
        layer("redis", "redis://"),
        Peer("FastAPI + starsessions, redis", uvicorn("fastapi_starsessions"), ("starsessions",), "redis://"),
        litestar("redis", "redis://"),
        flask("redis", "redis://"),
        django("redis", "redis://"),
        tina4("redis", "redis://"),
        node("Express + express-session, redis", "express_sessions", (*EXPRESS, "connect-redis"), "redis://"),
        node(
            "Fastify + @fastify/session, redis", "fastify_redis", (*FASTIFY, "@fastify/session"), "redis://"
        ),
    ),
    "files": (
        ours("file", "file", FILES),
        layer("file", FILES),
        litestar("files", FILES),
        flask("files", FILES),
        django("files", FILES),
        tina4("files", FILES),
        node(
            "Express + session-file-store, files", "express_sessions", (*EXPRESS, "session-file-store"), FILES
        ),
    ),
    "cookies": (
        ours("encrypted cookie", "cookie", ""),
        layer("encrypted cookie", "cookie://"),
        Peer(
            "FastAPI + SessionMiddleware, signed cookie",
            uvicorn("fastapi_signed_cookie"),
            ("starlette", "itsdangerous"),
        ),
        node(
            "Fastify + @fastify/secure-session, encrypted cookie",
            "fastify_secure_cookie",
            (*FASTIFY, "@fastify/secure-session"),
            "",
        ),
    ),
    "SQLite": (
        ours("SQLite", "database", ""),
        layer("SQLite", SQLITE),
        django("SQLite", SQLITE),
    ),
    "memory": (
        ours("memory", "memory", ""),
        layer("memory", "memory://"),
        Peer(
            "FastAPI + cartapp.session, taken out", uvicorn("fastapi_cartapp_session"), (), endpoints=(PING,)
        ),
        Peer("FastAPI without sessions", uvicorn("fastapi_alone"), ("fastapi",), endpoints=(PING, GET)),
        Peer("Starlette without sessions", uvicorn("starlette_alone"), ("starlette",), endpoints=(PING, GET)),
        Peer("a bare ASGI function", uvicorn("bare_asgi"), ("uvicorn",), endpoints=(PING, GET)),
    ),
}
"""Those of one group run at the same time and take turns, so that their figures can be compared."""
