"""Moving live sessions from one store to another, nobody logged out."""

from collections.abc import Callable
from dataclasses import dataclass

from .errors import StoreNotSupported, UnreadableRecord
from .hooks import logger
from .record import Record
from .stores.base import Listable, Store


@dataclass(slots=True)
class Copied:
    """What `copy_sessions` did, in sessions."""

    created: int = 0
    replaced: int = 0
    kept: int = 0
    """Those whose copy in the target was used as lately, or later."""
    unreadable: int = 0

    @property
    def seen(self) -> int:
        """All that were looked at."""
        return self.created + self.replaced + self.kept + self.unreadable


async def copy_sessions(
    source: Store, target: Store, *, progress: Callable[[Copied], None] = lambda _: None
) -> Copied:
    """Copy every live session with its expiry and user; `source` must be `Listable`.

    Where both stores have a session the later last use wins. Done twice it changes nothing; interrupted and
    done again it completes. Raises `StoreNotSupported` and `StoreUnavailable`.
    """
    if not isinstance(source, Listable):
        raise StoreNotSupported(f"The {source.name} backend cannot list its sessions.")
    copied = Copied()
    async for summary in source.scan():
        try:
            record = await source.load(summary.key)
        except UnreadableRecord as error:
            logger.warning("Session %s was not copied: %s", summary.key, error)
            copied.unreadable += 1
        else:
            if record is not None and not record.is_tombstone:  # it may have ended since it was listed
                await _copy(record, target, copied)
        progress(copied)
    return copied


async def _copy(record: Record, target: Store, copied: Copied) -> None:
    while True:
        if await target.create(record) is not None:
            copied.created += 1
            return
        there = await _there(record.key, target)
        if there is None:
            await target.delete(record.key)  # expired or unreadable: nobody's session, but in the way
        elif there.last_used >= record.last_used:
            copied.kept += 1
            return
        elif await target.save(record, expected=there.version) is not None:
            copied.replaced += 1
            return


async def _there(key: str, target: Store) -> Record | None:
    try:
        return await target.load(key)
    except UnreadableRecord:
        return None
