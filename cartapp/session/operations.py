"""Operations on session data, recorded so that a commit can replay them on a newer state."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from . import codec

REMOVE: Any = object()
"""Return value of a function given to `modify`: remove the key."""


@dataclass(frozen=True, slots=True)
class Set:
    """Set a key."""

    key: str
    raw: msgspec.Raw

    def apply(self, raws: codec.Raws) -> None:
        """Apply the operation to `raws`."""
        raws[self.key] = self.raw


@dataclass(frozen=True, slots=True)
class SetDefault:
    """Set a key that is absent."""

    key: str
    raw: msgspec.Raw

    def apply(self, raws: codec.Raws) -> None:
        """Apply the operation to `raws`."""
        raws.setdefault(self.key, self.raw)


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key."""

    key: str

    def apply(self, raws: codec.Raws) -> None:
        """Apply the operation to `raws`."""
        raws.pop(self.key, None)


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove all keys."""

    def apply(self, raws: codec.Raws) -> None:
        """Apply the operation to `raws`."""
        raws.clear()


class Modify:
    """Replace the value of a key by a pure function of it."""

    def __init__(self, key: str, function: Callable[[Any], Any], default: msgspec.Raw) -> None:
        self.key: str = key
        self._function, self._default = function, default
        self._input: msgspec.Raw | None = None
        self._output: msgspec.Raw | None = None

    def run(self, raw: msgspec.Raw | None) -> tuple[Any, msgspec.Raw | None]:
        """Return the function's result for a value (None: absent), and its encoding (None: `REMOVE`)."""
        argument = self._default if raw is None else raw
        value = self._function(codec.decode(argument))  # a fresh copy, which the function may change
        self._output = None if value is REMOVE else codec.encode(self.key, value)
        self._input = argument
        return value, self._output

    def apply(self, raws: codec.Raws) -> None:
        """Apply the operation; reuse the last result for the same value, since the function is pure."""
        argument = raws.get(self.key, self._default)
        if argument != self._input:
            self.run(argument)
        if self._output is None:
            raws.pop(self.key, None)
        else:
            raws[self.key] = self._output


Operation = Set | SetDefault | Delete | Clear | Modify


class Changes:
    """What was recorded between the starts of two commits of one session."""

    rotating = False
    destroyed = False
    new_user: tuple[str, int] | None = None
    """User ID and epoch, from `log_in`."""
    resuming = False
    """Whether the log-in continues on a session that was ended or rotated."""
    session_wide: frozenset[object] = frozenset()
    """Tasks that changed the session as a whole, so that their changes cannot be withdrawn separately."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._operation_authors: list[Iterable[object]] = []  # tasks that may have done each operation
        self.authors: set[object] = set()
        """Tasks that recorded something; each gets the error of a failed commit (see `Session.save`)."""

    def __bool__(self) -> bool:
        return len(self.operations) > 0 or self.rotating or self.destroyed

    def add(self, operation: Operation, authors: Iterable[object]) -> None:
        """Record an operation of one of these tasks."""
        self.operations.append(operation)
        self._operation_authors.append(authors)
        self.authors.update(authors)

    def mark_session_wide(self, task: object) -> None:
        """Note that a task changed the session as a whole."""
        self.session_wide |= {task}
        self.authors.add(task)

    def drop_operations(self) -> None:
        """Drop the operations, which a later one made irrelevant; their authors remain."""
        self.operations, self._operation_authors = [], []

    def withdraw(self, author: object) -> set[object]:
        """Drop the operations of a task; return the other tasks that may have done some of them."""
        affected: set[object] = set()
        pairs = [*zip(self.operations, self._operation_authors, strict=True)]
        self.drop_operations()
        self.authors = set(self.session_wide)
        for operation, authors in pairs:
            if author in authors:
                affected.update(authors)
            else:
                self.add(operation, authors)
        return affected - {author}

    @property
    def cleared(self) -> bool:
        """Whether `clear` was called, which removes the user as well."""
        return bool(self.operations) and isinstance(self.operations[0], Clear)
