"""Replace pooled connections that are closed or suspect.

- A connection that the server has closed is replaced on checkout. The operating system knows that it is
  closed, so the check needs no round trip.
- After a timeout every older connection is replaced on its next checkout: a load balancer or firewall that
  has dropped one idle connection has dropped the others too, silently.
- The same after an error of a server that accepts no more writes: its name may point to a new primary. Once
  it does, the first write on a new connection replaces the connections opened before that one. Without this
  a client could read from the former primary after it has written to the new one.
- TCP keepalive detects a lost peer, and keeps load balancers and firewalls from dropping connections.

No API returns the sockets of asyncpg, asyncmy, aiomysql and PyMySQL: `_transport`, `_writer` and `_sock` are
private. For drivers without a socket, such as ODBC and Firebird, the first and the last point do not apply.
"""

import os
import select
import socket
from math import inf
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DisconnectionError

from ..idle import keep_alive

_CLOSED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

_REPLACE_EVERY = 1.0  # seconds; on a read-only server each write would otherwise replace all connections


class PoolInvalidation:
    """Replace closed and suspect connections of an engine's pool on checkout."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._invalid_before = -inf  # time of the monotonic clock; older connections are replaced
        self._failed_at: float | None = None  # time of the first failure since the last confirmed write
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "checkout", self._on_checkout)

    def invalidate(self) -> None:
        """Replace all present connections before their next use, at most once a second."""
        now = monotonic()
        if self._failed_at is None:
            self._failed_at = now
        if now - self._invalid_before > _REPLACE_EVERY:
            self._invalid_before = now

    def confirm_write(self, connection: Connection) -> None:
        """After a failure, replace the connections that were opened before this one, which has written."""
        if self._failed_at is None:
            return
        connected: float = connection.info["connected"]
        if connected > self._failed_at:
            self._failed_at = None
            self._invalid_before = max(self._invalid_before, connected)

    @property
    def in_use(self) -> int:
        """The number of connections that run an operation."""
        return int(self._engine.pool.checkedout())  # type: ignore[attr-defined]

    def _on_connect(self, connection: Any, record: Any) -> None:
        record.info["connected"], record.info["is_new"] = monotonic(), True
        if (descriptor := socket_descriptor(connection)) is not None:
            _keep_alive(descriptor)

    def _on_checkout(self, connection: Any, record: Any, _proxy: object) -> None:
        if record.info.pop("is_new", False):
            return
        if record.info["connected"] < self._invalid_before:
            raise DisconnectionError("The connection is older than a failure of another one.")
        descriptor = socket_descriptor(connection)
        if descriptor is not None and _is_closed(descriptor):
            raise DisconnectionError("The server has closed the connection.")


def socket_descriptor(connection: Any) -> int | None:
    """Return the socket's descriptor; -1 if it is closed, None if the driver does not expose it."""
    driver = getattr(connection, "driver_connection", connection)
    writer = getattr(driver, "_transport", None) or getattr(driver, "_writer", None)
    if writer and writer.is_closing():  # its descriptor may belong to another socket by now
        return -1
    found = writer.get_extra_info("socket") if writer else getattr(driver, "_sock", None) or driver
    try:
        return int(found.fileno())
    except AttributeError:
        return None
    except Exception:  # noqa: BLE001 - psycopg's error, not imported here: the connection is closed
        return -1


def shut_down(connection: Any) -> None:
    """Shut down a driver's connection, to end a wait in another thread."""
    descriptor = socket_descriptor(connection)
    if descriptor is None or descriptor < 0:
        return
    with socket.socket(fileno=os.dup(descriptor)) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def _is_closed(descriptor: int) -> bool:
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, _CLOSED)
    return bool(poll.poll(0))


def _keep_alive(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as shared:
        if shared.family != socket.AF_UNIX:
            keep_alive(shared)
