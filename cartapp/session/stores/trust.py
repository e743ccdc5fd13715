"""Trust in pooled connections: each is used only as long as it works.

- A connection that the server has closed is replaced on checkout. The operating system knows that it was
  closed, so this takes no round trip, and nothing was sent yet.
- After a timeout every connection made before is replaced on its next checkout: a balancer or a firewall that
  has forgotten one idle connection has forgotten the others too, and swallows what is sent on them.
- So it is after an error by which the server says that it takes no writes any more: its name may lead to a
  new primary now.
- TCP keepalive tells of a peer that is gone, and keeps balancers and firewalls from forgetting.

No API gives the sockets of asyncpg, asyncmy, aiomysql and PyMySQL: `_transport`, `_writer` and `_sock` are
private. A driver whose socket is not found, such as those of ODBC and Firebird, goes without the first and
the last point.
"""

import os
import select
import socket
from math import inf
from time import monotonic
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

from .idle import keep_alive

_CLOSED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

_REPLACE_EVERY = 1.0  # seconds; a server may stay read-only for long, and each write would replace them all


class PoolTrust:
    """Replaces connections of an engine's pool that are closed or suspect when they are checked out."""

    def __init__(self, engine: Engine) -> None:
        self._suspect_until = -inf  # time of the monotonic clock; what was connected before is replaced
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "checkout", self._checked_out)

    def withdraw(self) -> None:
        """Replace each connection that there is before its next use, though not all the time."""
        now = monotonic()
        if now - self._suspect_until > _REPLACE_EVERY:
            self._suspect_until = now

    def _connected(self, connection: Any, record: Any) -> None:
        record.info["connected"], record.info["is_new"] = monotonic(), True
        if (descriptor := socket_descriptor(connection)) is not None:
            _keep_alive(descriptor)

    def _checked_out(self, connection: Any, record: Any, _proxy: object) -> None:
        if record.info.pop("is_new", False):
            return
        if record.info["connected"] <= self._suspect_until:
            raise DisconnectionError("The connection is older than a failure of another one.")
        descriptor = socket_descriptor(connection)
        if descriptor is not None and _is_closed(descriptor):
            raise DisconnectionError("The server has closed the connection.")


def socket_descriptor(connection: Any) -> int | None:
    """The descriptor of the socket below a driver's connection; -1 if it is closed, None if not found."""
    driver = getattr(connection, "driver_connection", connection)
    writer = getattr(driver, "_transport", None) or getattr(driver, "_writer", None)
    if writer and writer.is_closing():  # its descriptor may be another socket's by now
        return -1
    found = writer.get_extra_info("socket") if writer else getattr(driver, "_sock", None) or driver
    try:
        return int(found.fileno())
    except AttributeError:
        return None
    except Exception:  # noqa: BLE001 - psycopg's error, which has no name here: the connection is closed
        return -1


def shut_down(connection: Any) -> None:
    """End what waits on a driver's connection in another thread."""
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
