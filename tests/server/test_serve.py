"""`cart serve` in a separate process."""

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
from tests.support.commands import PROCESS_TIMEOUT, CartCommand, run_cart, start_cart
from tests.support.environment import list_folder
from tests.support.polling import wait_for
from tests.support.servers.process import free_port
from tests.support.shop_server import running_shop

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


pytestmark = pytest.mark.usefixtures("folder")


@contextmanager
def served(*args: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run `cart serve` on a free port; yield the process and a client once the server has started."""
    port = free_port()
    with start_cart("serve", "--port", str(port), *args, **variables) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "Application startup complete" in line:
                break
        else:
            pytest.fail("the server ended")
        transport = httpx.HTTPTransport(retries=5)  # the log line precedes listening
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=PROCESS_TIMEOUT, trust_env=False, transport=transport
        ) as client:
            yield running, client


def stop(running: subprocess.Popen[str], sign: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    """Stop the server and return its output and log. It must exit without an error."""
    running.send_signal(sign)
    out, err = running.communicate(timeout=PROCESS_TIMEOUT)
    assert running.returncode == 0
    assert "Traceback" not in err
    return out, err


def test_first_start_creates_and_reports_what_it_needs() -> None:
    with served() as (running, client):
        answer = client.get("/visit-counter")
        assert answer.json()["visit_count"] == 1
        assert "server" not in answer.headers
        out, _ = stop(running)
    assert "Created a secret key in .env.local." in out
    assert "Created the session folder data/sessions." in out
    assert f"Open {str(client.base_url).rstrip('/')}. Press Ctrl-C to stop." in out
    assert {".env.local", "data"} <= set(list_folder())
    secret = load().secret_key
    assert secret is not None
    assert secret not in out
    with served() as (running, _client):
        out, _ = stop(running, signal.SIGINT)
    assert "Created" not in out
    assert load().secret_key == secret


def test_workers_share_the_sessions() -> None:
    with served("--workers", "2") as (running, client):
        counts = [client.get("/visit-counter").json()["visit_count"] for _ in range(10)]
        assert counts == list(range(1, 11))
        stop(running)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("drains_already", [False, True])
def test_sigint_stops_without_a_drain(workers: str, drains_already: bool) -> None:
    """Sent to the parent process alone, unlike Ctrl-C. The drain is longer than the timeout of `stop`."""
    with served("--workers", workers, "--drain", "300") as (running, client):
        assert client.get("/healthz").status_code == 200
        if drains_already:
            running.send_signal(signal.SIGTERM)
            wait_for(lambda: client.get("/readyz").status_code == 503)
        stop(running, signal.SIGINT)


def test_command_line_overrides_the_environment() -> None:
    with served("--backend", "memory", CART_SESSION_URL="redis://127.0.0.1:1") as (running, client):
        assert client.get("/visit-counter").status_code == 200
        out, _ = stop(running)
    assert "memory://" in out
    assert not Path("data/sessions").exists()


def test_idle_connections_are_kept_for_as_long_as_chosen() -> None:
    """The server with a longer time keeps the connection that was opened first."""
    with (
        served("--keep-alive", "3600") as (_, long),
        served("--keep-alive", "1") as (_, short),
        connected(long) as kept,
        connected(short) as closed,
    ):
        assert closed.recv(1) == b""
        kept.setblocking(False)
        with pytest.raises(BlockingIOError):
            kept.recv(1)


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    """Open a connection and receive the response to one request."""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), PROCESS_TIMEOUT) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = b""
        while not response.endswith(b"}"):
            response += connection.recv(4096)
        yield connection


def test_production_requires_a_secret() -> None:
    refused = run_cart("serve", "--port", str(free_port()), CART_ENV="production")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("CART_SECRET_KEY: required with CART_ENV=production")
    assert list_folder() == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_line_of_production_is_json(folder: Path, workers: str) -> None:
    """The first start, with notices of everything that it can complain about."""
    store, database = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {
        "CART_ENV": "production",
        "CART_SECRET_KEY": SECRET,
        "CART_LOG_LEVEL": "INFO",
        "CART_SESSION_URL": f"redis://{store}",
        "CART_SESSION_PORT": "tcp://10.0.0.1:6379",  # as Kubernetes sets it for a service
        "DATABASE_URL": f"postgresql://shop@{database}/shop",
    }
    with running_shop(folder, settings, workers=int(workers)) as shop:
        httpx.get(f"{shop.url}/healthz?100%s", trust_env=False)
        wait_for(lambda: '"path":"/healthz"' in shop.server.output.replace(" ", ""))
        shop.server.stop()
        lines = (folder / "output.log").read_text().splitlines()  # of both streams
    entries = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "pid", "message"} <= entry.keys() for entry in entries)
    warnings = [entry["message"] for entry in entries if entry["level"] == "WARNING"]
    for part in (
        "CART_SESSION_PORT",
        f"The redis store at {store} cannot be used: ",
        f"database at {database}",
    ):
        assert [part in message for message in warnings].count(True) == 1, part
    assert any(f"Open {shop.url}." in entry["message"] for entry in entries)


@pytest.mark.parametrize(("trusted", "secure"), [("", False), ("10.0.0.0/8", False), ("127.0.0.1", True)])
def test_forwarded_headers_of_trusted_proxies_only(trusted: str, secure: bool) -> None:
    with served(CART_TRUSTED_PROXIES=trusted, FORWARDED_ALLOW_IPS="*") as (running, client):
        cookie = client.get("/visit-counter", headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]
        stop(running)
    assert cookie.startswith("__Host-cart_session=") is secure
    assert ("Secure" in cookie) is secure


def test_port_in_use_is_one_message(cart: CartCommand) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = cart("serve", "--port", str(port))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"Cannot listen on 127.0.0.1:{port}: the port is in use; choose another with --port.\n"
    )
    assert list_folder() == []


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["--backend", "memory", "--workers", "2"],
            "--backend: memory works in one process only",
        ),
        (["--backend", "nosuch"], "--backend: expected file, memory, "),
        (["--backend", "file://data"], "--backend: "),
        (["--host", "203.0.113.1"], "Cannot listen on 203.0.113.1:"),
    ],
)
def test_impossible_start_is_refused(args: list[str], sentence: str, cart: CartCommand) -> None:
    refused = cart("serve", "--port", str(free_port()), *args)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith(sentence)


def test_reload_requires_one_worker(cart: CartCommand) -> None:
    assert cart("serve", "--reload", "--workers", "2").code == 2


def test_an_unreachable_session_store_is_reported_at_start(folder: Path) -> None:
    port = free_port()
    with running_shop(folder, {"CART_SESSION_URL": f"redis://127.0.0.1:{port}"}, workers=1) as shop:
        wait_for(lambda: "Until it can be used, requests that need a session are 503." in shop.server.output)
        assert f"The redis store at 127.0.0.1:{port} cannot be used: " in shop.server.output
