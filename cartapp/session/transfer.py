"""Copying live sessions from one store to another, again and again, while visitors use both.

What a copy knows of a session comes from three places: its record in the source, its record in the target,
and its entry in the target's ledger. A session that is new to the target is reserved there first, then
entered into the ledger, then written: whenever the process is killed, the next copy can tell a session that
ended in the target from one that was not written yet. Every write compares versions, so several copies may
run at the same time.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from .copy_rules import Rules, reversed_entry
from .errors import StoreNotSupported, StoreUnavailable, UnreadableRecord
from .hooks import logger
from .ledger import (
    ATTEMPTS,
    CHUNKS,
    Chunk,
    Entry,
    Ledger,
    Mark,
    chunk_of,
    find_mark,
    key_from,
    make_mark,
    make_way,
    raw_key,
    reservation_of,
)
from .record import Clock, Record, now
from .stores.base import Listable, Store

T = TypeVar("T")

_BATCH: Final = 128  # sessions that one write of the ledger is for
_WORKERS: Final = 16  # chunks of the ledger that are worked on concurrently
_SESSIONS: Final = 50  # sessions that are read or written concurrently
_RAW: Final = 16  # bytes of a key


@dataclass(slots=True)
class Copied:
    """What `copy_sessions` did, in sessions."""

    created: int = 0
    replaced: int = 0
    """Brought up to date in the target."""
    kept: int = 0
    """Up to date in the target already, or used later there."""
    ended: int = 0
    """Ended in the target, because they had ended in the source and were unused in the target."""
    ended_in_target: int = 0
    """Not copied again, because they had ended in the target."""
    unreadable: int = 0
    """Not copied: unreadable in the source, or what is in their place in the target cannot be removed."""
    source_marked: bool = True
    """False when the source takes no writes, so that what ended there could not be told."""

    @property
    def seen(self) -> int:
        """The number of sessions that were dealt with."""
        return self.created + self.replaced + self.kept + self.ended + self.ended_in_target + self.unreadable


async def copy_sessions(
    source: Store,
    target: Store,
    *,
    progress: Callable[[Copied], None] = lambda _: None,
    clock: Clock = now,
) -> Copied:
    """Copy every live session with its expiry and user; `source` must be `Listable`.

    Done again it brings the target up to date: what changed in the source is changed, what ended there is
    ended, and what ended in the target is not copied again. A session that changed in both keeps the later
    change. Interrupted and done again it completes. Raises `StoreNotSupported`, `StoreUnavailable`, and
    `UnreadableRecord` when the target's ledger is unreadable.
    """
    if not isinstance(source, Listable):
        raise StoreNotSupported(f"The {source.name} backend cannot list its sessions.")
    copied = Copied()
    try:
        mark = await make_mark(source, clock)
    except StoreUnavailable as error:
        await source.ping()  # so it takes no writes, but answers
        logger.warning("What ended in the source is not ended in the target: %s", error)
        mark, copied.source_marked = Mark.random(), False
    job = _Job(source, target, mark, await find_mark(target), clock, copied, progress)
    await job.run(await _listed(source))
    return copied


async def _listed(source: Listable) -> list[bytearray]:
    """List the sessions of each chunk of the ledger, 16 bytes each."""
    chunks = [bytearray() for _ in range(CHUNKS)]
    async for summary in source.scan():
        chunks[chunk_of(summary.key)] += raw_key(summary.key)
    return chunks


@dataclass(frozen=True, slots=True)
class _Step:
    """What one look at a session in both stores led to."""

    key: str
    outcome: str = ""
    """The field of `Copied` to count it in."""
    entry: Entry | None = None
    """What the ledger has to say before anything is written."""
    save: Record | None = None
    """What replaces the version in the target that it carries."""
    delete: Record | None = None
    """What is removed from the target."""
    has_reserved: bool = False
    """Whether the session was reserved in the target by this decision."""


class _Job:
    """One copy."""

    def __init__(
        self,
        source: Store,
        target: Store,
        mark: Mark,
        target_mark: Mark | None,
        clock: Clock,
        copied: Copied,
        progress: Callable[[Copied], None],
    ) -> None:
        self._source, self._target = source, target
        self._clock = clock
        self._copied, self._progress = copied, progress
        self._ledger = Ledger(target, clock)
        # A target that was copied to the source before has entries there: what ended in the source since.
        self._reverse = Ledger(source, clock) if target_mark else None
        self._rules = Rules(mark, target_mark)
        self._sessions = asyncio.Semaphore(_SESSIONS)

    async def run(self, listed: list[bytearray]) -> None:
        """Copy the listed sessions, and end those of the ledger that have ended in the source."""
        needed = {number for number, keys in enumerate(listed) if keys}
        if self._reverse:
            needed.update(await self._reverse.numbers())
        numbers = iter(await self._ledger.numbers(needed))
        await _all(self._work(numbers, listed) for _ in range(_WORKERS))

    async def _work(self, numbers: Iterator[int], listed: list[bytearray]) -> None:
        for number in numbers:
            raw = bytes(listed[number])
            keys = {key_from(raw[start : start + _RAW]) for start in range(0, len(raw), _RAW)}
            chunk = await self._ledger.read(number)
            reverse = await self._reverse_entries(number)
            keys.update(self._not_listed(chunk.entries), self._not_listed(reverse))
            todo = sorted(keys)
            for start in range(0, len(todo), _BATCH):
                chunk = await self._batch(todo[start : start + _BATCH], chunk, reverse)

    async def _reverse_entries(self, number: int) -> Mapping[str, Entry]:
        if self._reverse is None:
            return {}
        chunk = await self._reverse.read(number)
        return {key: reversed_entry(entry) for key, entry in chunk.entries.items()}

    def _not_listed(self, entries: Mapping[str, Entry]) -> Iterator[str]:
        """Yield the sessions of these stores that may have ended in the source."""
        now = self._clock()
        for key, entry in entries.items():
            if self._rules.can_compare(entry) and entry.expires > now:
                yield key

    async def _batch(self, keys: list[str], chunk: Chunk, reverse: Mapping[str, Entry]) -> Chunk:
        """Decide on sessions, enter the decisions into the ledger, and carry them out; until all are done."""
        known = {key: [reverse[key]] if key in reverse else [] for key in keys}
        while keys:
            for key in keys:
                if entry := chunk.entries.get(key):
                    known[key].append(entry)
            steps = await _all(self._decide(key, known[key]) for key in keys)
            chunk = await self._enter(steps, chunk)
            if any(step.delete for step in steps):
                await self._check_source()
            done = await _all(self._carry_out(step, chunk) for step in steps)
            keys = [step.key for step, is_done in zip(steps, done, strict=True) if not is_done]
            if keys:  # another copy, or a visitor of the target, was faster
                chunk = await self._ledger.read(chunk.number)
        return chunk

    async def _enter(self, steps: list[_Step], chunk: Chunk) -> Chunk:
        entries = {step.key: step.entry for step in steps if step.entry}
        changes = {key: entry for key, entry in entries.items() if entry != chunk.entries.get(key)}
        return await self._ledger.write(chunk, changes) if changes else chunk

    async def _carry_out(self, step: _Step, chunk: Chunk) -> bool:
        """Do what was decided and return whether it could be done."""
        entry = chunk.entries.get(step.key)
        if step.entry and step.entry != entry:
            if step.has_reserved and entry and step.entry.reservation != entry.reservation:
                await self._withdraw(step.key)
            return False
        async with self._sessions:
            if step.save and await self._target.save(step.save, expected=step.save.version) is None:
                return False
            if step.delete and not await self._target.delete(step.key, expected=step.delete):
                return False
        if step.outcome:
            setattr(self._copied, step.outcome, getattr(self._copied, step.outcome) + 1)
            self._progress(self._copied)
        return True

    async def _withdraw(self, key: str) -> None:
        """Remove a reservation that was made because it was not known that the session had ended there.

        Another copy that was about to write the session may have written it over this reservation, whose
        version is the same in stores that count versions. So a session that is there now goes as well.
        """
        there = await self._target.load(key)
        while there is not None and not await self._target.delete(key, expected=there):
            there = await self._target.load(key)

    async def _check_source(self) -> None:
        """Make sure that what is absent in the source has ended there. Raises `StoreUnavailable`."""
        if await find_mark(self._source) != self._rules.mark:
            raise StoreUnavailable(
                f"The {self._source.name} store was emptied or replaced during the copy. "
                "Sessions that it has lost were not ended in the target."
            )

    # -- one session --------------------------------------------------------------------------------------

    async def _decide(self, key: str, known: list[Entry]) -> _Step:
        """Look at a session in both stores. `known` has its entries, the current one last: before it that of
        a copy in the other direction, and those that another copy has changed since.
        """
        async with self._sessions:
            try:
                record = await self._source.load(key)
                if record is None or record.is_tombstone:
                    return await self._decide_ended(key, known)
                return await self._decide_live(record, known)
            except UnreadableRecord as error:
                logger.warning("Session %s was not copied: %s", key, error)
                return _Step(key, "unreadable")

    async def _decide_ended(self, key: str, known: list[Entry]) -> _Step:
        """End in the target what ended in the source, if it is still as it was copied."""
        if not known or not self._copied.source_marked:
            return _Step(key)
        try:
            there = await self._target.load(key)
        except UnreadableRecord:  # absent for visitors already
            return _Step(key)
        if there is None or not self._rules.is_unused(there, known):
            return _Step(key)
        return _Step(key, "ended", delete=there)

    async def _decide_live(self, record: Record, known: list[Entry]) -> _Step:
        key, rules = record.key, self._rules
        there, has_reserved = await self._there(record, known)
        if there is None or (there.is_tombstone and not there.is_placeholder):
            return _Step(key, "ended_in_target", rules.entry_of_ended(record, known))
        if there.is_placeholder:
            written = replace(record, version=there.version)
            return _Step(
                key, "created", rules.entry_of_new(record, there), written, has_reserved=has_reserved
            )
        merged, entry = rules.merge(record, there, known)
        if merged == there:
            return _Step(key, "kept", entry)
        return _Step(key, "replaced", entry, merged)

    async def _there(self, record: Record, known: list[Entry]) -> tuple[Record | None, bool]:
        """Return the target's record, None if it ended; a new session is reserved, which the flag tells."""
        is_new = max((entry.expires for entry in known), default=0) <= self._clock()
        for attempt in range(ATTEMPTS):
            if is_new:
                reservation = reservation_of(record)
                version = await self._target.create(reservation)
                if version is not None:
                    return replace(reservation, version=version), True
            try:
                found = await self._target.load(record.key)
            except UnreadableRecord:
                await self._target.delete(record.key)
                is_new = True
                continue
            if found is None and is_new:
                await make_way(self._target, record.key, self._clock, attempt)
            elif found is None or is_new or not found.is_placeholder or self._rules.is_prepared(found, known):
                return found, False
            else:  # reserved by a copy that did not know yet that the session had been copied, and had ended
                await self._target.delete(record.key, expected=found)
                return None, False
        raise UnreadableRecord("what is in its place in the target can be neither read nor removed")


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently; the first error cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
