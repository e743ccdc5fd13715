"""One memcached server: its text protocol over a bounded number of connections.

The source is the server's own protocol.txt. `cas` and `add` are used and not the newer `ms`, although that
would answer with the new token: when memory runs out, a refused `ms` also drops the item that was there.
"""

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from ..errors import StoreNotSupported, StoreUnavailable
from .gather import Closed, Gatherer
from .idle import IdleConnections, keep_alive
from .timeouts import SharedTimeout

_MOST: Final = 50  # commands of one batch
_DUMPED: Final = 1 << 20  # bytes of a dump that are read at a time
_LISTED: Final = b"key="  # begins each line of a dump but the last
_END: Final = b"\r\nEND\r\n"
_WORDS: Final = {b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED", b"END", b"VERSION"}
_PAUSE: Final = 0.5  # seconds between two tries of a server that hangs
_BUSY: Final = 0.02  # seconds until the next try when the server is already listing for somebody else


_Connection = tuple[StreamReader, StreamWriter]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's first word; for VALUE the item's bytes and its CAS token as well."""

    word: bytes
    data: bytes = b""
    token: int = 0


class Refused(Exception):
    """The server answers with an error."""


_BROKEN: Final = (OSError, EOFError, Refused, Closed, ValueError, IndexError, asyncio.LimitOverrunError)


class MemcachedServer:
    """A server, not yet connected, for one event loop; `timeout` is in seconds, for each command.

    After a time-out further commands fail at once, but for one each half second that finds out whether the
    server is back: one that hangs costs its own keys one wait, and the other servers' nothing.
    """

    def __init__(self, host: str, port: int, *, timeout: float, pool_size: int) -> None:
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host, self._port = host, port
        self._timeout = timeout
        self._limit = SharedTimeout(timeout)
        self._idle = IdleConnections[_Connection]()
        self._gatherer = Gatherer(self._send, most=_MOST, at_once=pool_size, timeout=timeout)
        self._silent_until = 0.0  # event loop time; 0.0 while it answers

    async def ask(self, command: bytes) -> Answer:
        """Send a command, with its data, and return the answer. Raises `StoreUnavailable`."""
        with self._explained():
            answer = await self._limit.wait_for(self._answered(command))
            if isinstance(answer, Answer):
                return answer
            raise answer if isinstance(answer, Exception) else TypeError(answer)

    async def _answered(self, command: bytes) -> object:
        return await self._gatherer.ask(command)

    async def keys(self, pick: Callable[[bytes], bytes]) -> bytes:
        """What `pick` makes of each key that it holds, all joined.

        They are fetched in one go: while its dump is not read the server keeps some items locked, and whoever
        asks for those waits. Raises `StoreNotSupported` where it makes no dump, and `StoreUnavailable`.
        """
        picked = bytearray()
        with self._explained():
            reader, writer, last = await self._limit.wait_for(self._begin_dump())
            try:
                rest = last
                while last.startswith(_LISTED):
                    *lines, rest = rest.split(b"\n")
                    picked += b"".join(pick(_key(line)) for line in lines if line.startswith(_LISTED))
                    last = lines[-1] if lines else last
                    if last.startswith(_LISTED):
                        rest += await self._limit.wait_for(_some(reader))
            finally:
                writer.transport.abort()
        if last.strip() != b"END":
            raise StoreNotSupported(f"memcached at {self.name} does not list its keys: {_text(last)}.")
        return bytes(picked)

    async def close(self) -> None:
        """Close every connection; commands under way fail."""
        await self._gatherer.close()
        _abort(self._idle.clear())
        await asyncio.sleep(0)  # lets the sockets be closed

    # -- connections --------------------------------------------------------------------------------------

    async def _send(self, commands: Sequence[bytes], answered: Callable[[object], None]) -> None:
        """See `gather.Send`. Nothing is ever sent twice: nobody knows what a broken connection had done."""
        generation = self._idle.generation
        connection = reader, writer = self._usable() or await self._connect()
        try:
            # Not drained: a server that waits for its answers to be read takes no further commands, so what
            # is left to write is written while we read. A batch bounds how much that is.
            writer.write(b"".join(commands))
            for _ in commands:
                answered(await _answer(reader))
        except BaseException:
            # Answers may still be on their way, which the next user of the connection would take for its own.
            _abort([connection, *self._idle.distrust(generation)])
            raise
        if not self._idle.put(connection, generation):
            _abort([connection])

    def _usable(self) -> _Connection | None:
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
        """A connection of its own on which the keys come, and the first line. Waits for other listings."""
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

    # -- what goes wrong ----------------------------------------------------------------------------------

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what went wrong into `StoreUnavailable`, and keep track of the server's silence."""
        self._let_pass()
        try:
            yield
        except TimeoutError as error:
            self._silent_until = asyncio.get_running_loop().time() + _PAUSE
            raise self._unavailable("it did not answer in time") from error
        except _BROKEN as error:
            self._silent_until = 0.0
            raise self._unavailable(_reason(error)) from error
        self._silent_until = 0.0

    def _let_pass(self) -> None:
        if not self._silent_until:
            return
        now = asyncio.get_running_loop().time()
        if now < self._silent_until:
            raise self._unavailable("it did not answer lately")
        self._silent_until = now + self._timeout + _PAUSE  # for the others: this command finds out

    def _unavailable(self, reason: str) -> StoreUnavailable:
        return StoreUnavailable(f"The memcached store at {self.name} cannot be used: {reason}.")


def _abort(connections: Sequence[_Connection]) -> None:
    """Close connections at once."""
    for _, writer in connections:
        writer.transport.abort()


async def _answer(reader: StreamReader) -> Answer | Refused:
    line = await reader.readuntil(b"\r\n")
    word, *rest = line.split()
    if word == b"VALUE":  # VALUE <key> <flags> <bytes> <token>
        size, token = int(rest[2]), int(rest[3])
        data = await reader.readexactly(size + len(_END))
        if not data.endswith(_END):
            raise ValueError(data[-len(_END) :])
        return Answer(word, data[:size], token)
    if word == b"SERVER_ERROR":  # it has read the command's data, so the next line is the next answer
        return Refused(_text(line))
    if word in (b"ERROR", b"CLIENT_ERROR"):
        raise Refused(_text(line))
    if word not in _WORDS:
        raise ValueError(word)
    return Answer(word)


async def _some(reader: StreamReader) -> bytes:
    """What has come, or comes next."""
    chunk = await reader.read(_DUMPED)
    if not chunk:
        raise EOFError
    return chunk


def _key(line: bytes) -> bytes:
    """The key in a line of a dump, `key=<spelt as in a URL> exp=<time> …`."""
    return unquote_to_bytes(line[len(_LISTED) :].split(b" ", 1)[0])


def _text(line: bytes) -> str:
    return line.decode("ascii", "replace").strip()[:200]


def _reason(error: Exception) -> str:
    if isinstance(error, Refused):
        return f"it answers {str(error)!r}"
    if isinstance(error, Closed):
        return "it was closed here"
    if isinstance(error, EOFError):
        return "it closed the connection"
    if isinstance(error, OSError):
        number = error.errno or 0
        return os.strerror(number).lower() if number > 0 else (error.strerror or str(error))
    return "it does not speak memcached's protocol"
