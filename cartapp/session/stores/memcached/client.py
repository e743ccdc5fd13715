"""One memcached server: its text protocol over a bounded number of connections.

Source: the server's protocol.txt. It uses `cas` and `add` rather than the newer `ms`, which would return the
new token: when memory runs out, a refused `ms` also drops the existing item.
"""

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from ...errors import StoreNotSupported, StoreUnavailable
from ..batching import BatcherClosed, CommandBatcher
from ..idle import IdleConnections, keep_alive
from ..timeouts import SharedTimeout
from ..urls import format_host

_MAX_BATCH: Final = 50  # commands of one batch
_DUMPED: Final = 1 << 20  # bytes of a dump that one read returns
_LISTED: Final = b"key="  # begins each line of a dump but the last
_COUNT: Final = b"STAT curr_items "
_END: Final = b"\r\nEND\r\n"
_WORDS: Final = {b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED", b"END", b"VERSION"}
_RETRY_AFTER: Final = 0.05  # seconds from a timeout to the next probe
_BUSY: Final = 0.02  # seconds until the next attempt while the server lists keys for another client


_Connection = tuple[StreamReader, StreamWriter]


@dataclass(frozen=True, slots=True)
class Response:
    """The first word of a response; for VALUE also the item's bytes and CAS token, for STAT all lines."""

    word: bytes
    data: bytes = b""
    token: int = 0


class ServerError(Exception):
    """The server returned an error."""


_BROKEN: Final = (
    OSError,
    EOFError,
    ServerError,
    BatcherClosed,
    ValueError,
    IndexError,
    asyncio.LimitOverrunError,
)


class MemcachedServer:
    """A server, not yet connected, for one event loop. `timeout` is in seconds, for each command.

    After a timeout commands fail at once, except one probe at a time. So a hanging server costs its own keys
    one timeout, and does not affect the other servers.
    """

    def __init__(self, host: str, port: int, *, timeout: float, pool_size: int) -> None:
        self.name: str = format_host(host, port)
        self._host, self._port = host, port
        self._timeout = timeout
        self._limit = SharedTimeout(timeout)
        self._idle = IdleConnections[_Connection]()
        self._batcher = CommandBatcher(
            self._send, max_batch=_MAX_BATCH, max_in_flight=pool_size, timeout=timeout
        )
        self._silent_until = 0.0  # event loop time; 0.0 while it answers

    async def execute(self, command: bytes) -> Response:
        """Send a command with its data and return the response. Raises `StoreUnavailable`."""
        with self._translate_errors():
            response = await self._batcher.submit(command)
            if isinstance(response, Response):
                return response
            raise response if isinstance(response, Exception) else TypeError(response)

    async def keys(self, pick: Callable[[bytes], bytes]) -> bytes:
        """Apply `pick` to each key of the server and return the results, joined.

        Reads the dump without pauses: the server keeps some items locked until it has been read. Raises
        `StoreNotSupported` if the server makes no dump, and `StoreUnavailable`.
        """
        picked = bytearray()
        with self._translate_errors():
            reader, writer, last = await self._limit.wait_for(self._begin_dump())
            try:
                rest = last
                while last.startswith(_LISTED):
                    *lines, rest = rest.split(b"\n")
                    picked += b"".join(pick(_key(line)) for line in lines if line.startswith(_LISTED))
                    last = lines[-1] if lines else last
                    if last.startswith(_LISTED):
                        rest += await self._limit.wait_for(_read_chunk(reader))
            finally:
                writer.transport.abort()
        if last.strip() != b"END":
            raise StoreNotSupported(f"memcached at {self.name} does not list its keys: {_text(last)}.")
        return bytes(picked)

    async def count_items(self) -> int:
        """Return the number of items, those of others included. Raises `StoreUnavailable`."""
        statistics = (await self.execute(b"stats\r\n")).data
        counts = [line.split()[-1] for line in statistics.splitlines() if line.startswith(_COUNT)]
        if not counts:
            raise self._unavailable("it does not tell how many items it has")
        return int(counts[0])

    async def close(self) -> None:
        """Close all connections; commands in flight fail."""
        await self._batcher.close()
        _abort(self._idle.clear())
        await asyncio.sleep(0)  # lets the sockets be closed

    # -- connections --------------------------------------------------------------------------------------

    async def _send(self, commands: Sequence[bytes], on_response: Callable[[object], None]) -> None:
        """See `batching.Send`. Nothing is sent twice: the effect of a broken connection is unknown."""
        generation = self._idle.generation
        connection = reader, writer = self._checkout() or await self._connect()
        try:
            # Not drained: a server that waits for its responses to be read accepts no more commands, so the
            # rest is written while we read. The batch size bounds it.
            writer.write(b"".join(commands))
            for _ in commands:
                on_response(await _read_response(reader))
        except BaseException:
            # Responses may still arrive, which the next user of the connection would take for its own.
            _abort([connection, *self._idle.invalidate(generation)])
            raise
        if not self._idle.put(connection, generation):
            _abort([connection])

    def _checkout(self) -> _Connection | None:
        """Take an idle connection that the server has not closed."""
        while connection := self._idle.take():
            reader, writer = connection
            if not (reader.at_eof() or writer.is_closing()):
                return connection
            _abort([connection])
        return None

    async def _connect(self) -> _Connection:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        keep_alive(writer.get_extra_info("socket"))
        return reader, writer

    async def _begin_dump(self) -> tuple[StreamReader, StreamWriter, bytes]:
        """Open a connection for a dump and return its first line. Waits for other dumps."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_DUMPED)
        try:
            while True:
                writer.write(b"lru_crawler metadump hash\r\n")
                line = await reader.readuntil(b"\n")
                if not line.startswith(b"BUSY"):
                    return reader, writer, line
                await asyncio.sleep(_BUSY)
        except BaseException:
            writer.transport.abort()
            raise

    # -- errors -------------------------------------------------------------------------------------------

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors to `StoreUnavailable`, and track whether the server responds."""
        self._check_silence()
        try:
            yield
        except TimeoutError as error:
            self._silent_until = asyncio.get_running_loop().time() + _RETRY_AFTER
            raise self._unavailable("it did not respond in time") from error
        except _BROKEN as error:
            self._silent_until = 0.0
            raise self._unavailable(_reason(error)) from error
        self._silent_until = 0.0

    def _check_silence(self) -> None:
        if not self._silent_until:
            return
        now = asyncio.get_running_loop().time()
        if now < self._silent_until:
            raise self._unavailable("it did not respond to the last command")
        self._silent_until = now + self._timeout + _RETRY_AFTER  # for other commands: this one is the probe

    def _unavailable(self, reason: str) -> StoreUnavailable:
        return StoreUnavailable(f"The memcached store at {self.name} cannot be used: {reason}.")


def _abort(connections: Sequence[_Connection]) -> None:
    """Close connections at once."""
    for _, writer in connections:
        writer.transport.abort()


async def _read_response(reader: StreamReader) -> Response | ServerError:
    line = await reader.readuntil(b"\r\n")
    word, *rest = line.split()
    if word == b"VALUE":  # VALUE <key> <flags> <bytes> <token>
        size, token = int(rest[2]), int(rest[3])
        data = await reader.readexactly(size + len(_END))
        if not data.endswith(_END):
            raise ValueError(data[-len(_END) :])
        return Response(word, data[:size], token)
    if word == b"STAT":  # a line for each figure
        while not line.endswith(_END):
            line += await reader.readuntil(b"\r\n")
        return Response(word, line)
    if word == b"SERVER_ERROR":  # it has read the command's data, so the next line is the next response
        return ServerError(_text(line))
    if word in (b"ERROR", b"CLIENT_ERROR"):
        raise ServerError(_text(line))
    if word not in _WORDS:
        raise ValueError(word)
    return Response(word)


async def _read_chunk(reader: StreamReader) -> bytes:
    """Return the next bytes."""
    chunk = await reader.read(_DUMPED)
    if not chunk:
        raise EOFError
    return chunk


def _key(line: bytes) -> bytes:
    """Return the key in a line of a dump, `key=<percent-encoded> exp=<time> …`."""
    return unquote_to_bytes(line[len(_LISTED) :].split(b" ", 1)[0])


def _text(line: bytes) -> str:
    return line.decode("ascii", "replace").strip()[:200]


def _reason(error: Exception) -> str:
    if isinstance(error, ServerError):
        return f"it returned {str(error)!r}"
    if isinstance(error, BatcherClosed):
        return "it was closed here"
    if isinstance(error, EOFError):
        return "it closed the connection"
    if isinstance(error, OSError):
        number = error.errno or 0
        return os.strerror(number).lower() if number > 0 else (error.strerror or str(error))
    return "it does not speak memcached's protocol"
