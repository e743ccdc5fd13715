"""What becomes of a session that is in both stores of a copy. No I/O here.

Entries of the ledger are passed as a list, the current one last: before it come the entry of a copy in the
other direction, and those that another copy has changed since this one began.
"""

from dataclasses import replace as changed

from msgspec.structs import replace

from .ledger import UNKNOWN, Entry, Mark, hash_of, reservation_number
from .record import Record


class Rules:
    """The rules of one copy, whose two stores have these marks."""

    def __init__(self, mark: Mark, target_mark: Mark | None) -> None:
        self.mark = mark
        self._marks = {each.name: each for each in (mark, target_mark) if each}

    def can_compare(self, entry: Entry) -> bool:
        """Return whether the entry is of a copy between these two stores."""
        return entry.source in self._marks

    def merge(self, record: Record, there: Record, known: list[Entry]) -> tuple[Record, Entry]:
        """Return what the target's record has to become, with its version, and the session's entry.

        That is the record that was changed since the last copy, with the later times of both. If both were
        changed, or the session was never copied, the later use decides.
        """
        is_later = record.last_used > there.last_used
        was_copied = self.is_prepared(there, known) or self._has_content(there, known)
        from_source = was_copied or (is_later and not self._has_content(record, known))
        taken, later = record if from_source else there, record if is_later else there
        merged = replace(taken, last_used=later.last_used, expires=later.expires, version=there.version)
        entry = self._entry(record, known, there.expires)
        if from_source and merged != there:
            use = there.last_used if self.is_unused(there, known) else 0
            entry = changed(entry, replaced=hash_of(there.version), replaced_use=use)
        return merged, entry

    def entry_of_new(self, record: Record, reservation: Record) -> Entry:
        """Return the entry of a session that is written over its reservation."""
        return changed(self._entry(record, []), reservation=reservation_number(reservation))

    def entry_of_ended(self, record: Record, known: list[Entry]) -> Entry:
        """Return the entry of a session that ended in the target, as long as it lives in the source."""
        entry = known[-1] if known else self._entry(record, [])
        return changed(entry, expires=max(entry.expires, record.expires))

    def is_unused(self, there: Record, known: list[Entry]) -> bool:
        """Return whether the target's record is exactly what was copied."""
        if self.is_prepared(there, known):
            return any(there.last_used == entry.replaced_use for entry in known)
        return any(there.last_used == entry.last_used and self._is_content(there, entry) for entry in known)

    def is_prepared(self, there: Record, known: list[Entry]) -> bool:
        """Return whether the target has what a copy was about to replace when it was killed."""
        if there.is_placeholder:
            return any(reservation_number(there) == entry.reservation for entry in known)
        return any(hash_of(there.version) == entry.replaced for entry in known)

    def _entry(self, record: Record, known: list[Entry], expires: int = 0) -> Entry:
        """Return an entry with the state of the source, and what the former one knows of the target."""
        content, expires = self.mark.content(record), max(record.expires, expires)
        entry = Entry(self.mark.name, content, record.last_used, expires)
        if not known:
            return entry
        former = known[-1]
        return changed(
            entry,
            reservation=former.reservation,
            replaced=former.replaced,
            replaced_use=former.replaced_use,
        )

    def _has_content(self, record: Record, known: list[Entry]) -> bool:
        return any(self._is_content(record, entry) for entry in known)

    def _is_content(self, record: Record, entry: Entry) -> bool:
        """Return whether the record has the content that was copied."""
        mark = self._marks.get(entry.source)
        return mark is not None and mark.content(record) == entry.content


def reversed_entry(entry: Entry) -> Entry:
    """Return the entry of a copy in the other direction without its versions, which are the source's."""
    return changed(entry, reservation=UNKNOWN, replaced=UNKNOWN, replaced_use=0)
