"""Sessions in MongoDB: one server, a replica set or a sharded cluster, through PyMongo's asyncio API.

A record is one document, with the key as its `_id`. Every change is one update or delete with the version in
its filter, which is atomic on the document; none of them inserts.
"""

import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from pymongo import DeleteOne, ReadPreference
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, OperationFailure

from ...errors import StoreTimeout, StoreUnavailable, UnreadableRecord
from ...record import Clock, Record, RecordOrSummary, Summary, Version, check_times, new_version, now
from ..per_loop import PerLoop
from ..queries import Order, Query, Totals
from . import queries
from .errors import DRIVER_ERRORS, reason_of
from .operations import OperationRunner
from .url import Address

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("cartapp.session")

_GRACE: Final = 3600  # seconds until the server removes an expired record, as its clock may differ
_BATCH: Final = 200  # documents in memory during a scan, and in one step of a purge

_SUMMARY: Final = {
    "_id": str,
    "created": DatetimeMS,
    "last_used": DatetimeMS,
    "expires": DatetimeMS,
    "user": str | None,
    "size": int,
    "version": int,
}
_FIELDS: Final = dict.fromkeys(_SUMMARY, 1)
_RECORD: Final = {**_SUMMARY, "epoch": int, "data": bytes}


_OPTIONS: Final = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_MS)


class MongoStore:
    """A store in one collection.

    It reads from the primary and, unless the URL sets another concern, waits for a majority to confirm a
    write. The driver repeats an operation once after a broken connection; a replica set recognises a repeated
    write and applies it once.

    The first record creates two indexes: of users, for listing, and of expiries. With the latter the server
    removes expired records, an hour late; where that is not supported, only `purge` does.
    """

    name = "mongodb"

    def __init__(
        self, address: Address, *, clock: Clock = now, timeout: float = 2.0, pool_size: int = 10
    ) -> None:
        self._address = address
        self._clock = clock
        self._runners = PerLoop(
            partial(OperationRunner, address, timeout, pool_size), OperationRunner.close, early=True
        )
        self._collection: AsyncCollection[dict[str, Any]] | None = None
        self._has_indexes = False

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`; an expired record is replaced."""
        version = new_version()
        document = {"_id": record.key, **_document(record, version)}
        with self._translate_errors(), self._operations.limit():
            await self._make_indexes()
            try:
                await self._run(self._sessions.insert_one(document))
            except DuplicateKeyError:
                expired = {"_id": record.key, "expires": {"$lte": self._now()}}
                replaced = await self._run(self._sessions.replace_one(expired, document))
                return version if replaced.matched_count else None
        return version

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        # Not with `$gt`, which would not find a document if its expiry is not a date.
        live = {"_id": key, "expires": {"$not": {"$lte": self._now()}}}
        with self._translate_errors():
            document = await self._run(self._sessions.find_one(live))
        return None if document is None else _record(document)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired record counts as missing."""
        version = new_version()
        changes = _document(record, version)
        return version if await self._update(record.key, expected, changes) else None

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired record counts as missing."""
        times = {"last_used": DatetimeMS(last_used), "expires": DatetimeMS(expires)}
        return await self._update(key, expected, times)

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`. Without `expected` it removes unreadable documents too."""
        document: dict[str, Any] = {"_id": key}
        if expected is not None:
            document |= {"version": expected.version, "last_used": DatetimeMS(expected.last_used)}
        with self._translate_errors():
            return (await self._run(self._sessions.delete_one(document))).deleted_count > 0

    async def ping(self) -> None:
        """See `Store.ping`."""
        with self._translate_errors():
            await self._run(self._operations.client.admin.command("ping"))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._runners.close()

    # -- listing and purging ------------------------------------------------------------------------------

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record is logged."""
        async for page in self.pages(Query(user_id)):
            for found in page:
                yield found

    async def pages(self, query: Query) -> AsyncIterator[Sequence[Summary]]:
        """See `Pageable.pages`."""
        with self._translate_errors():
            async with self._sessions.find(self._filter(query), _FIELDS, batch_size=_BATCH) as found:
                page = []
                async for document in found:
                    page.append(document)
                    if len(page) == _BATCH:
                        yield _summaries(page)
                        page = []
                yield _summaries(page)

    async def top(self, query: Query, order: Order, limit: int) -> Sequence[Summary]:
        """See `Queryable.top`."""
        sort = queries.sort(order)
        with self._translate_errors():
            if order == "user":  # MongoDB sorts missing names first
                users = self._filter(query, {"user": {"$type": "string"}})
                found = await self._sessions.find(users, _FIELDS, sort=sort, limit=limit).to_list()
                rest = limit - len(found)
                if rest and query.user_id is None:
                    guests = self._filter(query, {"user": None})
                    found += await self._sessions.find(guests, _FIELDS, sort=sort, limit=rest).to_list()
            else:
                found = await self._sessions.find(
                    self._filter(query), _FIELDS, sort=sort, limit=limit
                ).to_list()
        return _summaries(found)

    async def count(self, query: Query) -> int:
        """See `Queryable.count`."""
        with self._translate_errors():
            return await self._sessions.count_documents(self._filter(query))

    async def totals(self, query: Query) -> Totals:
        """See `Queryable.totals`."""
        matching = self._filter(query)
        with self._translate_errors():
            guests = await self._sessions.count_documents(self._filter(query, {"user": None}))
            extremes = {
                name: await self._sessions.find_one(matching, {field: 1}, sort=[(field, direction)])
                for name, (field, direction) in queries.EXTREMES.items()
            }
        found = {
            name: int(document[queries.EXTREMES[name][0]])
            for name, document in extremes.items()
            if document is not None
        }
        return Totals(
            sessions=await self.count(query),
            users=await self._aggregate(queries.users(matching)) - (guests > 0),
            guests=guests,
            bytes_total=await self._aggregate(queries.bytes_total(matching)),
            **found,
        )

    async def _aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> int:
        """Return the number of the document that a pipeline yields, 0 without one."""
        with self._translate_errors():
            cursor = await self._sessions.aggregate(pipeline)
            documents = await cursor.to_list()
        return int(documents[0]["number"]) if documents else 0

    async def estimate(self) -> int:
        """See `Estimable.estimate`."""
        with self._translate_errors():
            return await self._sessions.estimated_document_count()

    async def delete_many(self, seen: Sequence[Summary]) -> tuple[int, Collection[str]]:
        """See `BulkDeletable.delete_many`."""
        deletions = [
            DeleteOne({"_id": one.key, "version": one.version, "last_used": DatetimeMS(one.last_used)})
            for one in seen
        ]
        with self._translate_errors():
            number = (await self._sessions.bulk_write(deletions, ordered=False)).deleted_count
            if number == len(seen):
                return number, ()
            among = {"_id": {"$in": [one.key for one in seen]}}
            return number, [found["_id"] async for found in self._sessions.find(among, {"_id": 1})]

    async def purge(self, now: int) -> int:
        """See `Purgeable.purge`. Useful with an expiry index too, which removes records an hour late."""
        return sum([number async for number in self.purge_batches(now)])

    async def purge_batches(self, now: int, limit: int | None = None) -> AsyncIterator[int]:
        """See `BatchPurgeable.purge_batches`."""
        expired = {"expires": {"$lte": DatetimeMS(now)}}
        while found := await self._find_expired(expired, min(limit or _BATCH, _BATCH)):
            these = {"_id": {"$in": [document["_id"] for document in found]}, **expired}
            with self._translate_errors():
                removed = await self._run(self._sessions.delete_many(these))
            yield removed.deleted_count

    async def _find_expired(self, expired: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        with self._translate_errors():
            return await self._run(self._sessions.find(expired, {"_id": 1}, limit=limit).to_list())

    async def count_expired(self, now: int) -> int:
        """See `Countable.count_expired`."""
        with self._translate_errors():
            return await self._run(self._sessions.count_documents({"expires": {"$lte": DatetimeMS(now)}}))

    # -- inside -------------------------------------------------------------------------------------------

    @property
    def _operations(self) -> OperationRunner:
        return self._runners.get()

    def _run(self, operation: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return self._operations.run(operation)

    @property
    def _sessions(self) -> AsyncCollection[dict[str, Any]]:
        """The collection of the current client."""
        client, collection = self._operations.client, self._collection
        if collection is None or collection.database.client is not client:
            collection = self._collection = client[self._address.database].get_collection(
                self._address.collection, codec_options=_OPTIONS, read_preference=ReadPreference.PRIMARY
            )
        return collection

    async def _update(self, key: str, expected: Version, changes: Mapping[str, Any]) -> bool:
        live = {"_id": key, "version": expected, "expires": {"$gt": self._now()}}
        with self._translate_errors():
            return (await self._run(self._sessions.update_one(live, {"$set": changes}))).matched_count > 0

    async def _make_indexes(self) -> None:
        """Create the indexes with the first record of this process, if they are missing."""
        if self._has_indexes:
            return
        self._has_indexes = True  # so that concurrent calls do not create them
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
        """Create an index. Return the reason if the server refuses: the store works without it."""
        with self._translate_errors():
            try:
                await self._run(self._sessions.create_index(field, **options))
            except OperationFailure as error:
                return reason_of(error)
        return None

    def _filter(self, query: Query, *others: Mapping[str, Any]) -> dict[str, Any]:
        return queries.conditions(query, self._now(), others)

    def _now(self) -> DatetimeMS:
        return DatetimeMS(self._clock())

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors to `StoreUnavailable`."""
        try:
            yield
        except DRIVER_ERRORS as error:
            late = isinstance(error, TimeoutError)
            reason = self._operations.timeout_reason() if late else reason_of(error)
            kind = StoreTimeout if late else StoreUnavailable
            raise kind(f"The mongodb store at {self._address} cannot be used: {reason}.") from error


def _document(record: Record, version: int) -> dict[str, Any]:
    """Return a record's fields without the `_id`."""
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


def _summaries(documents: Sequence[dict[str, Any]]) -> list[Summary]:
    summaries = []
    for document in documents:
        try:
            summaries.append(_summary(document))
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable: %s", document["_id"], error)
    return summaries


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
    check_times(*(int(document[name]) for name in ("created", "last_used", "expires")))
