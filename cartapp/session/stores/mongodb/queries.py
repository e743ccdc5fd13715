"""Filters, sort orders and the pipeline of statistics, for MongoDB."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bson.datetime_ms import DatetimeMS

from ..queries import Order, Query

_ORDERS: Final[Mapping[str, tuple[str, int]]] = {
    "last_seen": ("last_used", -1),
    "created": ("created", -1),
    "expires": ("expires", -1),
    "size": ("size", -1),
    "user": ("user", 1),
    "handle": ("_id", 1),
}


def conditions(query: Query, now: DatetimeMS, others: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the filter of a query, with other conditions."""
    every: list[Mapping[str, Any]] = [{"expires": {"$gt": now}, "size": {"$gt": 0}}, *others]
    if query.user_id is not None:
        every.append({"user": query.user_id})
    if query.prefix:
        after = query.prefix[:-1] + chr(ord(query.prefix[-1]) + 1)
        every.append({"_id": {"$gte": query.prefix, "$lt": after}})
    if query.used_before is not None:
        every.append({"last_used": {"$lt": DatetimeMS(query.used_before)}})
    if query.used_since is not None:
        every.append({"last_used": {"$gte": DatetimeMS(query.used_since)}})
    if query.created_since is not None:
        every.append({"created": {"$gte": DatetimeMS(query.created_since)}})
    return {"$and": every}


def sort(order: Order) -> list[tuple[str, int]]:
    """Return the sort order."""
    first = _ORDERS[order]
    return [first] if first[0] == "_id" else [first, ("_id", 1)]


EXTREMES: Final[Mapping[str, tuple[str, int]]] = {
    "bytes_largest": ("size", -1),
    "oldest": ("created", 1),
    "newest": ("created", -1),
    "longest_idle": ("last_used", 1),
    "last_used": ("last_used", -1),
}
"""Fields of `Totals` that are the first value in an order. FerretDB has no `$min` and `$max` in a group."""


def bytes_total(matching: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the pipeline for one document with the sum of sizes."""
    return [{"$match": matching}, {"$group": {"_id": None, "number": {"$sum": "$size"}}}]


def users(matching: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the pipeline for one document with the number of users, and of guests as one user."""
    return [{"$match": matching}, {"$group": {"_id": "$user"}}, {"$count": "number"}]
