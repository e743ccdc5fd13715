"""Records for tests of stores."""

from typing import Any

from msgspec.structs import replace

from ..record import Record, key_from_id, new_id
from ..stores.base import Store

HOUR = 3_600_000
"""One hour in milliseconds."""

_MAX_ATTEMPTS = 100_000


def make_record(now: int, **fields: Any) -> Record:
    """Return the record of a new session that lives for an hour."""
    defaults = {"key": key_from_id(new_id()), "created": now, "last_used": now, "expires": now + HOUR}
    return Record(**{**defaults, "data": b'{"cart":[]}', **fields})


async def increment(store: Store, key: str) -> None:
    """Add one to the number that is the record's data, by compare-and-set."""
    for _ in range(_MAX_ATTEMPTS):
        record = await store.load(key)
        if record is None:
            raise AssertionError(f"Not found; a second load finds {await store.load(key)}.")
        changed = replace(record, data=b"%d" % (int(record.data) + 1))
        if await store.save(changed, expected=record.version) is not None:
            return
    raise AssertionError("Other writers won each time.")
