"""Latencies under a fixed request rate.

Requests are due at fixed times, however slow the responses are, and a latency counts from the due time. A
server that stalls is charged for every request due during the stall. wrk does not do this: its latencies
suffer from coordinated omission.
"""

import gc
import select
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from time import perf_counter
from urllib.parse import urlsplit

from .wrk import CONNECTIONS, BenchmarkError

DRAIN_TIMEOUT = 5.0
"""Seconds to wait for responses after the last request was due."""


@dataclass(frozen=True)
class Steady:
    """Result of one run at a fixed rate."""

    rate: int
    """Requests per second."""
    p50: float
    p99: float
    """Milliseconds."""
    failed: int
    """Responses other than 200, and missing responses."""


class _Connection:
    """Connection with one request in flight."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket = socket.create_connection(address)
        self._request, self._response = b"", b""
        self._resent = False
        self.due = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes, due: float) -> None:
        self.due, self._request, self._response, self._resent = due, request, b"", False
        self._send()

    @property
    def succeeded(self) -> bool:
        return self._response.startswith(b"HTTP/1.1 200 ")

    def receive(self) -> bool:
        """Read available bytes and return whether the response is complete."""
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._resend()
        self._response += data
        return complete(self._response)

    def _resend(self) -> None:
        """Retry once on a new connection: a server may close an idle one while a request is on its way."""
        if self._response or self._resent:
            raise BenchmarkError("A server closed the connection in the middle of a request.")
        self._resent = True
        self.close()
        self._socket = socket.create_connection(self._address)
        self._send()

    def _send(self) -> None:
        with suppress(ConnectionError):  # receive() sees it
            self._socket.sendall(self._request)


def complete(response: bytes) -> bool:
    """Return whether an HTTP/1.1 response is complete, by `Content-Length` or the last chunk."""
    head, found, body = response.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not exceeded by this share of the values."""
    return sorted(values)[ceil(len(values) * share) - 1]


def run(url: str, requests: Sequence[bytes], rate: int, seconds: float) -> Steady:
    """Send requests at a fixed rate. Raises `BenchmarkError` if a server closes the connection."""
    target = urlsplit(url)
    connections = [_Connection((str(target.hostname), int(target.port or 80))) for _ in range(CONNECTIONS)]
    gc.disable()
    try:
        latencies, failed = _run(connections, requests, rate, int(rate * seconds))
    finally:
        gc.enable()
        for connection in connections:
            connection.close()
    return Steady(rate, percentile(latencies, 0.50) * 1000, percentile(latencies, 0.99) * 1000, failed)


def _run(
    connections: Sequence[_Connection], requests: Sequence[bytes], rate: int, count: int
) -> tuple[list[float], int]:
    free, busy = deque(connections), set[_Connection]()
    begin = perf_counter()
    due = deque(begin + number / rate for number in range(count))
    end = due[-1] + DRAIN_TIMEOUT
    turn = cycle(requests)
    latencies: list[float] = []
    failed = 0
    while len(latencies) < count and perf_counter() < end:
        while due and free and due[0] <= perf_counter():
            connection = free.popleft()
            connection.send(next(turn), due.popleft())
            busy.add(connection)
        wait = max(0.0, due[0] - perf_counter()) if due and free else DRAIN_TIMEOUT
        for connection in select.select(busy, (), (), wait)[0]:
            if connection.receive():
                latencies.append(perf_counter() - connection.due)
                failed += not connection.succeeded
                busy.remove(connection)
                free.append(connection)
    unanswered = [perf_counter() - each for each in (*due, *(connection.due for connection in busy))]
    return latencies + unanswered, failed + len(unanswered)
