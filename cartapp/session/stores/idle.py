"""Idle connections of one server, trusted only as long as connections to it work.

After a timeout the idle connections are suspect too: a balancer or a firewall that has forgotten one of them
swallows what is sent on the others as well. After an error that only a replica gives they are all out of
date, since the server's name may lead to a new primary. So the first connection that fails closes the idle
ones, and those in use are closed as soon as they are idle. Connections opened after that failure stay.

TCP keepalive finds out that a server is gone, and keeps balancers and firewalls from forgetting connections.
"""

import socket
from typing import Final, Generic, Protocol, TypeVar

C = TypeVar("C")

_AFTER: Final = ("TCP_KEEPIDLE", "TCP_KEEPALIVE")  # Linux and others, and macOS
_PROBES: Final = (*((name, 60) for name in _AFTER), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))

KEEPALIVE: Final[dict[int, int]] = {
    getattr(socket, name): value for name, value in _PROBES if hasattr(socket, name)
}
"""Socket options of TCP: a probe after 60 idle seconds, and two more, 10 seconds apart, when it is lost."""


class _Socket(Protocol):
    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def keep_alive(connected: _Socket) -> None:
    """Turn on TCP keepalive."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connected.setsockopt(socket.IPPROTO_TCP, option, value)


class IdleConnections(Generic[C]):
    """Open connections that no operation uses; opening and closing them is up to the caller.

    A caller reads `generation` before it takes or opens a connection, and passes it on afterwards.
    """

    def __init__(self) -> None:
        self.generation = 0
        """How often the connections that there were have lost their trust."""
        self._idle: list[C] = []

    def take(self) -> C | None:
        """Return the connection used last, which is the least likely to be closed; None if there is none."""
        return self._idle.pop() if self._idle else None

    def put(self, connection: C, generation: int) -> bool:
        """Keep a connection that works; False if another one has failed since, and it must be closed."""
        if generation != self.generation:
            return False
        self._idle.append(connection)
        return True

    def distrust(self, generation: int) -> list[C]:
        """Give up all connections of a generation, one of which failed. Return the idle ones, to close."""
        return self.clear() if generation == self.generation else []

    def clear(self) -> list[C]:
        """Give up all connections. Return the idle ones, to close."""
        self.generation += 1
        idle, self._idle = self._idle, []
        return idle
