"""uvicorn's HTTP protocol, but for one thing: head and body of an answer leave in one system call.

uvicorn writes them separately and uvloop writes at once, so that every answer costs a second trip into the
kernel, which on a small answer is a tenth of the time that it takes.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes that wait. More are written at once, from which uvicorn learns that a client is slow.
_MOST: Final = 65_536


class OneWriteProtocol(HttpToolsProtocol):
    """For uvicorn's option `http`."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(self.wrap(transport))  # type: ignore[arg-type]

    def wrap(self, transport: asyncio.Transport) -> "OneWrite":
        """The transport that the protocol writes to."""
        return OneWrite(transport)


class OneWrite:
    """A transport that joins what is written in one turn of the event loop.

    `close` is asked at the end, with the transport itself: when it returns True, it has taken that over.
    """

    def __init__(
        self, transport: asyncio.Transport, *, close: Callable[[asyncio.Transport], bool] | None = None
    ) -> None:
        self._transport = transport
        self._close = close
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See `asyncio.Transport`."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        self._size += len(data)
        if self._size > _MOST:
            self._flush()

    def close(self) -> None:
        """See `asyncio.Transport`; what waits is still sent."""
        self._flush()
        if self._closed:
            return
        if self._close is not None and self._close(self._transport):
            self._closed = True
        else:
            self._transport.close()

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._closed or self._transport.is_closing()

    def forget(self) -> None:
        """Ask nothing at the end any more."""
        self._close = None

    def _flush(self) -> None:
        if self._waiting and not self.is_closing():
            self._transport.write(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0
