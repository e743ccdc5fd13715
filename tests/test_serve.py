"""`cart serve`: a real server in a process of its own."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from cartapp.settings import load

from .commands import PATIENCE, Cart, process, run
from .servers.process import free_port
from .surroundings import names

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


pytestmark = pytest.mark.usefixtures("folder")


@contextmanager
def served(*args: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """`cart serve` on a free port, and a client, once the server says that it is running."""
    port = free_port()
    with process("serve", "--port", str(port), *args, **variables) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "Application startup complete" in line:
                break
        else:
            pytest.fail("the server ended")
        transport = httpx.HTTPTransport(retries=5)  # it says so a moment before it listens
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False, transport=transport
        ) as client:
            yield running, client


def stop(running: subprocess.Popen[str], sign: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    """What the server had printed and logged, after it ended without an error."""
    running.send_signal(sign)
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
    assert "Traceback" not in err
    return out, err


def test_the_first_start_makes_what_it_needs_and_says_so() -> None:
    with served() as (running, client):
        answer = client.get("/visit-counter")
        assert answer.json()["visit_count"] == 1
        assert "server" not in answer.headers
        out, _ = stop(running)
    assert "secret key was made and kept in .env.local" in out
    assert "data/sessions was made" in out
    assert f"Open {str(client.base_url).rstrip('/')} and stop with Ctrl-C." in out
    assert {".env.local", "data"} <= set(names())
    secret = load().secret_key
    assert secret is not None
    assert secret not in out
    with served() as (running, _client):
        out, _ = stop(running, signal.SIGINT)
    assert "made" not in out
    assert load().secret_key == secret


def test_workers_share_the_sessions() -> None:
    with served("--workers", "2") as (running, client):
        counts = [client.get("/visit-counter").json()["visit_count"] for _ in range(10)]
        assert counts == list(range(1, 11))
        stop(running)


def test_the_command_line_is_stronger_than_the_environment() -> None:
    with served("--backend", "memory", CART_SESSION_URL="redis://127.0.0.1:1") as (running, client):
        assert client.get("/visit-counter").status_code == 200
        out, _ = stop(running)
    assert "memory://" in out
    assert not Path("data/sessions").exists()


def test_production_logs_json_and_wants_a_secret() -> None:
    refused = run("serve", "--port", str(free_port()), CART_ENV="production")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("CART_SECRET_KEY must be given from outside")
    assert names() == []
    with served(CART_ENV="production", CART_SECRET_KEY=SECRET) as (running, client):
        client.get("/healthz")
        _, err = stop(running)
    entries = [json.loads(line) for line in err.splitlines()]
    assert any("/healthz" in entry["message"] for entry in entries)
    assert {"time", "level", "logger", "message"} <= set(entries[0])


@pytest.mark.parametrize(("trusted", "secure"), [("", False), ("10.0.0.0/8", False), ("127.0.0.1", True)])
def test_forwarded_headers_are_believed_of_trusted_proxies_only(trusted: str, secure: bool) -> None:
    with served(CART_TRUSTED_PROXIES=trusted, FORWARDED_ALLOW_IPS="*") as (running, client):
        cookie = client.get("/visit-counter", headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]
        stop(running)
    assert cookie.startswith("__Host-cart_session=") is secure
    assert ("Secure" in cookie) is secure


def test_a_port_in_use_is_a_sentence(cart: Cart) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = cart("serve", "--port", str(port))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"127.0.0.1:{port} cannot be listened on: it is in use already; choose another --port.\n"
    )
    assert names() == []


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["--backend", "memory", "--workers", "2"],
            "CART_SESSION_BACKEND is memory, which lives in one process",
        ),
        (["--backend", "nosuch"], "CART_SESSION_BACKEND must be file, memory, "),
        (["--backend", "file://data"], "CART_SESSION_URL cannot be used. "),
        (["--host", "203.0.113.1"], "203.0.113.1:"),
    ],
)
def test_a_start_that_cannot_work_is_refused(args: list[str], sentence: str, cart: Cart) -> None:
    refused = cart("serve", "--port", str(free_port()), *args)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith(sentence)


def test_reload_is_for_one_worker(cart: Cart) -> None:
    assert cart("serve", "--reload", "--workers", "2").code == 2
