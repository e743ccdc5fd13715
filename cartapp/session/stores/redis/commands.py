"""Commands and scripts on one Redis address, with this store's errors."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from ...errors import StoreTimeout, StoreUnavailable
from ..batching import CommandBatcher
from ..per_loop import PerLoop
from ..timeouts import SharedTimeout
from .client import Client, Command, Node
from .errors import is_no_primary, is_timeout, reason_of
from .url import Address


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and its SHA-1 digest for EVALSHA."""

    text: str
    digest: str


def make_script(text: str) -> Script:
    """Return a script with its digest."""
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


_Connections = tuple[Client, CommandBatcher[Command]]


class Commands:
    """Send commands in batches, on the connections that `connect` opens on first use.

    After `close` the next command connects again.
    """

    def __init__(
        self, address: Address, connect: Callable[[], Client], *, timeout: float, pool_size: int
    ) -> None:
        self._address = address
        self._connect = connect
        self._timeout = timeout
        self._limit = SharedTimeout(timeout)
        self._pool_size = pool_size
        self._connections = PerLoop(self._open, self._close)

    @property
    def in_flight(self) -> int:
        """The number of connections that wait for a response."""
        return sum(batcher.in_flight for _, batcher in self._connections.values())

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._connections.close()

    async def run_script(self, script: Script, place: bytes, *words: str | bytes | int) -> Any:
        """Return the response to a script on one key. Raises `StoreUnavailable`."""
        return self.check(await self.evaluate(script, 1, place, *words))

    async def evaluate(self, script: Script, keys: int, *words: str | bytes | int, at: Node = None) -> object:
        """Return the response to a script; the first `keys` words are keys."""
        answer = await self._send_retrying(Command(("EVALSHA", script.digest, keys, *words), at))
        if isinstance(answer, NoScriptError):  # nothing was done; EVAL also caches the script
            answer = await self._send_retrying(Command(("EVAL", script.text, keys, *words), at))
        return answer

    async def execute(self, *words: str | bytes | int) -> Any:
        """Return the response to a command. Raises `StoreUnavailable`."""
        return self.check(await self._send_retrying(Command(words)))

    async def _send_retrying(self, command: Command) -> object:
        """Send a command, and once more if a replica refuses it: the name may point to a primary now."""
        answer = await self.submit(command)
        return await self.submit(command) if is_no_primary(answer) else answer

    async def submit_all(self, commands: Sequence[Command]) -> list[object]:
        """Return the responses to concurrent commands, as `_send_retrying` does."""
        answers = list(await asyncio.gather(*map(self.submit, commands)))
        for number, answer in enumerate(answers):
            if is_no_primary(answer):
                answers[number] = await self.submit(commands[number])
        return answers

    def submit(self, command: Command) -> Awaitable[object]:
        """Return the response of the server; errors are returned as exceptions."""
        return self._connections.get()[1].submit(command)

    def _open(self) -> _Connections:
        client = self._connect()
        batcher = CommandBatcher(
            client.send, max_batch=client.max_batch, max_in_flight=self._pool_size, timeout=self._timeout
        )
        return client, batcher

    async def _close(self, connections: _Connections) -> None:
        client, batcher = connections
        await batcher.close()
        with suppress(RedisError, TimeoutError):  # a hanging server must not block the close
            await self._limit.wait_for(client.close())

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that together have all keys. Raises `StoreUnavailable`."""
        try:
            return await self._limit.wait_for(self._connections.get()[0].nodes())
        except Exception as error:
            raise self._unavailable(error) from error

    def check(self, answer: Any) -> Any:
        """Return a response. Raises `StoreUnavailable` for an error."""
        if isinstance(answer, Exception):
            raise self._unavailable(answer) from answer
        return answer

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        store = f"The {self._address.backend} store at {self._address}"
        if isinstance(error, TimeoutError):
            return StoreTimeout(f"{store} did not respond within {self._timeout:g} seconds.")
        late = is_timeout(error, is_cluster=self._address.kind == "cluster")
        kind = StoreTimeout if late else StoreUnavailable
        return kind(f"{store} cannot be used: {reason_of(error)}.")
