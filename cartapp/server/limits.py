"""Limits of one server process.

uvicorn's own settings are not enough: `limit_concurrency` rejects `/healthz` too,
`h11_max_incomplete_event_size` applies to another parser, and none bounds the arrival time of a request. Only
`backlog` and `timeout_keep_alive` are used.
"""

import resource
from dataclasses import dataclass, field

_MAX_CONNECTIONS = 1_000


def _max_connections() -> int:
    """Return half of the file descriptors; the others are for files, databases and the backlog."""
    descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(1, min(_MAX_CONNECTIONS, descriptors // 2))


@dataclass(frozen=True)
class Limits:
    """Limits in bytes and seconds, and the number of connections."""

    head_bytes: int = 32 * 1024
    """Size of the request line and header lines. More is 431."""
    head_lines: int = 100
    """Number of header lines. More is 431: each middleware searches them from the start."""
    framing_bytes: int = 512 * 1024
    """Size of chunk headers and trailers of a chunked body. More is 400."""
    head_seconds: float = 10
    """Time from the first byte of a request to the end of its headers, else 408. Also until that byte."""
    last_request_seconds: float = 1
    """Time for a request to arrive on an accepted connection after the server has begun to stop."""
    request_seconds: float = 30
    """Time from the first byte of a request to the end of its body, else 408."""
    stalled_seconds: float = 30
    """Time without progress in sending a response, after which the connection is aborted."""
    linger_bytes: int = 8 * 1024 * 1024
    """Size of the rest of a request that a lingering close discards."""
    linger_seconds: float = 5
    """Duration of a lingering close."""
    connections: int = field(default_factory=_max_connections)
    """Number of connections. A further one evicts the connection that has waited longest."""

    @property
    def surplus(self) -> int:
        """Connections above the limit if none can be evicted: for `/healthz`, and for 503 responses."""
        return max(1, self.connections // 8)

    @property
    def backlog(self) -> int:
        """Connections in the kernel's accept queue, which may all be accepted at the same moment."""
        return max(1, self.connections // 2)
