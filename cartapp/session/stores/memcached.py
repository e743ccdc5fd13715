"""Sessions in memcached: one server, or several that share the keys.

A record is one packed item under one key. What must compare before it writes does so by `cas`, with the token
of a look at the item, so that it is one atomic step.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from hashlib import blake2b
from typing import Final

from msgspec.structs import replace

from ..errors import StoreUnavailable, UnreadableRecord
from ..record import (
    KEY_LENGTH,
    Clock,
    Record,
    Seen,
    Summary,
    Version,
    is_key,
    new_version,
    now,
    pack,
    summary_of,
    unpack,
)
from .memcached_server import Answer, MemcachedServer
from .memcached_url import Address

logger = logging.getLogger("cartapp.session")

_STEP: Final = 50  # records that a scan holds in memory
_LONGEST: Final = 30 * 86_400  # seconds; more than that is a Unix time (protocol.txt, "Expiration times")
_LAST: Final = 2**31 - 1  # the last second that the server knows
_GONE: Final = -1  # a lifetime in the past

# The part of the caller's patience that a command gets: one server that hangs is noticed here, before the
# caller takes the whole store for hanging.
_PATIENCE: Final = 0.75


class _Seen(int):
    """The version of a record that was looked at, with what `save`, `touch` and `delete` need to compare.

    They would have to look again otherwise, and do so when the server's token turns out to be an old one: a
    touch changes that, but not the version. It equals the plain number that `create` and `save` return.
    """

    token: int
    record: Record

    def __new__(cls, record: Record, token: int) -> "_Seen":
        """What was seen, and the server's token of it."""
        seen = super().__new__(cls, int(record.version))
        seen.record, seen.token = record, token
        return seen


class MemcachedStore:
    """A store on all servers of one address. Use it on one event loop only.

    Each key lives on one server, chosen by rendezvous hashing of the servers' names, so every process must
    name them alike. While a server is down its keys are out of reach: they are never looked for elsewhere,
    where a session could begin twice. A server that starts again is empty, and a full one drops the sessions
    that were not used for longest, unless it was started with `-M`.

    Lifetimes up to 30 days are sent as what is left of them, so that a server whose clock differs keeps
    records as long. What has expired by the store's own clock is absent, whatever the server still has.
    """

    name = "memcached"

    def __init__(
        self, address: Address, *, clock: Clock = now, timeout: float = 2.0, pool_size: int = 10
    ) -> None:
        self._prefix = address.prefix.encode()
        self._clock = clock
        self._servers = [
            MemcachedServer(host, port, timeout=timeout * _PATIENCE, pool_size=pool_size)
            for host, port in address.hosts
        ]

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`; an expired record makes way."""
        version = new_version()
        if await self._put(b"add", record.key, pack(record, version), self._lifetime(record)):
            return version
        seen = await self._look(record.key)
        if seen is None or self._is_live(seen):
            return None
        return version if await self._swap(seen, record, version) else None

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        seen = _seen(key, await self._get(key))
        return replace(seen.record, version=seen) if seen is not None and self._is_live(seen) else None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired or unreadable record counts as gone."""
        version = new_version()
        seen = expected if isinstance(expected, _Seen) else await self._look(record.key)
        while seen is not None and seen == expected and self._is_live(seen):
            if await self._swap(seen, record, version):
                return version
            seen = await self._look(record.key)  # it may only have been touched
        return None

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired or unreadable record counts as gone.

        False as well when somebody else's touch came first: it has kept the session alive.
        """
        seen = expected if isinstance(expected, _Seen) else await self._look(key)
        if seen is None or seen != expected or not self._is_live(seen):
            return False
        return await self._swap(seen, replace(seen.record, last_used=last_used, expires=expires), int(seen))

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """See `Store.delete`. Without `expected` whatever stands in the record's place goes as well."""
        if expected is None:
            return (await self._ask(key, b"delete %b\r\n" % self._place(key))).word == b"DELETED"
        seen = expected.version if isinstance(expected.version, _Seen) else None
        if seen is None or seen.record.last_used != expected.last_used:
            seen = await self._look(key)
        while seen is not None and seen == expected.version and seen.record.last_used == expected.last_used:
            if await self._put(b"cas", key, b"", _GONE, seen.token):
                return True
            seen = await self._look(key)
        return False

    async def ping(self) -> None:
        """See `Store.ping`; every server must answer."""
        await asyncio.gather(*(server.ask(b"version\r\n") for server in self._servers))

    async def close(self) -> None:
        """See `Store.close`."""
        for server in self._servers:
            await server.close()

    # -- listing ------------------------------------------------------------------------------------------

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record costs one log line.

        A server's keys are all fetched first, 22 bytes of memory each, for one user's sessions too. Raises
        `StoreNotSupported` where it does not list them (`lru_crawler metadump`, switched off by `-X`).
        """
        for server in self._servers:
            keys = await server.keys(self._picked)
            for start in range(0, len(keys), _STEP * KEY_LENGTH):
                for record in await self._records(keys[start : start + _STEP * KEY_LENGTH]):
                    if user_id is None or record.user_id == user_id:
                        yield summary_of(record)

    def _picked(self, place: bytes) -> bytes:
        key = place[len(self._prefix) :]
        return key if place.startswith(self._prefix) and is_key(key.decode("latin-1")) else b""

    async def _records(self, joined: bytes) -> list[Record]:
        starts = range(0, len(joined), KEY_LENGTH)
        keys = [joined[start : start + KEY_LENGTH].decode() for start in starts]
        answers = await asyncio.gather(*(self._get(key) for key in keys))
        records = []
        for key, answer in zip(keys, answers, strict=True):
            try:
                seen = _seen(key, answer)
            except UnreadableRecord as error:
                logger.warning("Session %s is unreadable and not listed: %s", key, error)
                continue
            if seen is not None and not seen.record.is_tombstone and self._is_live(seen):
                records.append(seen.record)
        return records

    # -- items --------------------------------------------------------------------------------------------

    async def _look(self, key: str) -> _Seen | None:
        """What stands under the key, be it expired; None when that is no record."""
        try:
            return _seen(key, await self._get(key))
        except UnreadableRecord:
            return None

    def _is_live(self, seen: _Seen) -> bool:
        return seen.record.expires > self._clock()

    async def _swap(self, seen: _Seen, record: Record, version: int) -> bool:
        """Put a record in the place of what was seen, and only of that."""
        return await self._put(b"cas", record.key, pack(record, version), self._lifetime(record), seen.token)

    def _lifetime(self, record: Record) -> int:
        """What the server is told: seconds from now, or for long lifetimes a Unix time.

        One more than is left, since its seconds do not begin with ours; never 0, which means for ever.
        """
        left = max(1, -(-(record.expires - self._clock()) // 1000) + 1)
        return left if left <= _LONGEST else min(record.expires // 1000 + 2, _LAST)

    async def _get(self, key: str) -> Answer:
        return await self._ask(key, b"gets %b\r\n" % self._place(key))

    async def _put(self, command: bytes, key: str, packed: bytes, lifetime: int, *token: int) -> bool:
        numbers = " ".join(map(str, (0, lifetime, len(packed), *token))).encode()
        head = b"%b %b %b\r\n" % (command, self._place(key), numbers)
        return (await self._ask(key, head + packed + b"\r\n")).word == b"STORED"

    async def _ask(self, key: str, command: bytes) -> Answer:
        return await self._server(key).ask(command)

    def _server(self, key: str) -> MemcachedServer:
        """The server of a key: the one that bids highest, so that another server takes only what it wins."""

        def bid(server: MemcachedServer) -> bytes:
            return blake2b(f"{server.name} {key}".encode(), digest_size=8).digest()

        return max(self._servers, key=bid)

    def _place(self, key: str) -> bytes:
        return self._prefix + key.encode()


def _seen(key: str, answer: Answer) -> _Seen | None:
    if answer.word != b"VALUE":
        return None
    if not answer.token:
        raise StoreUnavailable("A memcached server was started without CAS (-C), so it can keep no sessions.")
    return _Seen(unpack(key, answer.data), answer.token)
