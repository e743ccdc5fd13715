"""Load at a fixed rate, for latencies: requests are due at fixed times, however slow the answers are.

A latency counts from when the request was due, so that a server that stalls is charged for everybody who
would have come meanwhile (what wrk leaves out, and is known as coordinated omission).
"""

import gc
import select
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from time import perf_counter
from urllib.parse import urlsplit

from .wrk import CONNECTIONS, BenchmarkError

PATIENCE = 10.0
"""Seconds after the last request was due until all must be answered."""


@dataclass(frozen=True)
class Steady:
    """One run at a fixed rate."""

    rate: int
    """Requests a second."""
    p50: float
    p99: float
    """Milliseconds."""


class _Connection:
    """One request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._answer = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, request: bytes, due: float) -> None:
        self.due, self._answer = due, b""
        self.socket.sendall(request)

    def answered(self) -> bool:
        """Whether the answer is complete with what has just come."""
        came = self.socket.recv(65536)
        if not came:
            raise BenchmarkError("A server hung up in the middle of a request.")
        self._answer += came
        return complete(self._answer)


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
    """Send requests at this rate for so long. Raises `BenchmarkError` when answers stay away."""
    place = urlsplit(url)
    connections = [_Connection((str(place.hostname), int(place.port or 80))) for _ in range(CONNECTIONS)]
    gc.disable()
    try:
        latencies = _run(connections, requests, rate, int(rate * seconds))
    finally:
        gc.enable()
        for connection in connections:
            connection.socket.close()
    return Steady(rate, percentile(latencies, 0.50) * 1000, percentile(latencies, 0.99) * 1000)


def _run(connections: list[_Connection], requests: Sequence[bytes], rate: int, count: int) -> list[float]:
    free, busy = deque(connections), set[_Connection]()
    begin = perf_counter()
    due = deque(begin + number / rate for number in range(count))
    end = due[-1] + PATIENCE
    turn = cycle(requests)
    latencies: list[float] = []
    while len(latencies) < count:
        now = perf_counter()
        if now > end:
            raise BenchmarkError(
                f"{count - len(latencies)} of {count} requests at {rate}/s were not answered."
            )
        while due and free and due[0] <= now:
            connection = free.popleft()
            connection.ask(next(turn), due.popleft())
            busy.add(connection)
        wait = max(0.0, due[0] - perf_counter()) if due and free else 1.0
        for connection in select.select(busy, (), (), wait)[0]:
            if connection.answered():
                latencies.append(perf_counter() - connection.due)
                busy.remove(connection)
                free.append(connection)
    return latencies
