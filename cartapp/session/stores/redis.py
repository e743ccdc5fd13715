"""Sessions in Redis or Valkey: one server, sentinels or a cluster, through redis-py.

A record is one string under one key, with an expiry of its own. Loading it is a `GET`; what must compare
before it writes is a Lua script that touches this one key, so that it is one atomic step on a cluster too.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError, ResponseError

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
from .gather import Gatherer
from .redis_errors import is_no_primary, reason_of
from .redis_link import Command, Link, Place, link_to
from .redis_url import Address
from .timeouts import SharedTimeout

logger = logging.getLogger("cartapp.session")

_Words = tuple[str | bytes | int, ...]

_STEP: Final = 200  # keys that one step of a scan asks for, and records that it holds in memory
_LONGEST: Final = 400 * 86_400.0  # seconds; no browser keeps a cookie longer (RFC 6265bis, 5.5)


@dataclass(frozen=True, slots=True)
class _Script:
    """A script, and the name by which a server that has seen it knows it."""

    text: str
    digest: str


def _script(text: str) -> _Script:
    return _Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


# In a packed record the version has the bytes 2 to 9, the last use 10 to 17 and the expiry 18 to 25; see
# `record`. What stands in a record's place without being one is left alone: for another type than a string
# `pcall` returns an error in a table.
# ARGV: the expected version, now, what is written, the milliseconds to live.
_LIVE: Final = """
local seen = redis.pcall('GETRANGE', KEYS[1], 2, 25)
if type(seen) ~= 'string' or #seen < 24 or string.sub(seen, 1, 8) ~= ARGV[1] then return 0 end
if struct.unpack('>i8', seen, 17) <= tonumber(ARGV[2]) then return 0 end
"""
_SAVE: Final = _script(_LIVE + "redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) return 1")
_TOUCH: Final = _script(
    _LIVE + "redis.call('SETRANGE', KEYS[1], 10, ARGV[3]) redis.call('PEXPIRE', KEYS[1], ARGV[4]) return 1"
)
# ARGV: the expected version and last use.
_DELETE: Final = _script("""
if redis.pcall('GETRANGE', KEYS[1], 2, 17) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
# ARGV: a session's key, its expiry, now, the milliseconds that the session may live at most, a number.
# Returns so many keys at most whose expiry is over; it may have been put off since.
_ADD: Final = _script("""
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'LIMIT', 0, ARGV[5])
""")


class RedisStore:
    """A store on one address. Use it on one event loop only.

    Versions are random. Were they counted, two different records could have the same one after a failover
    that lost a write, and who had seen the lost record would replace the other.

    Lifetimes are sent as what is left of them, so that a server whose clock differs keeps records as long.
    What has expired by the store's own clock is absent, whatever the server still has.

    The keys of a user's sessions are in a sorted set, for listing only. A key is added when a record with a
    user is created, since a session gets a user under a new key only, and removed when the record is deleted.
    Its score is an expiry of the record, which may be put off without changing the score: when that is over,
    a later log-in of the user looks at the record, and removes the key or corrects its score. The set lives
    as long as the session that may live longest: for `max_age` seconds.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock = now,
        timeout: float = 2.0,
        pool_size: int = 10,
        max_age: float | None = None,
    ) -> None:
        self.name = address.backend
        self._address = address
        self._prefix = address.prefix.encode()
        self._clock = clock
        self._timeout = timeout
        self._limit = SharedTimeout(timeout)
        self._pool_size = pool_size
        self._longest = round((_LONGEST if max_age is None else max_age) * 1000)
        self._connected: tuple[Link, Gatherer[Command]] | None = None

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`."""
        version = new_version()
        packed, left = pack(record, version), self._left(record.expires)
        if not await self._ask("SET", self._place(record.key), packed, "NX", "PX", left):
            return None
        if record.user_id is not None:
            await self._add_to_index(record.user_id, record)
        return version

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        record = self._record(key, await self._answer(Command(("GET", self._place(key)))))
        return record if record is not None and record.expires > self._clock() else None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired or unreadable record counts as gone."""
        version = new_version()
        words = _bytes(expected), self._clock(), pack(record, version), self._left(record.expires)
        return version if await self._run(_SAVE, self._place(record.key), *words) else None

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired or unreadable record counts as gone."""
        times = _bytes(last_used) + _bytes(expires)
        words = _bytes(expected), self._clock(), times, self._left(expires)
        return bool(await self._run(_TOUCH, self._place(key), *words))

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """See `Store.delete`. Without `expected` whatever stands in the record's place goes as well."""
        if expected is None:
            return bool(await self._ask("DEL", self._place(key)))
        seen = _bytes(expected.version) + _bytes(expected.last_used)
        if not await self._run(_DELETE, self._place(key), seen):
            return False
        if expected.user_id is not None:
            await self._remove_from_index(expected.user_id, key)
        return True

    async def ping(self) -> None:
        """See `Store.ping`; of a cluster one node is asked."""
        await self._ask("PING")

    async def close(self) -> None:
        """See `Store.close`."""
        if self._connected is not None:
            link, gatherer = self._connected
            self._connected = None
            await gatherer.close()
            with suppress(RedisError, TimeoutError):  # a server that hangs holds nobody up
                await self._limit.wait_for(link.close())

    # -- listing ------------------------------------------------------------------------------------------

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record costs one log line.

        One user's sessions are found by the index, out of which the ended ones are removed. All sessions are
        found by `SCAN`: one that a shrinking server moves meanwhile may be told twice.
        """
        found = self._scan_all() if user_id is None else self._scan_user(user_id)
        async for record in found:
            if not record.is_tombstone and record.expires > self._clock():
                yield summary_of(record)

    async def _scan_all(self) -> AsyncIterator[Record]:
        pattern = re.sub(rb"[*?[\\]", rb"\\\g<0>", self._prefix) + b"?" * KEY_LENGTH
        for place in await self._places():
            async for names in self._steps(("SCAN",), ("MATCH", pattern), at=place):
                keys = [name[len(self._prefix) :].decode("ascii", "replace") for name in names]
                for record in (await self._records(keys)).values():
                    if record is not None:
                        yield record

    async def _scan_user(self, user_id: str) -> AsyncIterator[Record]:
        async for pairs in self._steps(("ZSCAN", self._index(user_id))):
            for record in await self._indexed(user_id, pairs[::2], "ZREM", self._index(user_id)):
                yield record
        former = self._former_index(user_id)
        async for names in self._steps(("SSCAN", former)):
            for record in await self._indexed(user_id, names, "SREM", former):
                yield record

    async def _indexed(
        self, user_id: str, names: Sequence[bytes], remove: str, index: bytes
    ) -> Sequence[Record]:
        """The user's records under these keys of an index, out of which ended ones are removed."""
        records = await self._records([name.decode("ascii", "replace") for name in names])
        ended = [key for key, record in records.items() if record is None]
        if ended:
            await self._ask(remove, index, *ended)
        return [record for record in records.values() if record is not None and record.user_id == user_id]

    async def _steps(
        self, words: _Words, options: _Words = (), at: Place = None
    ) -> AsyncIterator[list[bytes]]:
        """What each step of `SCAN` and its like yields."""
        cursor = 0
        while True:
            command = Command((*words, cursor, *options, "COUNT", _STEP), at)
            position, names = self._checked(await self._answer(command))
            yield names
            cursor = int(position)
            if cursor == 0:
                return

    async def _records(self, keys: Sequence[str]) -> dict[str, Record | None]:
        """The records under these keys, None where there is none; what is unreadable is left out."""
        keys = [key for key in keys if is_key(key)]
        commands = [Command(("GET", self._place(key))) for key in keys]
        answers = await asyncio.gather(*map(self._answer, commands))
        records = {}
        for key, answer in zip(keys, answers, strict=True):
            try:
                records[key] = self._record(key, answer)
            except UnreadableRecord as error:
                logger.warning("Session %s is unreadable and not listed: %s", key, error)
        return records

    async def _add_to_index(self, user_id: str, record: Record) -> None:
        """Index a session. Fails as `create` does, so that no client gets a session that is not listed."""
        index, at = self._index(user_id), self._clock()
        longest = max(self._left(record.created + self._longest), self._left(record.expires))
        words = record.key, record.expires, at, longest, _STEP
        due = [name.decode("ascii", "replace") for name in await self._run(_ADD, index, *words)]
        if not due:
            return
        found = await self._records(due)
        if ended := [key for key, live in found.items() if live is None]:
            await self._ask("ZREM", index, *ended)
        if scores := [
            word for live in found.values() if live is not None for word in (live.expires, live.key)
        ]:
            await self._ask("ZADD", index, "XX", *scores)

    async def _remove_from_index(self, user_id: str, key: str) -> None:
        """Remove a session that has ended. Where that fails, the user's next listing or log-in does it."""
        try:
            await self._ask("ZREM", self._index(user_id), key)
        except StoreUnavailable as error:
            logger.info("Session %s has ended, but its user's index still has it: %s", key, error)

    # -- commands -----------------------------------------------------------------------------------------

    def _place(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def _index(self, user_id: str) -> bytes:
        return self._prefix + b"logins:" + user_id.encode()

    def _former_index(self, user_id: str) -> bytes:
        """The set in which versions before this one keep the keys: some may still run, or run again."""
        return self._prefix + b"user:" + user_id.encode()

    def _left(self, expires: int) -> int:
        """Milliseconds until then, at least one: nothing is ever kept without an expiry."""
        return max(1, expires - self._clock())

    async def _run(self, script: _Script, place: bytes, *words: str | bytes | int) -> Any:
        answer = await self._sent(Command(("EVALSHA", script.digest, 1, place, *words)))
        if isinstance(answer, NoScriptError):  # nothing was done; this way the server learns it as well
            answer = await self._sent(Command(("EVAL", script.text, 1, place, *words)))
        return self._checked(answer)

    async def _ask(self, *words: str | bytes | int) -> Any:
        return self._checked(await self._sent(Command(words)))

    async def _sent(self, command: Command) -> object:
        """The answer to a command, sent again if a replica refuses it: the name may lead to a primary now."""
        answer = await self._answer(command)
        return await self._answer(command) if is_no_primary(answer) else answer

    def _answer(self, command: Command) -> Awaitable[object]:
        """What the server answers; its refusals, and what kept it from answering, as exceptions."""
        return self._connection()[1].ask(command)

    def _connection(self) -> tuple[Link, Gatherer[Command]]:
        """Made when first needed: in the process and the event loop that use it."""
        if self._connected is None:
            link = link_to(self._address, timeout=self._timeout, pool_size=self._pool_size)
            gatherer = Gatherer(link.send, most=link.most, at_once=self._pool_size, timeout=self._timeout)
            self._connected = link, gatherer
        return self._connected

    async def _places(self) -> Sequence[Place]:
        try:
            return await self._limit.wait_for(self._connection()[0].places())
        except Exception as error:
            raise self._unavailable(error) from error

    def _record(self, key: str, answer: Any) -> Record | None:
        if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
            raise UnreadableRecord("it is not a string")
        packed = self._checked(answer)
        return None if packed is None else unpack(key, packed)

    def _checked(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise self._unavailable(answer) from answer
        return answer

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"The {self.name} store at {self._address} cannot be used: {reason_of(error)}."
        )


def _bytes(number: Version) -> bytes:
    """A version or time as a packed record has it."""
    return int(number).to_bytes(8, "big")
