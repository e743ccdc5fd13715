"""Sessions in Redis or Valkey: one server, sentinels or a cluster, through redis-py.

A record is one string with an expiry. Loading it is a `GET`. Conditional writes are Lua scripts on this one
key, so each is one atomic step on a cluster too.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from redis.exceptions import NoScriptError, ResponseError

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
    unpack_summary,
)
from ..queries import Query
from . import listing
from .client import Client, Command, Node, create_client
from .commands import Commands, make_script
from .url import Address

logger: logging.Logger = logging.getLogger("cartapp.session")

_Words = tuple[str | bytes | int, ...]

_STEP: Final = 200  # keys of one page of a scan, and records in memory
_HEADERS: Final = 200  # keys of one page of headers: half a millisecond of the server
_NAMES: Final = 1000  # keys of one page if the prefix excludes nearly all: as long
_TURNS: Final = 10  # of the event loop until a new task has sent its command
_MAX_LIFETIME: Final = 400 * 86_400.0  # seconds; no browser keeps a cookie longer (RFC 6265bis, 5.5)


# In a packed record the version is in bytes 2 to 9, the last use in 10 to 17 and the expiry in 18 to 25; see
# `record`. Values that are not records are left alone: for a type other than string `pcall` returns a table.
# ARGV: expected version, now, new value, milliseconds to live.
_LIVE: Final = """
local seen = redis.pcall('GETRANGE', KEYS[1], 2, 25)
if type(seen) ~= 'string' or #seen < 24 or string.sub(seen, 1, 8) ~= ARGV[1] then return 0 end
if struct.unpack('>i8', seen, 17) <= tonumber(ARGV[2]) then return 0 end
"""
_SAVE: Final = make_script(_LIVE + "redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) return 1")
_TOUCH: Final = make_script(
    _LIVE + "redis.call('SETRANGE', KEYS[1], 10, ARGV[3]) redis.call('PEXPIRE', KEYS[1], ARGV[4]) return 1"
)
# ARGV: expected version and last use.
_DELETE: Final = make_script("""
if redis.pcall('GETRANGE', KEYS[1], 2, 17) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
# ARGV: a session's key, its expiry, now, the maximum lifetime in milliseconds, a limit.
# Returns up to that many keys with an expired score; the record's expiry may be later by now.
_ADD: Final = make_script("""
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'LIMIT', 0, ARGV[5])
""")

_HEADS: Final = make_script(listing.SCRIPT)


class RedisStore:
    """A store on one address, or on the connections that `connect` opens.

    Versions are random. With counted versions, two different records could have the same one after a failover
    that lost a write, and a client that had loaded the lost record could replace the other.

    Lifetimes are sent as remaining time, so that a difference between the clocks does not matter. A record
    that is expired by the store's own clock is absent.

    The keys of a user's sessions are in a sorted set, for listing only. A key is added with a new record of
    the user, since a session gets a user under a new key only, and removed with the record. Its score is an
    expiry of the record, which may be extended without changing the score: after that time, a later log-in of
    the user loads the record, and removes the key or corrects its score. The set lives for `max_age` seconds,
    as long as any session.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock = now,
        timeout: float = 2.0,
        pool_size: int = 10,
        max_age: float | None = None,
        connect: Callable[[], Client] | None = None,
    ) -> None:
        self.name: str = address.backend
        self._prefix = address.prefix.encode()
        self._clock = clock
        self._max_lifetime = round((_MAX_LIFETIME if max_age is None else max_age) * 1000)
        connect = connect or partial(create_client, address, timeout=timeout, pool_size=pool_size)
        self._commands = Commands(address, connect, timeout=timeout, pool_size=pool_size)

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`."""
        version = new_version()
        packed, left = pack(record, version), self._time_to_live(record.expires)
        if not await self._commands.execute("SET", self._redis_key(record.key), packed, "NX", "PX", left):
            return None
        if record.user_id is not None:
            await self._add_to_index(record.user_id, record)
        return version

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        record = self._record(key, await self._commands.submit(Command(("GET", self._redis_key(key)))))
        return record if record is not None and record.expires > self._clock() else None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired or unreadable record counts as missing."""
        version = new_version()
        words = _bytes(expected), self._clock(), pack(record, version), self._time_to_live(record.expires)
        was_saved = await self._commands.run_script(_SAVE, self._redis_key(record.key), *words)
        return version if was_saved else None

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired or unreadable record counts as missing."""
        times = _bytes(last_used) + _bytes(expires)
        words = _bytes(expected), self._clock(), times, self._time_to_live(expires)
        return bool(await self._commands.run_script(_TOUCH, self._redis_key(key), *words))

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`. Without `expected` it removes unreadable values too."""
        if expected is None:
            return bool(await self._commands.execute("DEL", self._redis_key(key)))
        seen = _bytes(expected.version) + _bytes(expected.last_used)
        if not await self._commands.run_script(_DELETE, self._redis_key(key), seen):
            return False
        if expected.user_id is not None:
            await self._remove_from_index(expected.user_id, key)
        return True

    async def ping(self) -> None:
        """See `Store.ping`. Pings one node of a cluster."""
        await self._commands.execute("PING")

    async def close(self) -> None:
        """See `Store.close`."""
        await self._commands.close()

    # -- listing ------------------------------------------------------------------------------------------

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record is logged.

        Finds one user's sessions by the index, and removes ended ones from it. Finds all sessions by `SCAN`,
        which may return a session twice while the server shrinks its table.
        """
        async for page in self.pages(Query(user_id)):
            for found in page:
                yield found

    async def pages(self, query: Query) -> AsyncIterator[Sequence[Summary]]:
        """See `Pageable.pages`."""
        pages = self._all_pages(query.prefix) if query.user_id is None else self._user_pages(query.user_id)
        async for page in pages:
            at = self._clock()
            yield [found for found in page if found.size and found.expires > at and query.matches(found)]

    async def estimate(self) -> int:
        """See `Estimable.estimate`. Counts all keys of the database, those of others included."""
        commands = [Command(("DBSIZE",), node) for node in await self._commands.nodes()]
        return sum(map(self._commands.check, await asyncio.gather(*map(self._commands.submit, commands))))

    async def load_many(self, keys: Sequence[str]) -> Mapping[str, Record | UnreadableRecord]:
        """See `BulkLoadable.load_many`."""
        answers = await self._commands.submit_all([Command(("GET", self._redis_key(key))) for key in keys])
        found: dict[str, Record | UnreadableRecord] = {}
        at = self._clock()
        for key, answer in zip(keys, answers, strict=True):
            try:
                record = self._record(key, answer)
            except UnreadableRecord as error:
                found[key] = error
                continue
            if record is not None and record.expires > at:
                found[key] = record
        return found

    async def create_many(self, records: Sequence[Record]) -> Sequence[Version | None]:
        """See `BulkWritable.create_many`."""
        versions = [new_version() for _ in records]
        answers = await self._commands.submit_all(
            [
                Command(
                    (
                        *("SET", self._redis_key(record.key), pack(record, version)),
                        *("NX", "PX", self._time_to_live(record.expires)),
                    )
                )
                for record, version in zip(records, versions, strict=True)
            ]
        )
        are_new = [bool(self._commands.check(answer)) for answer in answers]
        await asyncio.gather(
            *(
                self._add_to_index(record.user_id, record)
                for record, is_new in zip(records, are_new, strict=True)
                if is_new and record.user_id is not None
            )
        )
        return [version if is_new else None for version, is_new in zip(versions, are_new, strict=True)]

    async def save_many(self, records: Sequence[Record]) -> Sequence[Version | None]:
        """See `BulkWritable.save_many`."""
        at, versions = self._clock(), [new_version() for _ in records]
        commands = [
            Command(
                (
                    *("EVALSHA", _SAVE.digest, 1, self._redis_key(record.key), _bytes(record.version), at),
                    *(pack(record, version), self._time_to_live(record.expires)),
                )
            )
            for record, version in zip(records, versions, strict=True)
        ]
        answers = await self._commands.submit_all(commands)
        for number, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[number] = await self._commands.evaluate(_SAVE, 1, *commands[number].words[3:])
        return [
            version if self._commands.check(answer) else None
            for version, answer in zip(versions, answers, strict=True)
        ]

    def connections_in_use(self) -> int:
        """See `Pooled.connections_in_use`."""
        return self._commands.in_flight

    async def check_index(self, user_id: str) -> None:
        """See `Indexed.check_index`: the commands of `scan`, `create` and `delete`, with no effect."""
        index, legacy = self._index_key(user_id), self._legacy_index_key(user_id)
        for scan, remove, key in (("ZSCAN", "ZREM", index), ("SSCAN", "SREM", legacy)):
            await self._commands.execute(scan, key, 0)
            await self._commands.execute(remove, key, "")

    async def _all_pages(self, prefix: str) -> AsyncIterator[Sequence[Summary]]:
        escaped = re.sub(rb"[*?[\\]", rb"\\\g<0>", self._prefix)
        pattern = escaped + prefix.encode() + b"?" * (KEY_LENGTH - len(prefix))
        count = _NAMES if prefix else _HEADERS
        for node in await self._commands.nodes():
            page = self._read_page(0, pattern, count, node)
            try:
                while True:
                    answer = await page
                    if isinstance(answer, ResponseError):  # scripts need rights that single commands do not
                        async for plain in self._plain_pages(node, pattern):
                            yield plain
                        break
                    cursor, found = self._commands.check(answer)
                    if int(cursor) == 0:
                        yield await self._summaries(found)
                        break
                    # The server reads the next page while this one is decoded.
                    page = self._read_page(cursor, pattern, count, node)
                    for _ in range(_TURNS):
                        await asyncio.sleep(0)
                    yield await self._summaries(found)
            finally:
                page.cancel()

    def _read_page(
        self, cursor: bytes | int, pattern: bytes, count: int, node: Node
    ) -> "asyncio.Task[object]":
        words = cursor, pattern, count
        return asyncio.create_task(self._commands.evaluate(_HEADS, 0, *words, at=node))

    async def _plain_pages(self, node: Node, pattern: bytes) -> AsyncIterator[Sequence[Summary]]:
        """Yield the same pages by single commands that read whole records."""
        async for names in self._scan_pages(("SCAN",), ("MATCH", pattern), at=node):
            records = await self._records([self._key(name) for name in names])
            yield [summarize(record) for record in records.values() if record is not None]

    async def _summaries(self, found: Sequence[Any]) -> list[Summary]:
        """Return the summaries of a page of the script; loads a record with a long user ID."""
        summaries, unclear = [], []
        for name, head, length in listing.parse(found):
            key = self._key(name)
            if not is_key(key):
                continue
            try:
                summary = _summary(key, head, length)
            except UnreadableRecord as error:
                logger.warning("Session %s is unreadable and not listed: %s", key, error)
                continue
            if summary is None:
                unclear.append(key)
            else:
                summaries.append(summary)
        records = (await self._records(unclear)).values() if unclear else ()
        return summaries + [summarize(record) for record in records if record is not None]

    async def _user_pages(self, user_id: str) -> AsyncIterator[Sequence[Summary]]:
        async for pairs in self._scan_pages(("ZSCAN", self._index_key(user_id))):
            yield await self._indexed(user_id, pairs[::2], "ZREM", self._index_key(user_id))
        former = self._legacy_index_key(user_id)
        async for names in self._scan_pages(("SSCAN", former)):
            yield await self._indexed(user_id, names, "SREM", former)

    async def _indexed(
        self, user_id: str, names: Sequence[bytes], remove: str, index: bytes
    ) -> Sequence[Summary]:
        """Return the user's sessions under these keys, and remove ended ones from the index."""
        records = await self._records([name.decode("ascii", "replace") for name in names])
        ended = [key for key, record in records.items() if record is None]
        if ended:
            await self._commands.execute(remove, index, *ended)
        return [
            summarize(record)
            for record in records.values()
            if record is not None and record.user_id == user_id
        ]

    async def _scan_pages(
        self, words: _Words, options: _Words = (), at: Node = None
    ) -> AsyncIterator[list[bytes]]:
        """Yield each page of `SCAN` and similar commands."""
        cursor = 0
        while True:
            command = Command((*words, cursor, *options, "COUNT", _STEP), at)
            position, names = self._commands.check(await self._commands.submit(command))
            yield names
            cursor = int(position)
            if cursor == 0:
                return

    async def _records(self, keys: Sequence[str]) -> dict[str, Record | None]:
        """Return the records under these keys, None for missing ones, without unreadable ones."""
        keys = [key for key in keys if is_key(key)]
        commands = [Command(("GET", self._redis_key(key))) for key in keys]
        answers = await asyncio.gather(*map(self._commands.submit, commands))
        records = {}
        for key, answer in zip(keys, answers, strict=True):
            try:
                records[key] = self._record(key, answer)
            except UnreadableRecord as error:
                logger.warning("Session %s is unreadable and not listed: %s", key, error)
        return records

    async def _add_to_index(self, user_id: str, record: Record) -> None:
        """Index a session. Fails as `create` does, so that no client gets an unlisted session."""
        index, at = self._index_key(user_id), self._clock()
        longest = max(
            self._time_to_live(record.created + self._max_lifetime), self._time_to_live(record.expires)
        )
        words = record.key, record.expires, at, longest, _STEP
        due = [
            name.decode("ascii", "replace") for name in await self._commands.run_script(_ADD, index, *words)
        ]
        if not due:
            return
        found = await self._records(due)
        if ended := [key for key, live in found.items() if live is None]:
            await self._commands.execute("ZREM", index, *ended)
        if scores := [
            word for live in found.values() if live is not None for word in (live.expires, live.key)
        ]:
            await self._commands.execute("ZADD", index, "XX", *scores)

    async def _remove_from_index(self, user_id: str, key: str) -> None:
        """Remove an ended session. If that fails, the user's next listing or log-in does it."""
        try:
            await self._commands.execute("ZREM", self._index_key(user_id), key)
        except StoreUnavailable as error:
            logger.info("Session %s has ended, but its user's index still has it: %s", key, error)

    # -- keys and records ---------------------------------------------------------------------------------

    def _key(self, name: bytes) -> str:
        """Return the session key of the name of a Redis key."""
        return name[len(self._prefix) :].decode("ascii", "replace")

    def _redis_key(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def _index_key(self, user_id: str) -> bytes:
        return self._prefix + b"logins:" + user_id.encode()

    def _legacy_index_key(self, user_id: str) -> bytes:
        """Return the key of the set that earlier versions use; some may still run, or run again."""
        return self._prefix + b"user:" + user_id.encode()

    def _time_to_live(self, expires: int) -> int:
        """Return the milliseconds until `expires`, at least 1: every key has an expiry."""
        return max(1, expires - self._clock())

    def _record(self, key: str, answer: Any) -> Record | None:
        if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
            raise UnreadableRecord("it is not a string")
        packed = self._commands.check(answer)
        return None if packed is None else unpack(key, packed)


def _summary(key: str, head: bytes | None, length: int) -> Summary | None:
    if head is None:
        raise UnreadableRecord("it is not a string")
    return unpack_summary(key, head, length)


def _bytes(number: Version) -> bytes:
    """Encode a version or time as in a packed record."""
    return int(number).to_bytes(8, "big")
