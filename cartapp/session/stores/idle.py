"""Idle connections to one server, kept only as long as none of them fails.

A timeout on one connection makes the others suspect: a load balancer or firewall that has dropped one has
dropped the others too, silently. After an error of a replica all of them are outdated, since the server's
name may point to a new primary. So the first failure closes the idle connections, and those in use as soon as
they are idle. Connections opened after the failure stay, until one of them writes: some were opened before
the name pointed to the new primary, and would read from the former one.

TCP keepalive detects a lost server, and keeps load balancers and firewalls from dropping connections.
"""

import socket
from typing import Final, Generic, Protocol, TypeVar

C = TypeVar("C")

_AFTER: Final = ("TCP_KEEPIDLE", "TCP_KEEPALIVE")  # Linux and others, and macOS
_PROBES: Final = (*((name, 60) for name in _AFTER), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))

KEEPALIVE: Final[dict[int, int]] = {
    getattr(socket, name): value for name, value in _PROBES if hasattr(socket, name)
}
"""TCP socket options: a probe after 60 idle seconds, repeated twice at 10 seconds if unanswered."""


class _Socket(Protocol):
    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def keep_alive(connected: _Socket) -> None:
    """Turn on TCP keepalive."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connected.setsockopt(socket.IPPROTO_TCP, option, value)


class IdleConnections(Generic[C]):
    """Open connections that no operation uses. The caller opens and closes them.

    A caller reads `generation` before it takes or opens a connection, and passes it back afterwards.
    """

    def __init__(self) -> None:
        self.generation: int = 0
        """Number of invalidations so far."""
        self._idle: list[C] = []
        self._has_failed = False  # since the last confirmed write

    def take(self) -> C | None:
        """Return the last used connection, the least likely to be closed, or None."""
        return self._idle.pop() if self._idle else None

    def put(self, connection: C, generation: int) -> bool:
        """Keep a working connection. Return False if another one has failed since: it must be closed."""
        if generation != self.generation:
            return False
        self._idle.append(connection)
        return True

    def invalidate(self, generation: int) -> list[C]:
        """Invalidate a generation after a failure. Return its idle connections, to close."""
        if generation != self.generation:
            return []
        self._has_failed = True
        return self.clear()

    def confirm_write(self, generation: int) -> list[C]:
        """Invalidate the first generation that writes after a failure. Return its idle ones, to close."""
        if not self._has_failed or generation != self.generation:
            return []
        self._has_failed = False
        return self.clear()

    def clear(self) -> list[C]:
        """Invalidate all connections. Return the idle ones, to close."""
        self.generation += 1
        idle, self._idle = self._idle, []
        return idle
