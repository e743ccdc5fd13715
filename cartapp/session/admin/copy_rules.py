"""Rules for a session that is in both stores of a copy, without I/O.

Ledger entries are passed as a list, the current one last; before it the entry of a copy in the other
direction, and those that another copy has changed since this one started.
"""

from dataclasses import replace as changed

from msgspec.structs import replace

from ..record import Record
from .copy_ledger import UNKNOWN, Entry, Mark, hash_version, reservation_number


class CopyRules:
    """The rules of one copy between the stores with these marks."""

    def __init__(self, mark: Mark, target_mark: Mark | None) -> None:
        self.mark = mark
        self._marks = {each.name: each for each in (mark, target_mark) if each}

    def can_compare(self, entry: Entry) -> bool:
        """Return whether the entry is from a copy between these two stores."""
        return entry.source in self._marks

    def merge(self, record: Record, there: Record, known: list[Entry]) -> tuple[Record, Entry]:
        """Return the new record for the target, with its present version, and the new entry.

        It is the record that was changed since the last copy, with the later times of both. If both were
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
            entry = changed(entry, replaced=hash_version(there.version), replaced_use=use)
        return merged, entry

    def have_both_changed(self, record: Record, there: Record, known: list[Entry]) -> bool:
        """Return whether neither record is the copied one, so that `merge` loses a change."""
        if self.is_prepared(there, known) or self._has_content(there, known):
            return False
        return not self._has_content(record, known) and self.mark.content(record) != self.mark.content(there)

    def entry_of_new(self, record: Record, reservation: Record) -> Entry:
        """Return the entry of a session that replaces its reservation."""
        content, number = self.mark.content(record), reservation_number(reservation)
        return Entry(self.mark.name, content, record.last_used, record.expires, number)

    def entry_of_ended(self, record: Record, known: list[Entry]) -> Entry:
        """Return the entry of a session that ended in the target but is live in the source."""
        entry = known[-1] if known else self._entry(record, [])
        return changed(entry, expires=max(entry.expires, record.expires))

    def is_unused(self, there: Record, known: list[Entry]) -> bool:
        """Return whether the target's record is unchanged and unused since it was copied."""
        if self.is_prepared(there, known):
            return any(there.last_used == entry.replaced_use for entry in known)
        return any(there.last_used == entry.last_used and self._is_content(there, entry) for entry in known)

    def is_prepared(self, there: Record, known: list[Entry]) -> bool:
        """Return whether the target has the version that a killed copy was about to replace."""
        if there.is_placeholder:
            return any(reservation_number(there) == entry.reservation for entry in known)
        return any(hash_version(there.version) == entry.replaced for entry in known)

    def _entry(self, record: Record, known: list[Entry], expires: int = 0) -> Entry:
        """Return an entry with the state of the source and the target's fields of the former entry."""
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
        """Return whether the record has the copied content."""
        mark = self._marks.get(entry.source)
        return mark is not None and mark.content(record) == entry.content


def reverse_entry(entry: Entry) -> Entry:
    """Return the entry of a copy in the other direction, without the versions of its target."""
    return changed(entry, reservation=UNKNOWN, replaced=UNKNOWN, replaced_use=0)
