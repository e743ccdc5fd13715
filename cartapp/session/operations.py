"""What a handler did to a session, in a form that can be done again on a newer state of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from . import codec

GONE: Any = object()
"""What a function given to `modify` returns to have the key removed."""


@dataclass(frozen=True, slots=True)
class Set:
    """One key gets one value."""

    key: str
    raw: msgspec.Raw

    def apply(self, raws: codec.Raws) -> None:
        """Do it to `raws`."""
        raws[self.key] = self.raw


@dataclass(frozen=True, slots=True)
class SetDefault:
    """One key gets a value unless it has one."""

    key: str
    raw: msgspec.Raw

    def apply(self, raws: codec.Raws) -> None:
        """Do it to `raws`."""
        raws.setdefault(self.key, self.raw)


@dataclass(frozen=True, slots=True)
class Delete:
    """One key goes."""

    key: str

    def apply(self, raws: codec.Raws) -> None:
        """Do it to `raws`."""
        raws.pop(self.key, None)


@dataclass(frozen=True, slots=True)
class Clear:
    """All keys go."""

    def apply(self, raws: codec.Raws) -> None:
        """Do it to `raws`."""
        raws.clear()


class Modify:
    """One key gets what a pure function makes of its newest value."""

    def __init__(self, key: str, function: Callable[[Any], Any], default: msgspec.Raw) -> None:
        self.key, self._function, self._default = key, function, default
        self._given: msgspec.Raw | None = None
        self._made: msgspec.Raw | None = None

    def run(self, raw: msgspec.Raw | None) -> tuple[Any, msgspec.Raw | None]:
        """What the function makes of a value, None being no value; encoded as well, None being `GONE`."""
        given = self._default if raw is None else raw
        value = self._function(codec.decode(given))  # decoded anew, so it may change what it is given
        self._made = None if value is GONE else codec.encode(self.key, value)
        self._given = given
        return value, self._made

    def apply(self, raws: codec.Raws) -> None:
        """Do it to `raws`. The last run counts when it was on this value: the function is pure."""
        given = raws.get(self.key, self._default)
        if given != self._given:
            self.run(given)
        if self._made is None:
            raws.pop(self.key, None)
        else:
            raws[self.key] = self._made


Operation = Set | SetDefault | Delete | Clear | Modify


class Changes:
    """Everything recorded between the starts of two commits of one session."""

    rotating = False
    destroyed = False
    new_user: tuple[str, int] | None = None
    """A user and an epoch, from `log_in`."""
    resuming = False
    """Whether the log-in goes on when the session was ended or rotated."""
    whole: frozenset[object] = frozenset()
    """The tasks that did something to the session as a whole: what they did cannot be taken back apart."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._signers: list[Iterable[object]] = []  # the tasks that may have done each operation
        self.authors: set[object] = set()
        """The tasks that recorded something: each learns of a commit that failed (see `Session.save`)."""

    def __bool__(self) -> bool:
        return len(self.operations) > 0 or self.rotating or self.destroyed

    def add(self, operation: Operation, signers: Iterable[object]) -> None:
        """Record an operation that was done by one of these tasks."""
        self.operations.append(operation)
        self._signers.append(signers)
        self.authors.update(signers)

    def sign_whole(self, task: object) -> None:
        """Note that a task did something to the session as a whole."""
        self.whole |= {task}
        self.authors.add(task)

    def drop_operations(self) -> None:
        """Forget the operations, which what comes next makes pointless; their authors stay."""
        self.operations, self._signers = [], []

    def take_back(self, author: object) -> set[object]:
        """Forget the operations of a task, and return the other tasks that may have done some of them."""
        lost: set[object] = set()
        kept = [*zip(self.operations, self._signers, strict=True)]
        self.drop_operations()
        self.authors = set(self.whole)
        for operation, signers in kept:
            if author in signers:
                lost.update(signers)
            else:
                self.add(operation, signers)
        return lost - {author}

    @property
    def cleared(self) -> bool:
        """Whether `clear` was called, which removes the user as well."""
        return bool(self.operations) and isinstance(self.operations[0], Clear)
