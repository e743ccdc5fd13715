"""Sessions in memcached: one server, or several that share the keys.

A record is one packed item. Conditional writes use `cas` with the token of an earlier `gets`, so each is one
atomic step.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final

from msgspec.structs import replace

from ...errors import StoreUnavailable, UnreadableRecord
from ...record import (
    KEY_LENGTH,
    Clock,
    Record,
    RecordOrSummary,
    Summary,
    Version,
    is_key,
    new_version,
    now,
    pack,
    summarize,
    unpack,
)
from ..per_loop import PerLoop
from .client import MemcachedServer, Response
from .url import Address

logger: logging.Logger = logging.getLogger("cartapp.session")

_STEP: Final = 50  # records in memory during a scan
_MAX_RELATIVE: Final = (
    30 * 86_400
)  # seconds; larger numbers are Unix times (protocol.txt, "Expiration times")
_LAST: Final = 2**31 - 1  # the last second that the server supports
_EXPIRED: Final = -1  # a lifetime in the past


class _CasVersion(int):
    """The version of a loaded record, with the CAS token for `save`, `touch` and `delete`.

    It saves them a `gets`. They repeat it if the token is outdated: a touch changes the token but not the
    version. It equals the plain number that `create` and `save` return.
    """

    token: int
    record: Record

    def __new__(cls, record: Record, token: int) -> "_CasVersion":
        """Return the version of a record, with its token."""
        seen = super().__new__(cls, int(record.version))
        seen.record, seen.token = record, token
        return seen


class MemcachedStore:
    """A store on all servers of one address.

    Each key belongs to one server, chosen by rendezvous hashing of the servers' names, so every process must
    use the same names. While a server is down its keys are unavailable; they never move to another server,
    where a session could be created twice. A restarted server is empty, and a full one drops the least
    recently used sessions, unless it runs with `-M`.

    Lifetimes up to 30 days are sent as remaining time, so that a difference between the clocks does not
    matter. A record that is expired by the store's own clock is absent.
    """

    name = "memcached"

    def __init__(
        self, address: Address, *, clock: Clock = now, timeout: float = 2.0, pool_size: int = 10
    ) -> None:
        self._prefix = address.prefix.encode()
        self._clock = clock
        open_server = partial(MemcachedServer, timeout=timeout, pool_size=pool_size)
        self._servers = PerLoop(lambda: [open_server(*host) for host in address.hosts], _close)

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`; an expired record is replaced."""
        version = new_version()
        if await self._write_item(b"add", record.key, pack(record, version), self._lifetime(record)):
            return version
        seen = await self._gets(record.key)
        if seen is None or self._is_live(seen):
            return None
        return version if await self._cas(seen, record, version) else None

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        seen = _seen(key, await self._get(key))
        return replace(seen.record, version=seen) if seen is not None and self._is_live(seen) else None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired or unreadable record counts as missing."""
        version = new_version()
        seen = expected if isinstance(expected, _CasVersion) else await self._gets(record.key)
        while seen is not None and seen == expected and self._is_live(seen):
            if await self._cas(seen, record, version):
                return version
            seen = await self._gets(record.key)  # it may have been touched only
        return None

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired or unreadable record counts as missing.

        Also returns False after a concurrent touch, which has extended the session.
        """
        seen = expected if isinstance(expected, _CasVersion) else await self._gets(key)
        if seen is None or seen != expected or not self._is_live(seen):
            return False
        return await self._cas(seen, replace(seen.record, last_used=last_used, expires=expires), int(seen))

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`. Without `expected` it removes unreadable values too."""
        if expected is None:
            return (await self._execute(key, b"delete %b\r\n" % self._item_key(key))).word == b"DELETED"
        seen = expected.version if isinstance(expected.version, _CasVersion) else None
        if seen is None or seen.record.last_used != expected.last_used:
            seen = await self._gets(key)
        while seen is not None and seen == expected.version and seen.record.last_used == expected.last_used:
            if await self._write_item(b"cas", key, b"", _EXPIRED, seen.token):
                return True
            seen = await self._gets(key)
        return False

    async def ping(self) -> None:
        """See `Store.ping`; every server must answer."""
        await asyncio.gather(*(server.execute(b"version\r\n") for server in self._servers.get()))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._servers.close()

    # -- listing ------------------------------------------------------------------------------------------

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record is logged.

        It first fetches all keys of a server, 22 bytes of memory each, even for one user. Raises
        `StoreNotSupported` if the server cannot list them (`lru_crawler metadump`, disabled by `-X`).
        """
        for server in self._servers.get():
            keys = await server.keys(self._pick_key)
            for start in range(0, len(keys), _STEP * KEY_LENGTH):
                for record in await self._records(keys[start : start + _STEP * KEY_LENGTH]):
                    if user_id is None or record.user_id == user_id:
                        yield summarize(record)

    async def estimate(self) -> int:
        """See `Estimable.estimate`. Counts all items of the servers, those of others included."""
        return sum(await asyncio.gather(*(server.count_items() for server in self._servers.get())))

    def _pick_key(self, place: bytes) -> bytes:
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

    async def _gets(self, key: str) -> _CasVersion | None:
        """Return the version of the record, even if expired; None if there is no readable record."""
        try:
            return _seen(key, await self._get(key))
        except UnreadableRecord:
            return None

    def _is_live(self, seen: _CasVersion) -> bool:
        return seen.record.expires > self._clock()

    async def _cas(self, seen: _CasVersion, record: Record, version: int) -> bool:
        """Replace the record if the token is still current."""
        return await self._write_item(
            b"cas", record.key, pack(record, version), self._lifetime(record), seen.token
        )

    def _lifetime(self, record: Record) -> int:
        """Return the exptime: seconds from now, or a Unix time for long lifetimes.

        One second more than is left, since the server's seconds start at another time than ours; never 0,
        which means no expiry.
        """
        left = max(1, -(-(record.expires - self._clock()) // 1000) + 1)
        return left if left <= _MAX_RELATIVE else min(record.expires // 1000 + 2, _LAST)

    async def _get(self, key: str) -> Response:
        return await self._execute(key, b"gets %b\r\n" % self._item_key(key))

    async def _write_item(self, command: bytes, key: str, packed: bytes, lifetime: int, *token: int) -> bool:
        numbers = " ".join(map(str, (0, lifetime, len(packed), *token))).encode()
        head = b"%b %b %b\r\n" % (command, self._item_key(key), numbers)
        return (await self._execute(key, head + packed + b"\r\n")).word == b"STORED"

    async def _execute(self, key: str, command: bytes) -> Response:
        return await self._server(key).execute(command)

    def _server(self, key: str) -> MemcachedServer:
        """Return the server with the highest hash for the key, so a new server moves only its own keys."""

        def bid(server: MemcachedServer) -> bytes:
            return blake2b(f"{server.name} {key}".encode(), digest_size=8).digest()

        return max(self._servers.get(), key=bid)

    def _item_key(self, key: str) -> bytes:
        return self._prefix + key.encode()


async def _close(servers: Sequence[MemcachedServer]) -> None:
    for server in servers:
        await server.close()


def _seen(key: str, answer: Response) -> _CasVersion | None:
    if answer.word != b"VALUE":
        return None
    if not answer.token:
        raise StoreUnavailable("A memcached server runs without CAS (-C) and cannot store sessions.")
    return _CasVersion(unpack(key, answer.data), answer.token)
