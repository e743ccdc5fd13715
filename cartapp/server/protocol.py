"""uvicorn's HTTP protocol with the limits of `limits.py`.

uvicorn has no settings for them, so this overrides undocumented methods of `HttpToolsProtocol`.
`tests/server/test_server_limits.py` tests each limit with the installed version. Time limits cost a request
one reading of the clock: a single timer checks all connections.
"""

import asyncio
from typing import Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from .coalescing import CoalescingProtocol, CoalescingTransport
from .connection_timer import TimedConnection, get_connection_timer
from .errors import HTTPError, encode_response
from .limits import Limits
from .lingering_close import LingeringClose

_NONE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_EXEMPT_PATHS: Final = (b"/healthz",)
"""Paths served above the connection limit."""
_BODY_HEADERS: Final = (b"content-length", b"transfer-encoding")
_TOO_MANY: Final = "The server has too many connections"


class LimitedProtocol(CoalescingProtocol, TimedConnection):
    """HTTP protocol for uvicorn's option `http`."""

    limits: ClassVar[Limits] = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving = _NONE  # the incomplete part of the request
        self._last_read = 0  # bytes of the last read
        self._size = 0  # bytes of the incomplete part, without the read in which it began
        self._current: RequestResponseCycle | None = None  # of the last request, complete or not
        self._keep_alive = False
        self._rejected = False
        self._stopping = False
        self._unsent, self._unsent_since = 0, 0.0

    def wrap(self, transport: asyncio.Transport) -> CoalescingTransport:
        """See `CoalescingProtocol`."""
        return CoalescingTransport(transport, on_close=self._close)

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.since = self._unsent_since = self.loop.time()
        self._timer = get_connection_timer(self.server_state)
        self._timer.start()
        self._admit()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._timer.forget(self)
        self.transport.remove_close_hook()  # type: ignore[attr-defined] # breaks a reference cycle

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._rejected:
            return
        self._last_read = len(data)
        if self._arriving:
            self._size += self._last_read
        try:
            self.parser.feed_data(data)
            if self._arriving:
                self._check_size()
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except HTTPError as error:
            self._reject(error)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._reject(cause if isinstance(cause, HTTPError) else HTTPError(400, "Invalid HTTP request"))

    def on_message_begin(self) -> None:
        """See `httptools`."""
        super().on_message_begin()
        self._arriving, self._size, self.since, self._current = _HEAD, 0, self.loop.time(), None

    def on_headers_complete(self) -> None:
        """See `httptools`. An exception stops the parser."""
        limits = self.limits
        if self._size + self._last_read > limits.head_bytes and self._head_size() > limits.head_bytes:
            raise self._too_large()
        if len(self.headers) > limits.head_lines:
            raise HTTPError(431, f"Too many header lines; the limit is {limits.head_lines}")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            raise HTTPError(400, "Expected exactly one Host header")  # RFC 9112, section 3.2
        if len(self.connections) > limits.connections and not self._has_room():
            raise HTTPError(503, _TOO_MANY)
        super().on_headers_complete()
        self._arriving, self._size = _BODY, 0
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            self._current = cycle
            # A response that starts before the request is complete has `Connection: close`.
            self._keep_alive, cycle.keep_alive = cycle.keep_alive, False
            self.headers = []  # collects trailers, which must not reach the scope
        elif any(name in _BODY_HEADERS for name, _ in self.headers):
            raise HTTPError(
                400, "A WebSocket handshake must not have a body"
            )  # websockets would wait forever

    def on_body(self, body: bytes) -> None:
        """See `httptools`."""
        self._size -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See `httptools`."""
        self._arriving = _NONE
        cycle = self._current
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = self._keep_alive and not self._stopping
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """See uvicorn's protocols. Skips the keep-alive timer, which uvicorn starts for each response."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self.since = self.loop.time()

    def check(self, now: float) -> None:
        """See `TimedConnection`."""
        self._track_unsent(now)
        if self._is_stalled(now, self.limits.stalled_seconds):
            self._timer.count("response stalled")
            self.transport.abort()
        elif self._rejected:
            if now - self.since > self.limits.request_seconds:
                self.transport.abort()  # a response in progress does not end
        elif self.flow.read_paused or self.transport.is_closing():
            return
        elif self._arriving:
            self._check_time(now)
        elif self._is_idle() and now - self.since > self._idle_seconds():
            self.transport.close()

    def shutdown(self) -> None:
        """See uvicorn's protocols. Wait for a request that the client may already have sent."""
        self._stopping, self._keep_alive = True, False
        if self._is_idle() and (self.cycle is None or self._arriving):
            self.loop.call_later(self.limits.last_request_seconds, self._stop)
        else:
            self._stop()

    def _stop(self) -> None:
        if self._is_idle():
            self._arriving = _NONE  # no lingering close
        super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """See uvicorn's protocols. Another protocol takes the connection over."""
        self._arriving = _NONE
        super().handle_websocket_upgrade()
        self.transport.remove_close_hook()  # type: ignore[attr-defined]

    def is_waiting(self) -> bool:
        """See `TimedConnection`."""
        if self._rejected or self.transport.is_closing():
            return False
        if self._is_idle() or (self._arriving == _BODY and not self._response_started()):
            return True
        return self._is_stalled(self.loop.time(), self.limits.head_seconds)

    def evict(self) -> None:
        """See `TimedConnection`."""
        self._timer.count("connection evicted")
        if self._unsent:
            self.transport.abort()
        elif self._arriving:
            self._reject(HTTPError(503, _TOO_MANY), linger=False)
        else:
            self.transport.close()

    def _upgrade(self, rest: bytes) -> None:
        """Switch to WebSocket. Ignore other protocols and discard the data after the request."""
        if self._should_upgrade():
            self.handle_websocket_upgrade()
        elif rest:
            self._rejected, self.cycle.keep_alive = True, False

    def _admit(self) -> None:
        """Make room for this connection, or close it if none can be evicted."""
        limits, number = self.limits, self._timer.count_connections()
        if number <= limits.connections or self._timer.make_room(self):
            return
        if number > limits.connections + limits.surplus:
            self._timer.count("connection refused")
            self.transport.abort()

    def _has_room(self) -> bool:
        if (
            self._timer.count_connections() <= self.limits.connections
            or self.url.partition(b"?")[0] in _EXEMPT_PATHS
        ):
            return True
        return self._timer.make_room(self)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check_size(self) -> None:
        if self._arriving == _HEAD and self._size > self.limits.head_bytes:
            raise self._too_large()
        if self._size > self.limits.framing_bytes:
            raise HTTPError(400, "The chunk headers or trailers are too large")

    def _check_time(self, now: float) -> None:
        limits, taken = self.limits, now - self.since
        if self._arriving == _HEAD and taken > limits.head_seconds:
            self._reject(HTTPError(408, "Timeout while receiving the headers"))
        elif taken > limits.request_seconds and not self._response_started():
            self._reject(HTTPError(408, "Timeout while receiving the body"))

    def _too_large(self) -> HTTPError:
        return HTTPError(431, f"The headers are too large; the limit is {self.limits.head_bytes} bytes")

    def _is_idle(self) -> bool:
        """Return whether the application handles no request. One may be arriving."""
        return self.cycle is None or self.cycle.response_complete

    def _response_started(self) -> bool:
        return self._current is not None and self._current.response_started

    def _idle_seconds(self) -> float:
        return self.limits.head_seconds if self.cycle is None else self.timeout_keep_alive

    def _track_unsent(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now

    def _is_stalled(self, now: float, seconds: float) -> bool:
        """Return whether no data of a response was sent for this long."""
        return self._unsent > 0 and now - self._unsent_since > seconds

    def _reject(self, error: HTTPError, *, linger: bool = True) -> None:
        """Send the error response after earlier responses, and close the connection."""
        self._rejected = True
        self._timer.count(str(error.status))
        if not linger:
            self._arriving = _NONE
        if self._is_idle():
            self._respond(error)
            return
        cycle, has_cycle = self.cycle, self._current is not None
        if not has_cycle or cycle.response_started:
            cycle.keep_alive = False  # earlier responses, and one in progress, are completed
            self.transport.pause_reading()
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline:
            self.pipeline[0] = (cycle, self._app_for(error))
        else:
            self._respond(error)

    def _respond(self, error: HTTPError) -> None:
        self.transport.write(encode_response(error, self.server_state.default_headers))
        self.transport.close()

    def _app_for(self, error: HTTPError) -> Any:
        """Return an application that sends the error response, for a pipelined request."""

        async def app(*_: Any) -> None:
            self._respond(error)

        return app

    def _close(self, transport: asyncio.Transport) -> bool:
        """Start a lingering close if the request is incomplete; otherwise return False."""
        if not self._arriving or transport.is_closing() or not transport.can_write_eof():
            return False
        self._arriving = _NONE
        LingeringClose(transport, self.connections, self._timer, self.limits)
        self.connection_lost(ConnectionAbortedError())  # uvicorn sees a lost connection
        return True
