"""A TCP proxy between a client and a server, to break what goes through it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Proxy:
    """Forwards from `port` on the loopback address to the server's, as long as the `async with` block runs.

    The requests always arrive. What comes back is up to the test: after `answers_for(n)` n more bytes pass;
    then every connection is cut, or hangs when `hang` is set, until `heal` is called. `delay_answers` holds
    back single pieces of what comes back. `swallow` is the exception: nothing passes in either direction.
    """

    def __init__(self, server_port: int, *, refuses: bytes | None = None) -> None:
        self.port = 0
        self._server_port = server_port
        self._refuses = refuses  # a request with these bytes ends its connection
        self._left: int | None = None
        self._hang = False
        self._delay: Callable[[], float] | None = None
        self._cutting = False
        self._swallowed = 0  # how many of the connections so far are swallowed
        self.connections = 0
        """How many there were so far."""
        self.cuts = 0
        """Answers that `cut_next_answer` has cut."""
        self._healed = asyncio.Event()
        self._healed.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def answers_for(self, count: int, *, hang: bool = False) -> None:
        """Let only so many bytes of answers pass from now on."""
        self._left, self._hang = count, hang
        self._healed.clear()

    def delay_answers(self, delay: Callable[[], float] | None) -> None:
        """Ask before each piece of an answer for how many seconds to hold it back; None holds back nothing.

        Answers of one connection never overtake each other.
        """
        self._delay = delay

    def cut_next_answer(self) -> None:
        """Close the next connection that an answer comes on, before its first byte; others go on."""
        self._cutting = True

    def heal(self) -> None:
        """Let everything pass again, also what hangs."""
        self._left = None
        self._healed.set()

    def forget(self) -> None:
        """Let everything pass again on new connections; what hangs does so for good."""
        self._left = None

    def cut(self) -> None:
        """End every connection there is, without a word."""
        for writer in self._writers:
            writer.transport.abort()

    def swallow(self) -> None:
        """Let nothing pass on the connections that there are, as a network does that has forgotten them.

        They stay open for both sides. New connections are not affected.
        """
        self._swallowed = self.connections

    def redirect(self, server_port: int) -> None:
        """Lead new connections to another server."""
        self._server_port = server_port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)  # before anything is waited for: whatever has begun is ended with the proxy
        self._writers.add(writer)
        try:
            there, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
            await self._forward(reader, writer, there, to_server)
        except ConnectionRefusedError:
            return
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self._writers.add(to_server)
        self.connections += 1
        number = self.connections
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(reader, to_server, number))
                both.create_task(self._answers(there, writer, number))
        finally:
            self._writers.discard(to_server)
            to_server.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK):
                if self._refuses is not None and self._refuses in chunk:
                    break
                if number > self._swallowed:
                    writer.write(chunk)
                    await writer.drain()
        writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK):
                if number > self._swallowed and not await self._pass_on(chunk, writer):
                    break
        if number <= self._swallowed:
            return  # the client is not told that the server has closed
        writer.close()  # what has been written still arrives

    async def _pass_on(self, chunk: bytes, writer: asyncio.StreamWriter) -> bool:
        """Forward what may pass, and say whether the connection goes on."""
        if self._delay is not None:
            await asyncio.sleep(self._delay())
        if self._cutting:
            self._cutting = False
            self.cuts += 1
            return False
        passing = chunk if self._left is None else chunk[: self._left]
        if self._left is not None:
            self._left -= len(passing)
        writer.write(passing)
        await writer.drain()
        if len(passing) == len(chunk):
            return True
        if not self._hang:
            return False
        await self._healed.wait()
        writer.write(chunk[len(passing) :])
        return True
