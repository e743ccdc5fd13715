"""A TCP proxy between a client and a server that delays, cuts and swallows traffic."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Proxy:
    """Forwards from `port` on the loopback address to the server during the `async with` block.

    Requests are always forwarded. After `answers_for(n)` n more bytes of responses pass; then every
    connection is cut, or hangs if `hang` is set, until `heal` is called. `delay_answers` delays parts of
    responses. Only `swallow` stops both directions.
    """

    def __init__(self, server_port: int, *, refuses: bytes | None = None) -> None:
        self.port = 0
        self._server_port = server_port
        self._refuses = refuses  # a request with these bytes ends its connection
        self._left: int | None = None
        self._hang = False
        self._delay: Callable[[], float] | None = None
        self._cutting = False
        self._swallowed = 0  # number of the first connections, which are swallowed
        self.connections = 0
        """Number of connections so far."""
        self.cuts = 0
        """Number of responses cut by `cut_next_answer`."""
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
        """Forward only this many more bytes of responses."""
        self._left, self._hang = count, hang
        self._healed.clear()

    def delay_answers(self, delay: Callable[[], float] | None) -> None:
        """Delay each part of a response by `delay()` seconds; None ends it.

        Responses on one connection stay in order.
        """
        self._delay = delay

    def cut_next_answer(self) -> None:
        """Close the next connection with a response, before its first byte. Other connections stay open."""
        self._cutting = True

    def heal(self) -> None:
        """Forward everything again, on hanging connections too."""
        self._left = None
        self._healed.set()

    def forget(self) -> None:
        """Forward everything on new connections; hanging ones stay so."""
        self._left = None

    def cut(self) -> None:
        """Abort every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def swallow(self) -> None:
        """Discard all traffic of the present connections, like a firewall that has dropped their state.

        They stay open on both ends. New connections are not affected.
        """
        self._swallowed = self.connections

    def redirect(self, server_port: int) -> None:
        """Forward new connections to another server."""
        self._server_port = server_port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)  # before the first await, so that the proxy's exit cancels it
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
            return  # the client must not see that the server has closed
        writer.close()  # written data still arrives

    async def _pass_on(self, chunk: bytes, writer: asyncio.StreamWriter) -> bool:
        """Forward the permitted part of a chunk. Return whether the connection stays open."""
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
