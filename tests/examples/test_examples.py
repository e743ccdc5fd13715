"""Run each application of `examples/` as its docstring says."""

import asyncio
import importlib
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cartapp.session import SessionMiddleware, open_store
from cartapp.session.fastapi import SessionDep
from tests.support.requirements import require_program
from tests.support.servers.process import Server, accepts, free_port
from tests.support.shop_server import ROOT

EXAMPLES = ROOT / "examples"


def open_client(name: str, **options: bool) -> TestClient:
    """Return a new client of an example; https, since cookies are Secure there."""
    module = importlib.import_module(f"examples.{name}")
    return TestClient(module.app, base_url="https://shop.example", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_docstring_names_the_command(path: Path) -> None:
    if path.stem == "fastapi_app":  # the README shows the whole file
        return
    commands = re.findall(r"Run: (.+?)(?:\"\"\"|\n)", path.read_text())
    assert len(commands) == 1
    assert f"examples.{path.stem}" in commands[0]


def test_docs_list_every_example() -> None:
    page = (ROOT / "docs" / "examples.md").read_text()
    listed = re.findall(r"^\| \[`(\w+\.py)`\]\(", page, re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_typed_session() -> None:
    client = open_client("typed_session")
    client.get("/")
    assert client.put("/language/fr").json() == {"language": "fr"}
    assert client.get("/").json() == {"language": "fr", "visits": 2}


def test_starlette_login() -> None:
    client = open_client("starlette_login")
    wrong = client.post("/login", data={"name": "ada", "password": "wrong"})
    assert "Invalid name or password." in wrong.text
    before = dict(client.cookies)
    right = client.post("/login", data={"name": "ada", "password": "correct horse battery staple"})
    assert "Welcome, ada." in right.text
    assert "Welcome, ada." not in client.get("/").text
    assert dict(client.cookies) != before
    assert "Log in" in client.post("/logout").text


def test_websocket_chat_counts_per_session() -> None:
    client, other = open_client("websocket_chat"), open_client("websocket_chat")
    client.get("/")
    other.get("/")
    with client.websocket_connect("wss://shop.example/chat") as chat:
        for number in (1, 2):
            chat.send_text("hello")
            assert chat.receive_text() == f"{number}: hello"
    with other.websocket_connect("wss://shop.example/chat") as chat:
        chat.send_text("hello")
        assert chat.receive_text() == "1: hello"


def test_htmx_cart() -> None:
    client = open_client("htmx_cart")
    assert "htmx.min.js" in client.get("/").text
    assert client.get("/static/htmx.min.js").status_code == 200
    client.post("/add/mouse")
    assert "Mouse: 2" in client.post("/add/mouse").text
    assert "Mouse: 2" in client.get("/").text
    assert "Mouse: 0" in client.delete("/mouse").text


def test_admin_panel_requires_a_login() -> None:
    client = open_client("admin_panel")
    assert client.get("/admin/product/list").url.path == "/admin/login"
    client.post("/admin/login", data={"username": "ada", "password": "correct horse battery staple"})
    assert "Products" in client.get("/admin/product/list").text
    client.get("/admin/logout")
    assert client.get("/admin/product/list").url.path == "/admin/login"


def test_oauth(tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "examples.oauth:app",
        "--app-dir",
        str(ROOT),
        "--port",
        str(port),
    ]
    with (
        Server(command, folder=tmp_path, ready=lambda: accepts(port)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True, trust_env=False) as client,
    ):
        assert client.get("/").json() == {"user": None}
        assert client.get("/login").json() == {"user": "ada"}
        assert client.get("/").json() == {"user": "ada"}


def test_end_user_sessions(tmp_path: Path) -> None:
    url = (tmp_path / "sessions").as_uri()
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=open_store(url))

    @app.post("/{user}")
    async def log_in(session: SessionDep, user: str) -> None:
        session.log_in(user)

    @app.get("/")
    async def show(session: SessionDep) -> str | None:
        return session.user_id

    ada, bob = (TestClient(app, base_url="https://shop.example") for _ in range(2))
    ada.post("/ada")
    bob.post("/bob")
    script = [sys.executable, "-m", "examples.end_user_sessions", url, "ada"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "Ended sessions: 1\n"
    assert [client.get("/").json() for client in (ada, bob)] == [None, "bob"]


@pytest.mark.anyio
async def test_replicas(tmp_path: Path) -> None:
    require_program("nginx", "apt-get install nginx-light")
    require_program("redis-server", "apt-get install redis-server")
    port = free_port()
    env = {**os.environ, "PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "examples.replicas"]

    def is_ready() -> bool:
        with suppress(httpx.TransportError):
            return all(httpx.get(f"http://127.0.0.1:{port}").status_code == 200 for _ in range(3))
        return False

    with Server(command, folder=tmp_path, ready=is_ready, env=env):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            first = await client.get("/")
            responses = [first, *await asyncio.gather(*(client.get("/") for _ in range(30)))]
    visits = [response.json() for response in responses]
    assert sorted(visit["visits"] for visit in visits) == [*range(1, 32)]
    assert len({visit["process"] for visit in visits}) == 3
