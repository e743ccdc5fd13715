"""The peers. A new peer is one file in peers/ and one entry here."""

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
    """A server to measure."""

    name: str
    command: tuple[str, ...]
    """Command line with a `{port}` placeholder. It runs in an empty folder of its own."""
    packages: tuple[str, ...]
    """Packages listed with their versions in the report."""
    sessions: str = ""
    """URL of its session store, passed in `BENCH_SESSIONS`. `{folder}` becomes its folder; the scheme of a
    server becomes the URL of a database of its own on the benchmark's server."""
    env: Mapping[str, str] = field(default_factory=dict)
    ping: str = "/ping"
    endpoints: tuple[str, ...] = ENDPOINTS
    page: bool = False
    """Whether to measure its start page."""
    home: Path | None = None
    """Folder of its packages, if separate; the peer is skipped if it is missing."""


FILES, SQLITE = "file://{folder}/sessions", "sqlite:///{folder}/sessions.db"
POSTGRESQL = "postgresql+asyncpg://"


def uvicorn(module: str) -> tuple[str, ...]:
    """Run an ASGI application of peers/ on one uvicorn worker.

    Options as in `cart serve`, except its protocol class, which belongs to the shop.
    """
    options = ("--no-access-log", "--log-level", "warning", "--no-server-header", "--no-proxy-headers")
    app = f"benchmarks.peers.{module}:app"
    return (sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}", *options)


def gunicorn(module: str) -> tuple[str, ...]:
    """Run a WSGI application of peers/ on one gunicorn worker with eight threads.

    Its manual recommends two to four. Eight are faster here; more add little and vary more.
    """
    options = ("--workers", "1", "--threads", "8", "--log-level", "warning")
    return (
        *(sys.executable, "-m", "gunicorn", f"benchmarks.peers.{module}:app"),
        *("--bind", "127.0.0.1:{port}", *options),
    )


def ours(name: str, backend: str, sessions: str) -> Peer:
    """The complete shop as users run it."""
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
    """The small FastAPI application of the peers with `cartapp.session`."""
    command = uvicorn("fastapi_cartapp_session")
    return Peer(f"FastAPI + cartapp.session, {name}", command, ("cartapp", "fastapi"), sessions)


def by_hand(driver: str, name: str, sessions: str, framework: str = "FastAPI") -> Peer:
    """The same application with a driver and no session layer: it shows what the layer costs."""
    command = uvicorn(f"{framework.lower()}_by_hand")
    packages = {"redis-py": ("redis",), "asyncpg": ("asyncpg",)}.get(driver, ())
    return Peer(f"{framework} + {driver} by hand, {name}", command, packages, sessions)


def litestar(name: str, sessions: str) -> Peer:
    return Peer(f"Litestar, {name}", uvicorn("litestar_sessions"), ("litestar",), sessions)


def flask(name: str, sessions: str) -> Peer:
    packages = ("flask", "flask-session", "gunicorn")
    return Peer(f"Flask + Flask-Session, {name}", gunicorn("flask_sessions"), packages, sessions)


def django(name: str, sessions: str) -> Peer:
    return Peer(f"Django, {name}", gunicorn("django_sessions"), ("django", "gunicorn"), sessions)


def tina4(name: str, sessions: str) -> Peer:
    """Like the other uvicorn peers, but in its own environment: it requires a newer Python than cartapp."""
    command = (str(TINA4 / "bin" / "python"), *uvicorn("tina4_sessions")[1:])
    env = {"TINA4_SECRET": secrets.token_urlsafe(32), "TINA4_LOG_LEVEL": "ERROR"}
    return Peer(f"tina4-python, {name}", command, ("tina4-python",), sessions, env, home=TINA4)


def node_program() -> str:
    """Return the Node of the peers' lock, a long-term support version; else that of the machine."""
    locked = sorted(NODE_MODULES.glob("node-*/bin/node"))
    return str(locked[0]) if locked else "node"


def node(name: str, module: str, packages: tuple[str, ...], sessions: str) -> Peer:
    command = (node_program(), str(PEERS / f"{module}.js"), "{port}")
    return Peer(name, command, packages, sessions, home=NODE_MODULES)


EXPRESS = ("express", "express-session")
FASTIFY = ("fastify",)

GROUPS: Mapping[str, tuple[Peer, ...]] = {
    "redis": (
        ours("redis", "redis", "redis://"),
        ours("valkey", "valkey", "valkey://"),
        layer("redis", "redis://"),
        by_hand("redis-py", "redis", "redis://"),
        by_hand("redis-py", "redis", "redis://", framework="Starlette"),
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
        by_hand("json", "files", FILES),
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
        by_hand("sqlite3", "SQLite", SQLITE),
        django("SQLite", SQLITE),
    ),
    "PostgreSQL": (
        ours("PostgreSQL", "database", POSTGRESQL),
        layer("PostgreSQL", POSTGRESQL),
        by_hand("asyncpg", "PostgreSQL", POSTGRESQL),
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
"""Peers by group. Those of a group run at the same time and are measured in turn, for comparable figures."""
