"""uvicorn's HTTP protocol within limits: see `limits.py`.

It overrides methods of `HttpToolsProtocol` that uvicorn does not document, since uvicorn has no settings for
this; `tests/test_server_limits.py` shows that each limit holds with the installed version. Time limits cost a
request no more than a look at the clock: one timer checks all connections.
"""

import asyncio
from typing import Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from .limits import Limits
from .linger import Linger
from .refusals import Refusal, response_to
from .watch import Watched, watch_of
from .wire import OneWrite, OneWriteProtocol

_NONE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_ALWAYS: Final = (b"/healthz",)
"""Paths that are answered however many connections there are."""
_BODY_HEADERS: Final = (b"content-length", b"transfer-encoding")
_TOO_MANY: Final = "The server has too many connections at the moment"


class LimitedProtocol(OneWriteProtocol, Watched):
    """For uvicorn's option `http`."""

    limits: ClassVar[Limits] = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving = _NONE  # the part of a request that is not yet whole
        self._read = 0  # bytes of the last read
        self._size = 0  # bytes of that part, without the read in which it began
        self._own: RequestResponseCycle | None = (
            None  # the exchange of the request that arrives, or arrived last
        )
        self._keep_alive = False
        self._refused = False
        self._unsent, self._unsent_since = 0, 0.0

    def wrap(self, transport: asyncio.Transport) -> OneWrite:
        """See `OneWriteProtocol`."""
        return OneWrite(transport, close=self._close)

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.since = self._unsent_since = self.loop.time()
        self._watch = watch_of(self.server_state)
        self._watch.start()
        self._admit()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._watch.forget(self)
        self.transport.forget()  # type: ignore[attr-defined] # a reference cycle would be left

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refused:
            return
        self._read = len(data)
        if self._arriving:
            self._size += self._read
        try:
            self.parser.feed_data(data)
            if self._arriving:
                self._check_size()
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except Refusal as refusal:
            self._refuse(refusal)
        except httptools.HttpParserError as error:
            known = error.__context__
            self._refuse(
                known if isinstance(known, Refusal) else Refusal(400, "The request is not valid HTTP")
            )

    def on_message_begin(self) -> None:
        """See `httptools`."""
        super().on_message_begin()
        self._arriving, self._size, self.since, self._own = _HEAD, 0, self.loop.time(), None

    def on_headers_complete(self) -> None:
        """See `httptools`; an exception ends the parsing."""
        limits = self.limits
        if self._size + self._read > limits.head_bytes and self._head_size() > limits.head_bytes:
            raise self._too_large()
        if len(self.headers) > limits.head_lines:
            raise Refusal(431, f"The request has too many header lines: the limit is {limits.head_lines}")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            raise Refusal(400, "The request must have exactly one Host header")  # RFC 9112, section 3.2
        if len(self.connections) > limits.connections and not self._has_room():
            raise Refusal(503, _TOO_MANY)
        super().on_headers_complete()
        self._arriving, self._size = _BODY, 0
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            self._own = cycle
            # A response that begins before the request is whole says `Connection: close`.
            self._keep_alive, cycle.keep_alive = cycle.keep_alive, False
            self.headers = []  # for trailers, which are not the scope's
        elif any(name in _BODY_HEADERS for name, _ in self.headers):
            raise Refusal(400, "A WebSocket handshake has no body")  # websockets would wait for ever

    def on_body(self, body: bytes) -> None:
        """See `httptools`."""
        self._size -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See `httptools`."""
        self._arriving = _NONE
        cycle = self._own
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """See uvicorn's protocols, which start and stop a timer for each response."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self.since = self.loop.time()

    def check(self, now: float) -> None:
        """See `Watched`."""
        self._look_at_unsent(now)
        if self._is_stalled(now, self.limits.stalled_seconds):
            self._watch.count("response not taken")
            self.transport.abort()
        elif self._refused:
            if now - self.since > self.limits.request_seconds:
                self.transport.abort()  # an earlier response, or one that has begun, does not end
        elif self.flow.read_paused or self.transport.is_closing():
            return
        elif self._arriving:
            self._check_time(now)
        elif self._is_idle() and now - self.since > self._idle_seconds():
            self.transport.close()

    def shutdown(self) -> None:
        """See uvicorn's protocols."""
        self._keep_alive = False
        if self._is_idle():
            self._arriving = _NONE  # nothing to linger for
        super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """See uvicorn's protocols; the connection is another protocol's from then on."""
        self._arriving = _NONE
        super().handle_websocket_upgrade()
        self.transport.forget()  # type: ignore[attr-defined]

    def is_waiting(self) -> bool:
        """See `Watched`."""
        if self._refused or self.transport.is_closing():
            return False
        if self._is_idle() or (self._arriving == _BODY and not self._has_begun()):
            return True
        return self._is_stalled(self.loop.time(), self.limits.head_seconds)

    def evict(self) -> None:
        """See `Watched`."""
        self._watch.count("connection closed for another")
        if self._unsent:
            self.transport.abort()
        elif self._arriving:
            self._refuse(Refusal(503, _TOO_MANY), linger=False)
        else:
            self.transport.close()

    def _upgrade(self, rest: bytes) -> None:
        """Change to the WebSocket protocol; ignore the offer of another one, and drop what follows that."""
        if self._should_upgrade():
            self.handle_websocket_upgrade()
        elif rest:
            self._refused, self.cycle.keep_alive = True, False

    def _admit(self) -> None:
        """Make room for this connection, or close it when there is none at all."""
        limits, number = self.limits, self._watch.number()
        if number <= limits.connections or self._watch.make_room(self):
            return
        if number > limits.connections + limits.surplus:
            self._watch.count("connection not accepted")
            self.transport.abort()

    def _has_room(self) -> bool:
        if self._watch.number() <= self.limits.connections or self.url.partition(b"?")[0] in _ALWAYS:
            return True
        return self._watch.make_room(self)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check_size(self) -> None:
        if self._arriving == _HEAD and self._size > self.limits.head_bytes:
            raise self._too_large()
        if self._size > self.limits.framing_bytes:
            raise Refusal(400, "The request's chunks or trailers are too large")

    def _check_time(self, now: float) -> None:
        limits, taken = self.limits, now - self.since
        if self._arriving == _HEAD and taken > limits.head_seconds:
            self._refuse(Refusal(408, "The request's headers did not arrive in time"))
        elif taken > limits.request_seconds and not self._has_begun():
            self._refuse(Refusal(408, "The request's body did not arrive in time"))

    def _too_large(self) -> Refusal:
        return Refusal(
            431, f"The request's headers are too large: the limit is {self.limits.head_bytes} bytes"
        )

    def _is_idle(self) -> bool:
        """Whether no request is with the application; one may be arriving."""
        return self.cycle is None or self.cycle.response_complete

    def _has_begun(self) -> bool:
        return self._own is not None and self._own.response_started

    def _idle_seconds(self) -> float:
        return self.limits.head_seconds if self.cycle is None else self.timeout_keep_alive

    def _look_at_unsent(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now

    def _is_stalled(self, now: float, seconds: float) -> bool:
        """Whether the client has taken nothing of a response for so long."""
        return self._unsent > 0 and now - self._unsent_since > seconds

    def _refuse(self, refusal: Refusal, *, linger: bool = True) -> None:
        """Answer, in the order of the requests, and close the connection."""
        self._refused = True
        self._watch.count(str(refusal.status))
        if not linger:
            self._arriving = _NONE
        if self._is_idle():
            self._respond(refusal)
            return
        cycle, has_cycle = self.cycle, self._own is not None
        if not has_cycle or cycle.response_started:
            cycle.keep_alive = False  # earlier responses go first, and one that has begun goes on
            self.transport.pause_reading()
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline:
            self.pipeline[0] = (cycle, self._app_for(refusal))
        else:
            self._respond(refusal)

    def _respond(self, refusal: Refusal) -> None:
        self.transport.write(response_to(refusal, self.server_state.default_headers))
        self.transport.close()

    def _app_for(self, refusal: Refusal) -> Any:
        """What takes the application's place for a request that waits for its turn."""

        async def app(*_: Any) -> None:
            self._respond(refusal)

        return app

    def _close(self, transport: asyncio.Transport) -> bool:
        """Let the connection linger when its request is not whole; otherwise return False."""
        if not self._arriving or transport.is_closing() or not transport.can_write_eof():
            return False
        self._arriving = _NONE
        Linger(transport, self.connections, self._watch, self.limits)
        self.connection_lost(ConnectionAbortedError())  # for uvicorn, it is gone
        return True
