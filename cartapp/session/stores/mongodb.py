"""Sessions in MongoDB: one server, a replica set or a sharded cluster, through PyMongo's asyncio API.

A record is one document, with the key as its `_id`. Every change is one update or delete whose filter has the
version, which MongoDB does atomically on the document; none of them inserts.
"""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from pymongo import ReadPreference
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, OperationFailure

from ..errors import StoreUnavailable, UnreadableRecord
from ..record import Clock, Record, Seen, Summary, Version, new_version, now
from .mongodb_errors import Failure, reason_of
from .mongodb_operations import Operations
from .mongodb_url import Address

logger = logging.getLogger("cartapp.session")

_GRACE: Final = 3600  # seconds for which the server, whose clock may differ, keeps what has expired
_BATCH: Final = 200  # documents that a scan holds in memory, and that one step of a purge removes

_SUMMARY: Final = {
    "_id": str,
    "created": DatetimeMS,
    "last_used": DatetimeMS,
    "expires": DatetimeMS,
    "user": str | None,
    "size": int,
    "version": int,
}
_RECORD: Final = {**_SUMMARY, "epoch": int, "data": bytes}


_OPTIONS: Final = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_MS)


class MongoStore:
    """A store in one collection. Use it on one event loop only.

    It reads from the primary and, unless the URL says otherwise, a write counts when a majority has it. The
    driver repeats an operation once when its connection broke; a replica set knows a repeated write and does
    it once.

    Two indexes are made with the first record: of users, for listing, and of expiries. By the latter the
    server removes what has expired, an hour late; where it cannot do that, only `purge` does.
    """

    name = "mongodb"

    def __init__(
        self, address: Address, *, clock: Clock = now, timeout: float = 2.0, pool_size: int = 10
    ) -> None:
        self._address = address
        self._clock = clock
        self._operations = Operations(address, timeout, pool_size)
        self._run = self._operations.run
        self._collection: AsyncCollection[dict[str, Any]] | None = None
        self._has_indexes = False

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`; an expired record makes way."""
        await self._make_indexes()
        version = new_version()
        document = {"_id": record.key, **_document(record, version)}
        with self._explained():
            try:
                await self._run(self._sessions.insert_one(document))
            except DuplicateKeyError:
                expired = {"_id": record.key, "expires": {"$lte": self._now()}}
                replaced = await self._run(self._sessions.replace_one(expired, document))
                return version if replaced.matched_count else None
        return version

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        # So, and not with `$gt`, which would not find a document whose expiry is no date.
        live = {"_id": key, "expires": {"$not": {"$lte": self._now()}}}
        with self._explained():
            document = await self._run(self._sessions.find_one(live))
        return None if document is None else _record(document)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired record counts as gone."""
        version = new_version()
        changes = _document(record, version)
        return version if await self._update(record.key, expected, changes) else None

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired record counts as gone."""
        times = {"last_used": DatetimeMS(last_used), "expires": DatetimeMS(expires)}
        return await self._update(key, expected, times)

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """See `Store.delete`. Without `expected` whatever stands in the record's place goes as well."""
        document: dict[str, Any] = {"_id": key}
        if expected is not None:
            document |= {"version": expected.version, "last_used": DatetimeMS(expected.last_used)}
        with self._explained():
            return (await self._run(self._sessions.delete_one(document))).deleted_count > 0

    async def ping(self) -> None:
        """See `Store.ping`."""
        with self._explained():
            await self._run(self._operations.client.admin.command("ping"))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._operations.close()

    # -- listing and purging ------------------------------------------------------------------------------

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record costs one log line."""
        wanted: dict[str, Any] = {"expires": {"$gt": self._now()}, "size": {"$gt": 0}}
        if user_id is not None:
            wanted["user"] = user_id
        with self._explained():
            async with self._sessions.find(wanted, dict.fromkeys(_SUMMARY, 1), batch_size=_BATCH) as found:
                async for document in found:
                    try:
                        yield _summary(document)
                    except UnreadableRecord as error:
                        logger.warning("Session %s is unreadable: %s", document["_id"], error)

    async def purge(self, now: int) -> int:
        """See `Purgeable.purge`. Useful where the server has an index for this as well: it is in no hurry."""
        expired = {"expires": {"$lte": DatetimeMS(now)}}
        removed = 0
        with self._explained():
            while True:
                found = await self._run(self._sessions.find(expired, {"_id": 1}, limit=_BATCH).to_list())
                if not found:
                    return removed
                these = {"_id": {"$in": [document["_id"] for document in found]}, **expired}
                removed += (await self._run(self._sessions.delete_many(these))).deleted_count

    async def count_expired(self, now: int) -> int:
        """See `Countable.count_expired`."""
        with self._explained():
            return await self._run(self._sessions.count_documents({"expires": {"$lte": DatetimeMS(now)}}))

    # -- inside -------------------------------------------------------------------------------------------

    @property
    def _sessions(self) -> AsyncCollection[dict[str, Any]]:
        """The collection, by the client that there is now."""
        client = self._operations.client
        if self._collection is None or self._collection.database.client is not client:
            self._collection = client[self._address.database].get_collection(
                self._address.collection, codec_options=_OPTIONS, read_preference=ReadPreference.PRIMARY
            )
        return self._collection

    async def _update(self, key: str, expected: Version, changes: Mapping[str, Any]) -> bool:
        live = {"_id": key, "version": expected, "expires": {"$gt": self._now()}}
        with self._explained():
            return (await self._run(self._sessions.update_one(live, {"$set": changes}))).matched_count > 0

    async def _make_indexes(self) -> None:
        """Make them when this process stores its first record; elsewhere they may be there already."""
        if self._has_indexes:
            return
        self._has_indexes = True  # so that nobody else makes them meanwhile
        try:
            if refusal := await self._make_index("expires", expireAfterSeconds=_GRACE):
                logger.warning(
                    "Expired sessions stay in %s until they are purged: %s", self._address, refusal
                )
                await self._make_index("expires")
            await self._make_index("user")
        except BaseException:
            self._has_indexes = False
            raise

    async def _make_index(self, field: str, **options: Any) -> str | None:
        """Returns why the server refuses that, if it does: it can be used without."""
        with self._explained():
            try:
                await self._run(self._sessions.create_index(field, **options))
            except OperationFailure as error:
                return reason_of(error)
        return None

    def _now(self) -> DatetimeMS:
        return DatetimeMS(self._clock())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what went wrong into `StoreUnavailable`."""
        try:
            yield
        except Failure as error:
            late = isinstance(error, TimeoutError)
            reason = self._operations.why_late() if late else reason_of(error)
            raise StoreUnavailable(
                f"The mongodb store at {self._address} cannot be used: {reason}."
            ) from error


def _document(record: Record, version: int) -> dict[str, Any]:
    """All but the `_id`."""
    return {
        "version": version,
        "created": DatetimeMS(record.created),
        "last_used": DatetimeMS(record.last_used),
        "expires": DatetimeMS(record.expires),
        "user": record.user_id,
        "epoch": record.epoch,
        "data": record.data,
        "size": record.size,
    }


def _record(document: dict[str, Any]) -> Record:
    _check(document, _RECORD)
    return Record(
        document["_id"],
        int(document["created"]),
        int(document["last_used"]),
        int(document["expires"]),
        document["data"],
        document["user"],
        int(document["epoch"]),
        int(document["version"]),
    )


def _summary(document: dict[str, Any]) -> Summary:
    _check(document, _SUMMARY)
    return Summary(
        document["_id"],
        int(document["created"]),
        int(document["last_used"]),
        int(document["expires"]),
        int(document["size"]),
        document["user"],
        int(document["version"]),
    )


def _check(document: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for name, kind in fields.items():
        if name not in document or not isinstance(document[name], kind):
            raise UnreadableRecord(f"its field {name!r} is missing or of a wrong type")
