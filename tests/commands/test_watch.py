"""`cart sessions watch`: lines of JSON, and the view with its keys on a terminal."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread

import pytest

from cartapp.commands.watch_metrics import MetricsReader
from tests.support.commands import CartCommand, make_handle, make_session, start_cart, store_sessions
from tests.support.polling import DEADLINE
from tests.support.servers.process import free_port
from tests.support.shop_server import running_shop
from tests.support.stores import file_of
from tests.support.terminal import Terminal, start_on_terminal

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def three(folder: Path) -> None:
    store_sessions(
        [
            make_session("first", user="ann", age=9, idle=3, data=b'{"cart":[1,2],"language":"fr"}'),
            make_session("second", age=5, idle=1),
            make_session("third", user="ann", age=1, idle=0.2),
        ]
    )


def test_each_refresh_is_a_line_of_json(cart: CartCommand) -> None:
    watched = cart("sessions", "watch", "--count", "2", "--every", "0.1", "--limit", "1")
    assert (watched.code, watched.err) == (0, "")
    first, second = map(json.loads, watched.out.splitlines())
    assert (first["sessions"], first["users"], first["guests"], first["backend"]) == (3, 1, 1, "file")
    assert (first["created_per_second"], second["created_per_second"]) == (None, 0)
    assert [info["handle"] for info in second["list"]] == [make_handle("third")]
    assert second["latency_ms"] > 0


def test_rates_of_new_and_ended_sessions() -> None:
    with start_cart("sessions", "watch", "--every", "0.1", "--user", "ann") as running:
        assert running.stdout is not None
        assert len(json.loads(running.stdout.readline())["list"]) == 2
        store_sessions([make_session("fourth", user="ann", age=-0.001)])
        while not (frame := json.loads(running.stdout.readline()))["created_per_second"]:
            pass
        assert frame["sessions"] == 3
        for file in Path("data/sessions").glob(f"*/{file_of(Path(), make_session('fourth')).name}"):
            file.unlink()
        while not (frame := json.loads(running.stdout.readline()))["ended_per_second"]:
            pass
        assert frame["sessions"] == 2
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=DEADLINE)
        assert (running.returncode, err) == (0, "")


def test_metrics_of_a_server(folder: Path, cart: CartCommand) -> None:
    with running_shop(folder, {"CART_METRICS": "true"}, workers=1) as shop:
        watched = cart(
            *("sessions", "watch", "--count", "2", "--every", "0.1", "--metrics", f"{shop.url}/metrics")
        )
        frames = [json.loads(line) for line in watched.out.splitlines()]
        assert frames[0]["requests_per_second"] is None
        assert frames[1]["requests_per_second"] > 0
        assert frames[1]["conflicts_per_second"] == 0


def test_slowest_call_is_the_highest_bucket_with_a_new_call() -> None:
    name = "cart_session_store_operation_duration_seconds"
    texts = [
        f"# TYPE {name} histogram\n"
        f'{name}_bucket{{le="0.1"}} {a}\n{name}_bucket{{le="1.0"}} {b}\n{name}_bucket{{le="+Inf"}} {c}\n'
        for a, b, c in ((1, 1, 1), (5, 6, 6), (6, 7, 7), (6, 7, 8))
    ]
    with serve_texts(texts) as url:
        reader = MetricsReader(url)
        assert [reader.read().slowest_call_ms for _ in texts] == [None, 1000, 100, 1000]


@contextmanager
def serve_texts(texts: list[str]) -> Iterator[str]:
    """Serve one text for each request, in order."""
    remaining = iter(texts)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(next(remaining).encode())

        def log_message(self, *args: object) -> None:
            """Keep the output of the tests clean."""

    with serve(HTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextmanager
def serve(server: TCPServer) -> Iterator[str]:
    """Run a server in a thread; yield the URL of its metrics."""
    with server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://",
        "http://localhost/metrics x",
        "http://localhost:x/",
        "http://a:b@localhost/",
    ],
)
def test_only_http_metrics(cart: CartCommand, url: str) -> None:
    wrong = cart("sessions", "watch", "--metrics", url, "--count", "1")
    assert (wrong.code, wrong.out) == (2, "")


NOT_HTTP = "the response is incomplete or not HTTP"
NOT_METRICS = "the response is not in the text format of Prometheus"
BUCKET = b"cart_session_store_operation_duration_seconds_bucket 1\n"
FAULTS = {
    "another status": (b"HTTP/1.1 404 Not Found\r\n\r\n", "the response has status 404"),
    "a page": (b"HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE html>\n", NOT_METRICS),
    "a truncated chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", NOT_HTTP),
    "another protocol": (b"-ERR unknown command\r\n", NOT_HTTP),
    "a bucket without a bound": (b"HTTP/1.1 200 OK\r\n\r\n" + BUCKET, NOT_METRICS),
    "no response": (b"", "remote end closed connection without response"),
}


@pytest.mark.parametrize(("response", "reason"), FAULTS.values(), ids=FAULTS)
def test_unreadable_metrics_are_reported_in_each_line(
    cart: CartCommand, response: bytes, reason: str
) -> None:
    with serve_bytes(response) as url:
        watched = cart("sessions", "watch", "--count", "2", "--every", "0.1", "--metrics", url)
    assert (watched.code, watched.err) == (0, "")
    for line in watched.out.splitlines():
        frame = json.loads(line)
        assert frame["error"] == f"{url} cannot be read: {reason}."
        assert frame["sessions"] == 3


def test_refused_metrics_are_reported_on_a_terminal() -> None:
    with watching("--metrics", f"http://127.0.0.1:{free_port()}/metrics") as terminal:
        terminal.wait_for("connection refused", "3 sessions on file")


@contextmanager
def serve_bytes(response: bytes) -> Iterator[str]:
    """Give each request this response, and close the connection."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(response)

    with serve(TCPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextmanager
def watching(*args: str) -> Iterator[Terminal]:
    size = {"COLUMNS": "160", "LINES": "40"}
    with start_on_terminal("sessions", "watch", "--every", "60", *args, **size) as terminal:
        yield terminal


def test_keys_sort_filter_and_end_a_session() -> None:
    with watching() as terminal:
        terminal.wait_for("sorted by last_seen", "3 sessions on file", "12 min ago")
        terminal.press("s")
        terminal.wait_for("sorted by created")
        terminal.press("fsec\n")
        terminal.wait_for("filter: sec", "1 session on file")
        terminal.press("x")
        terminal.wait_for(f"End {make_handle('second')}? y/n")
        terminal.press("n")
        terminal.wait_for("x end session")
        terminal.press("f\n")
        terminal.wait_for("3 sessions on file")
        terminal.press("\x1b[B")
        terminal.press("xy")
        terminal.wait_for("2 sessions on file", f"Ended {make_handle('second')}.")
        terminal.press("q")
        assert terminal.finish()[0] == 0
    entry = json.loads(Path("data/audit.log").read_text())
    assert (entry["command"], entry["selected"]) == ("sessions watch", make_handle("second"))


def test_watch_without_keys_on_a_terminal() -> None:
    with watching("--count", "1") as terminal:
        terminal.wait_for("3 sessions on file")
        assert terminal.finish()[0] == 0
