"""The limits of one server process.

Of uvicorn's settings, `backlog` and `timeout_keep_alive` are in use. `limit_concurrency` would refuse
`/healthz` like any other path, `h11_max_incomplete_event_size` is for another parser, and no setting bounds
the time that a request may take to arrive.
"""

import resource
from dataclasses import dataclass, field

_MAX_CONNECTIONS = 1_000


def _connections() -> int:
    """Half of the descriptors of this process: the rest is for files, databases and the backlog."""
    descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(1, min(_MAX_CONNECTIONS, descriptors // 2))


@dataclass(frozen=True)
class Limits:
    """Bounds in bytes and seconds, and the number of connections."""

    head_bytes: int = 32 * 1024
    """Request line and header lines together; more is 431."""
    head_lines: int = 100
    """Header lines; more is 431. Each part of the application searches them from the start."""
    framing_bytes: int = 512 * 1024
    """What a chunked body has beside its data, such as trailers; more is 400."""
    head_seconds: float = 10
    """From the first byte of a request to the end of its headers, else 408; as long for that byte to come."""
    request_seconds: float = 30
    """From the first byte of a request to the last one of its body, else 408."""
    stalled_seconds: float = 30
    """How long a client may take nothing of a response before the connection is cut."""
    linger_bytes: int = 8 * 1024 * 1024
    """What is read and dropped of a body that was answered before it had arrived."""
    linger_seconds: float = 5
    """How long that may go on."""
    connections: int = field(default_factory=_connections)
    """Connections at a time; one more costs the longest waiting its place."""

    @property
    def surplus(self) -> int:
        """Connections beyond that while none is waiting: for `/healthz`, and to answer 503 to others."""
        return max(1, self.connections // 8)

    @property
    def backlog(self) -> int:
        """Connections that the system holds until they are accepted, which can all happen at once."""
        return max(1, self.connections // 2)
