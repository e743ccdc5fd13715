"""Copy live sessions from one store to another, repeatedly, while clients use both.

A copy decides from three sources: the record in the source, the record in the target, and the entry in the
target's ledger. A session that is new to the target is first reserved there, then entered into the ledger,
then written. So after a kill at any point the next copy distinguishes a session that ended in the target from
one that was not written yet. Every write compares versions, so several copies may run concurrently.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from ..errors import StoreNotSupported, StoreUnavailable, UnreadableRecord
from ..hooks import logger
from ..record import Clock, Record, now
from ..stores.base import Listable, Store
from ..stores.queries import ALL, BulkLoadable, BulkWritable
from .copy_ledger import (
    ATTEMPTS,
    CHUNKS,
    Chunk,
    Entry,
    Ledger,
    Mark,
    chunk_number,
    clear_expired,
    find_mark,
    get_or_create_mark,
    key_from,
    make_reservation,
    raw_key,
)
from .copy_rules import CopyRules, reverse_entry
from .listing import Pace, pages

A = TypeVar("A")
T = TypeVar("T")

_BATCH: Final = 512  # sessions per write of a chunk of the ledger, which encodes the whole chunk
_PART: Final = 128  # sessions per bulk operation of a store; more would delay the requests of clients
_WORKERS: Final = 4  # concurrent chunks of the ledger; more would delay the requests of clients
_SESSIONS: Final = 50  # concurrent reads and writes of sessions
_RAW: Final = 16  # bytes of a decoded key


@dataclass(slots=True)
class CopyResult:
    """Numbers of sessions by outcome of `copy_sessions`."""

    created: int = 0
    replaced: int = 0
    """Updated in the target."""
    kept: int = 0
    """Already up to date in the target, or changed only there."""
    changed_in_both: int = 0
    """Changed in both since the last copy, or different without one: the later use won, a change is lost."""
    ended: int = 0
    """Ended in the target: they had ended in the source and were unused in the target."""
    ended_in_target: int = 0
    """Not copied again: they had ended in the target."""
    unreadable: int = 0
    """Not copied: unreadable in the source, or blocked by an irremovable record in the target."""
    total: int = field(default=0, compare=False)
    """Sessions in the source when the copy began."""
    source_marked: bool = True
    """False if the source is read-only, so that sessions which ended there were not recognized."""

    @property
    def seen(self) -> int:
        """The number of sessions processed."""
        of_both = self.replaced + self.kept + self.changed_in_both
        return self.created + of_both + self.ended + self.ended_in_target + self.unreadable


async def copy_sessions(
    source: Store,
    target: Store,
    *,
    progress: Callable[[CopyResult], None] = lambda _: None,
    rate: float | None = None,
    clock: Clock = now,
) -> CopyResult:
    """Copy every live session with its expiry and user; `source` must be `Listable`.

    A repeated copy updates the target: sessions changed in the source are changed, sessions ended there are
    ended, and sessions ended in the target are not copied again. Of a session changed in both, the later
    change wins. An interrupted copy can be repeated. `rate` limits it, in sessions a second.

    Raises `StoreNotSupported`, `StoreUnavailable`, and `UnreadableRecord` for an unreadable ledger in the
    target.
    """
    if not isinstance(source, Listable):
        raise StoreNotSupported(f"The {source.name} backend cannot list its sessions.")
    copied = CopyResult()
    try:
        mark = await get_or_create_mark(source, clock)
    except StoreUnavailable as error:
        await find_mark(source)  # readable, so it is only read-only; some stores write for a ping
        logger.warning("Sessions that ended in the source are not ended in the target: %s", error)
        mark, copied.source_marked = Mark.random(), False
    listed = await _list_chunks(source)
    copied.total = sum(map(len, listed)) // _RAW
    pace = Pace(rate=rate)
    await _Job(source, target, mark, await find_mark(target), clock, copied, progress, pace).run(listed)
    return copied


async def _list_chunks(source: Store) -> list[bytearray]:
    """Return the keys of the sessions in each chunk of the ledger, 16 bytes each."""
    chunks = [bytearray() for _ in range(CHUNKS)]
    async for page in pages(source, ALL):
        for summary in page:
            chunks[chunk_number(summary.key)] += raw_key(summary.key)
    return chunks


@dataclass(frozen=True, slots=True)
class _Decision:
    """What to do with one session, given its state in both stores."""

    key: str
    outcome: str = ""
    """The field of `CopyResult` to increment."""
    entry: Entry | None = None
    """The ledger entry to write first."""
    save: Record | None = None
    """The record to save in the target, over the version that it carries."""
    delete: Record | None = None
    """The record to delete in the target."""
    has_reserved: bool = False
    """Whether this decision reserved the session in the target."""


class _Job:
    """One run of `copy_sessions`."""

    def __init__(
        self,
        source: Store,
        target: Store,
        mark: Mark,
        target_mark: Mark | None,
        clock: Clock,
        copied: CopyResult,
        progress: Callable[[CopyResult], None],
        pace: Pace,
    ) -> None:
        self._source, self._target = source, target
        self._clock = clock
        self._copied, self._progress = copied, progress
        self._ledger = Ledger(target, clock)
        # If the target was copied to the source before, the source has entries of sessions that ended there.
        self._reverse = Ledger(source, clock) if target_mark else None
        self._rules = CopyRules(mark, target_mark)
        self._sessions = asyncio.Semaphore(_SESSIONS)
        self._pace = pace

    async def run(self, listed: list[bytearray]) -> None:
        """Copy the listed sessions; end sessions of the ledger that have ended in the source."""
        needed = {number for number, keys in enumerate(listed) if keys}
        if self._reverse:
            needed.update(await self._reverse.numbers())
        numbers = iter(await self._ledger.numbers(needed))
        await _run_all(self._process_chunks(numbers, listed) for _ in range(_WORKERS))

    async def _process_chunks(self, numbers: Iterator[int], listed: list[bytearray]) -> None:
        for number in numbers:
            raw = bytes(listed[number])
            keys = {key_from(raw[start : start + _RAW]) for start in range(0, len(raw), _RAW)}
            chunk = await self._ledger.read(number)
            reverse = await self._reverse_entries(number)
            keys.update(self._not_list_chunks(chunk.entries), self._not_list_chunks(reverse))
            todo = sorted(keys)
            size = min(_BATCH, self._pace.batch)
            for start in range(0, len(todo), size):
                batch = todo[start : start + size]
                chunk = await self._process_batch(batch, chunk, reverse)
                await self._pace.add(len(batch))

    async def _reverse_entries(self, number: int) -> Mapping[str, Entry]:
        if self._reverse is None:
            return {}
        chunk = await self._reverse.read(number)
        return {key: reverse_entry(entry) for key, entry in chunk.entries.items()}

    def _not_list_chunks(self, entries: Mapping[str, Entry]) -> Iterator[str]:
        """Yield the sessions with entries of these stores, which may have ended in the source."""
        now = self._clock()
        for key, entry in entries.items():
            if self._rules.can_compare(entry) and entry.expires > now:
                yield key

    async def _process_batch(self, keys: list[str], chunk: Chunk, reverse: Mapping[str, Entry]) -> Chunk:
        """Decide on sessions, write the entries, and apply the decisions; repeat until all are applied."""
        known = {key: [reverse[key]] if key in reverse else [] for key in keys}
        while keys:
            for key in keys:
                if entry := chunk.entries.get(key):
                    known[key].append(entry)
            loaded = await self._load_many(keys)
            reserved = await self._reserve_many(known, loaded)
            # A new session needs no further request, so a task of its own would only cost time.
            new = [key for key in keys if reserved.get(key) is not None]
            decide = partial(self._decide, known=known, loaded=loaded, reserved=reserved)
            decisions = [await decide(key) for key in new]
            others = (key for key in keys if reserved.get(key) is None)
            decisions += await self._run_limited(decide, others)
            chunk = await self._write_entries(decisions, chunk)
            if any(decision.delete for decision in decisions):
                await self._check_source()
            saved = await self._save_many(decisions, chunk)
            keys = await self._apply_all(decisions, chunk, saved)
            if keys:  # another copy or a client of the target was faster
                chunk = await self._ledger.read(chunk.number)
        return chunk

    async def _write_entries(self, decisions: list[_Decision], chunk: Chunk) -> Chunk:
        entries = {decision.key: decision.entry for decision in decisions if decision.entry}
        changes = {key: entry for key, entry in entries.items() if entry != chunk.entries.get(key)}
        return await self._ledger.write(chunk, changes) if changes else chunk

    async def _save_many(self, decisions: list[_Decision], chunk: Chunk) -> Mapping[str, bool]:
        """Save the records with written entries, if the target can; return which were saved, by key."""
        saves = [
            decision.save
            for decision in decisions
            if decision.save and (not decision.entry or decision.entry == chunk.entries.get(decision.key))
        ]
        if not saves or not isinstance(self._target, BulkWritable):
            return {}
        versions = await _run_in_parts(self._target.save_many, saves)
        return {record.key: version is not None for record, version in zip(saves, versions, strict=True)}

    async def _apply_all(
        self, decisions: list[_Decision], chunk: Chunk, saved: Mapping[str, bool]
    ) -> list[str]:
        """Apply decisions; return the keys of sessions that have changed since."""
        apply = partial(self._apply, chunk=chunk, saved=saved)
        written = [decision for decision in decisions if decision.key in saved]
        done = [await apply(decision) for decision in written]
        others = [decision for decision in decisions if decision.key not in saved]
        done += await self._run_limited(apply, others)
        return [one.key for one, is_done in zip((*written, *others), done, strict=True) if not is_done]

    async def _apply(self, decision: _Decision, chunk: Chunk, saved: Mapping[str, bool]) -> bool:
        """Apply a decision; return False if the session has changed since."""
        entry = chunk.entries.get(decision.key)
        if decision.entry and decision.entry != entry:
            if decision.has_reserved and entry and decision.entry.reservation != entry.reservation:
                await self._withdraw(decision.key)
            return False
        if decision.save and not await self._save(decision.save, saved):
            return False
        if decision.delete and not await self._target.delete(decision.key, expected=decision.delete):
            return False
        if decision.outcome:
            setattr(self._copied, decision.outcome, getattr(self._copied, decision.outcome) + 1)
            self._progress(self._copied)
        return True

    async def _run_limited(self, step: Callable[[A], Awaitable[T]], items: Iterable[A]) -> list[T]:
        """Run a step that sends requests of its own for each item, a limited number at a time."""

        async def limited(item: A) -> T:
            async with self._sessions:
                return await step(item)

        return await _run_all(map(limited, items))

    async def _save(self, record: Record, saved: Mapping[str, bool]) -> bool:
        if record.key in saved:
            return saved[record.key]
        return await self._target.save(record, expected=record.version) is not None

    async def _withdraw(self, key: str) -> None:
        """Remove a reservation of a session that, as is known now, had ended in the target.

        Another copy may have written the session over this reservation, since both reservations have the same
        version in stores that count versions. So a session found there is removed as well.
        """
        there = await self._target.load(key)
        while there is not None and not await self._target.delete(key, expected=there):
            there = await self._target.load(key)

    async def _check_source(self) -> None:
        """Check that the source was not emptied during the copy. Raises `StoreUnavailable`."""
        if await find_mark(self._source) != self._rules.mark:
            raise StoreUnavailable(
                f"The {self._source.name} store was emptied or replaced during the copy. "
                "Sessions that it lost were not ended in the target."
            )

    # -- one session --------------------------------------------------------------------------------------

    async def _load_many(self, keys: Sequence[str]) -> Mapping[str, Record | UnreadableRecord] | None:
        if not isinstance(self._source, BulkLoadable):
            return None
        loaded: dict[str, Record | UnreadableRecord] = {}
        for part in _parts(keys):
            loaded |= await self._source.load_many(part)
        return loaded

    async def _reserve_many(
        self, known: Mapping[str, list[Entry]], loaded: Mapping[str, Record | UnreadableRecord] | None
    ) -> Mapping[str, Record | None]:
        """Reserve the new sessions, if the stores can; return the reservations, None for a taken key."""
        if loaded is None or not isinstance(self._target, BulkWritable):
            return {}
        reservations = [
            make_reservation(record)
            for key, record in loaded.items()
            if isinstance(record, Record) and not record.is_tombstone and self._is_new(known[key])
        ]
        if not reservations:
            return {}
        versions = await _run_in_parts(self._target.create_many, reservations)
        return {
            one.key: None if version is None else replace(one, version=version)
            for one, version in zip(reservations, versions, strict=True)
        }

    def _is_new(self, known: list[Entry]) -> bool:
        """Whether no copy that is still valid has written the session."""
        return max((entry.expires for entry in known), default=0) <= self._clock()

    async def _decide(
        self,
        key: str,
        known: Mapping[str, list[Entry]],
        loaded: Mapping[str, Record | UnreadableRecord] | None,
        reserved: Mapping[str, Record | None],
    ) -> _Decision:
        """Compare a session in both stores. `known` has its entries, the current one last: before it that of
        a copy in the other direction, and those that another copy has changed since.
        """
        try:
            record = await self._source.load(key) if loaded is None else loaded.get(key)
            if isinstance(record, UnreadableRecord):
                raise record
            if record is None or record.is_tombstone:
                return await self._decide_ended(key, known[key])
            return await self._decide_live(record, known[key], reserved)
        except UnreadableRecord as error:
            logger.warning("Session %s was not copied: %s", key, error)
            return _Decision(key, "unreadable")

    async def _decide_ended(self, key: str, known: list[Entry]) -> _Decision:
        """End a session that ended in the source, if it is unchanged since it was copied."""
        if not known or not self._copied.source_marked:
            return _Decision(key)
        try:
            there = await self._target.load(key)
        except UnreadableRecord:  # counts as absent
            return _Decision(key)
        if there is None or not self._rules.is_unused(there, known):
            return _Decision(key)
        return _Decision(key, "ended", delete=there)

    async def _decide_live(
        self, record: Record, known: list[Entry], reserved: Mapping[str, Record | None]
    ) -> _Decision:
        key, rules = record.key, self._rules
        there, has_reserved = await self._find_in_target(record, known, reserved)
        if there is None or (there.is_tombstone and not there.is_placeholder):
            return _Decision(key, "ended_in_target", rules.entry_of_ended(record, known))
        if there.is_placeholder:
            written = replace(record, version=there.version)
            return _Decision(
                key, "created", rules.entry_of_new(record, there), written, has_reserved=has_reserved
            )
        merged, entry = rules.merge(record, there, known)
        outcome = "kept" if merged == there else "replaced"
        if rules.have_both_changed(record, there, known):
            outcome = "changed_in_both"
        return _Decision(key, outcome, entry, None if merged == there else merged)

    async def _find_in_target(
        self, record: Record, known: list[Entry], reserved: Mapping[str, Record | None]
    ) -> tuple[Record | None, bool]:
        """Return the target's record, None if it ended, and whether this copy just reserved a new session."""
        if (reservation := reserved.get(record.key)) is not None:
            return reservation, True
        is_new = record.key in reserved or self._is_new(known)
        for attempt in range(ATTEMPTS):
            if is_new and (attempt or record.key not in reserved):
                reservation = make_reservation(record)
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
                await clear_expired(self._target, record.key, self._clock, attempt)
            elif found is None or is_new or not found.is_placeholder or self._rules.is_prepared(found, known):
                return found, False
            else:  # reserved by a copy that had not read the entry of the ended session yet
                await self._target.delete(record.key, expected=found)
                return None, False
        raise UnreadableRecord("its key in the target has a record that can be neither read nor removed")


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items for each bulk operation."""
    for start in range(0, len(items), _PART):
        yield items[start : start + _PART]


async def _run_in_parts(
    operation: Callable[[Sequence[A]], Awaitable[Sequence[T]]], items: Sequence[A]
) -> list[T]:
    """Return the results of a bulk operation for all items."""
    return [result for part in _parts(items) for result in await operation(part)]


async def _run_all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently; cancel the others on the first error and raise it."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
