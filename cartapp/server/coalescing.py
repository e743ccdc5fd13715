"""Write coalescing: the head and the body of a response leave in one system call.

uvicorn writes them separately and uvloop sends each write at once. `docs/decisions.md` has the measured gain.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_BUFFERED: Final = 65_536
"""Bytes. Larger data is written at once, so that uvicorn notices a slow client."""

_Data = bytes | bytearray | memoryview


class CoalescingProtocol(HttpToolsProtocol):
    """HTTP protocol for uvicorn's option `http`."""

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(self.wrap(transport))

    def wrap(self, transport: asyncio.Transport) -> "CoalescingTransport":
        """Return the transport for the protocol to write to."""
        return CoalescingTransport(transport)


class CoalescingTransport(asyncio.Transport):
    """Transport that joins the writes of one turn of the event loop.

    Every other method that sends flushes the buffer first, so that data leaves in the order of the calls.
    `close()` calls `on_close` with the wrapped transport; True means that the hook has taken it over.
    """

    def __init__(
        self, transport: asyncio.Transport, *, on_close: Callable[[asyncio.Transport], bool] | None = None
    ) -> None:
        super().__init__()
        self._transport = transport
        self._on_close = on_close
        self._is_taken_over = False
        self._loop = asyncio.get_running_loop()
        self._buffer: list[bytes] = []
        self._size = 0

    def write(self, data: _Data) -> None:
        """Buffer data until the end of this turn of the event loop."""
        if not self._buffer:
            self._loop.call_soon(self._flush)
        self._buffer.append(bytes(data))
        self._size += len(data)
        if self._size > _MAX_BUFFERED:
            self._flush()

    def writelines(self, list_of_data: Iterable[_Data]) -> None:
        """Buffer the joined data."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Flush and close the writing side."""
        self._flush()
        self._transport.write_eof()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Flush and hand the connection to another protocol."""
        self._flush()
        self._transport.set_protocol(protocol)

    def close(self) -> None:
        """Flush and close."""
        self._flush()
        if self._is_taken_over:
            return
        if self._on_close is not None and self._on_close(self._transport):
            self._is_taken_over = True
        else:
            self._transport.close()

    def abort(self) -> None:
        """Discard the buffer and close at once."""
        self._discard()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the transport is closing or was taken over."""
        return self._is_taken_over or self._transport.is_closing()

    def remove_close_hook(self) -> None:
        """Drop `on_close`, which breaks its reference cycle with the protocol."""
        self._on_close = None

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes not sent yet, those of this buffer included."""
        return self._size + self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._transport.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return self._transport.can_write_eof()

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.resume_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_protocol()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_extra_info(name, default)

    def _flush(self) -> None:
        if self._buffer and not self.is_closing():
            self._transport.write(b"".join(self._buffer))
        self._discard()

    def _discard(self) -> None:
        self._buffer.clear()
        self._size = 0
