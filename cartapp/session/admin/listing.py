"""Pages of session summaries from any store that can list, and the deletion of such pages."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Final

from ..arguments import check_rate
from ..errors import StoreNotSupported
from ..record import Summary
from ..stores.base import Listable, Store
from ..stores.queries import BulkDeletable, Pageable, Query

_PAGE: Final = 500  # sessions
_CONCURRENT: Final = 100  # deletions

OnCount = Callable[[int], None]
"""Takes the number of sessions processed so far."""


class Pace:
    """Counts the sessions of a long operation and limits their rate; `rate` is in sessions a second."""

    def __init__(self, on_count: OnCount | None = None, rate: float | None = None) -> None:
        if rate is not None:
            check_rate("rate", rate)
        self._on_count = on_count
        self._rate = rate
        self._began: float | None = None
        self.number: int = 0

    @property
    def batch(self) -> int:
        """The largest number of sessions to process together: a fifth of a second at the limit."""
        return _PAGE if self._rate is None else max(1, min(_PAGE, round(self._rate / 5)))

    async def add(self, number: int) -> None:
        """Count sessions, and sleep if there were more than the rate allows."""
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        self.number += number
        if self._on_count is not None:
            self._on_count(self.number)
        if self._rate is not None:
            await asyncio.sleep(self._began + self.number / self._rate - now)


def pages(store: Store, query: Query) -> AsyncIterator[Sequence[Summary]]:
    """Yield the selected live sessions. Raises `StoreNotSupported` if the backend cannot list."""
    if isinstance(store, Pageable):
        return store.pages(query)
    if not isinstance(store, Listable):
        raise StoreNotSupported(f"The {store.name} backend cannot list its sessions.")
    return _scanned_pages(store, query)


async def _scanned_pages(store: Listable, query: Query) -> AsyncIterator[Sequence[Summary]]:
    page = []
    async for found in store.scan(user_id=query.user_id):
        if query.matches(found):
            page.append(found)
        if len(page) == _PAGE:
            yield page
            page = []
    yield page


async def delete_many(store: Store, seen: Sequence[Summary]) -> tuple[int, Collection[str]]:
    """Remove each record that has not changed; see `BulkDeletable.delete_many`."""
    if isinstance(store, BulkDeletable):
        return await store.delete_many(seen)
    number, changed = 0, list[str]()
    for some in split(seen, _CONCURRENT):
        deletions = (store.delete(one.key, expected=one) for one in some)
        for one, is_deleted in zip(some, await asyncio.gather(*deletions), strict=True):
            number += is_deleted
            if not is_deleted:
                changed.append(one.key)
    return number, changed


def split(seen: Sequence[Summary], size: int) -> list[Sequence[Summary]]:
    """Split a page."""
    return [seen[start : start + size] for start in range(0, len(seen), size)]
