"""Load at a fixed rate, for latencies: requests are due at fixed times, however slow the answers are.

A latency counts from when the request was due, so that a server that stalls is charged for everybody who
would have come meanwhile (what wrk leaves out, and is known as coordinated omission).
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

PATIENCE = 5.0
"""Seconds after the last request was due; what is unanswered then has waited so long, at least."""


@dataclass(frozen=True)
class Steady:
    """One run at a fixed rate."""

    rate: int
    """Requests a second."""
    p50: float
    p99: float
    """Milliseconds."""
    failed: int
    """Answers other than 200, and none at all."""


class _Connection:
    """One request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket = socket.create_connection(address)
        self._request, self._answer = b"", b""
        self._again = False
        self.due = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes, due: float) -> None:
        self.due, self._request, self._answer, self._again = due, request, b"", False
        self._send()

    @property
    def good(self) -> bool:
        return self._answer.startswith(b"HTTP/1.1 200 ")

    def answered(self) -> bool:
        """Whether the answer is complete with what has just come."""
        try:
            came = self._socket.recv(65536)
        except ConnectionError:
            came = b""
        if not came:
            self._ask_again()
        self._answer += came
        return complete(self._answer)

    def _ask_again(self) -> None:
        """On a new connection: a server may close one that has been idle just when a request is sent."""
        if self._answer or self._again:
            raise BenchmarkError("A server hung up in the middle of a request.")
        self._again = True
        self.close()
        self._socket = socket.create_connection(self._address)
        self._send()

    def _send(self) -> None:
        with suppress(ConnectionError):  # then nothing will come, either
            self._socket.sendall(self._request)


def complete(answer: bytes) -> bool:
    """Whether an HTTP/1.1 answer has all its body: by `Content-Length`, or the last chunk."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so large a share of them does not exceed."""
    return sorted(values)[ceil(len(values) * share) - 1]


def run(url: str, requests: Sequence[bytes], rate: int, seconds: float) -> Steady:
    """Send requests at this rate for so long. Raises `BenchmarkError` when a server hangs up."""
    place = urlsplit(url)
    connections = [_Connection((str(place.hostname), int(place.port or 80))) for _ in range(CONNECTIONS)]
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
    end = due[-1] + PATIENCE
    turn = cycle(requests)
    latencies: list[float] = []
    failed = 0
    while len(latencies) < count and perf_counter() < end:
        while due and free and due[0] <= perf_counter():
            connection = free.popleft()
            connection.ask(next(turn), due.popleft())
            busy.add(connection)
        wait = max(0.0, due[0] - perf_counter()) if due and free else PATIENCE
        for connection in select.select(busy, (), (), wait)[0]:
            if connection.answered():
                latencies.append(perf_counter() - connection.due)
                failed += not connection.good
                busy.remove(connection)
                free.append(connection)
    unanswered = [perf_counter() - each for each in (*due, *(connection.due for connection in busy))]
    return latencies + unanswered, failed + len(unanswered)
