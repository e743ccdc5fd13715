"""A dict that records what is done to it, changes inside its lists and dicts included.

Because the operations are recorded, and not only their result, they can be done again on a newer state when
another request got in between.
"""

from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

import msgspec

from . import codec
from .errors import SessionNotLoaded
from .operations import Clear, Delete, Modify, Operation, Set

V = TypeVar("V")
_MISSING: Any = object()


class RecordingDict(dict[str, Any]):
    """The dict side of a session: plain operations without I/O, on top of a committed state."""

    # Until it is loaded a session has nothing of its own: most requests never ask for theirs.
    loaded = False
    accessed = False
    _committed = b"{}"

    def _forget(self) -> None:
        self.operations: list[Operation] = []
        # Keys whose lists or dicts somebody holds and may change, and the fingerprints these had.
        self._handed: dict[str, bytes | None] = {}
        self._known: codec.Raws = {}  # what the operations made of a key, to notice such changes
        self._raws: codec.Raws | None = None  # what was committed, once somebody asks

    def _show(self, committed: bytes) -> None:
        """Become this committed state. Raises `UnreadableRecord`, and then nothing has changed."""
        data = codec.decode_all(committed)
        super().clear()
        super().update(data)
        self._committed = committed
        self.loaded = True
        self._forget()

    def recorded(self) -> list[Operation]:
        """Everything done since the last commit, changes inside lists and dicts included."""
        self._record_nested_changes(self._handed)
        return self.operations

    @property
    def cleared(self) -> bool:
        """Whether `clear` was called since the last commit, which takes the user away as well."""
        return bool(self.operations) and isinstance(self.operations[0], Clear)

    def _record_nested_changes(self, keys: Iterable[str]) -> None:
        for key in keys:
            before = self._handed.get(key, _MISSING)
            if before is _MISSING:
                continue
            value = super().__getitem__(key)
            now = codec.fingerprint(value)
            if now is not None and now == before:
                continue
            raw = codec.encode(key, value)
            if raw != self._raw(key):
                self._record_set(key, raw)
            self._handed[key] = now

    def _raw(self, key: str) -> msgspec.Raw:
        """What the operations, or the commit before them, made of a key that is there."""
        if self._raws is None:
            self._raws = codec.split(self._committed)
        return self._known.get(key) or self._raws[key]

    def _record_set(self, key: str, raw: msgspec.Raw) -> None:
        self.operations.append(Set(key, raw))
        self._known[key] = raw

    def mark_accessed(self) -> None:
        """What Starlette calls when a handler asks for `request.session`."""
        self.accessed = True

    def _touch(self) -> None:
        self.accessed = True
        if not self.loaded:
            raise SessionNotLoaded(
                "This session is not loaded: take it by SessionDep, or `await request.session.load()` first."
            )

    # -- the store of keys and values ---------------------------------------------------------------------

    def set(self, key: str, value: object) -> None:
        """Store a value; of two requests that set the same key, the last one wins for that key alone."""
        self._touch()
        raw = codec.encode(key, value)
        super().__setitem__(key, value)
        self._record_set(key, raw)
        self._hand_anew(key, value)

    def has(self, key: object) -> bool:
        """Whether there is such a key."""
        return key in self

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens when there is none."""
        self._touch()
        if super().pop(key, _MISSING) is not _MISSING:
            self._record_delete(key)

    def _record_delete(self, key: str) -> None:
        self.operations.append(Delete(key))
        self._handed.pop(key, None)

    def all(self) -> dict[str, Any]:
        """All data as a plain dict."""
        return self.copy()

    def clear(self) -> None:
        """Remove all data, the user as well; the id stays."""
        self._touch()
        super().clear()
        self._handed.clear()
        self.operations = [Clear()]

    def modify(self, key: str, function: Callable[[Any], V], default: object = None) -> V:
        """Give a key what `function` makes of its value, and return that.

        The function must be pure: it runs again on the newest value when another request got in between,
        so that no change is lost. Its argument is a copy of its own; returning `GONE` removes the key. What
        it raises comes through, from here or from the commit, and nothing is changed.
        """
        self._touch()
        self._record_nested_changes((key,))
        operation = Modify(key, function, codec.encode(key, default))
        value: V
        value, raw = operation.run(self._raw(key) if key in self else None)
        if raw is None:
            super().pop(key, None)
            self._handed.pop(key, None)
        else:
            self._known[key] = raw
            super().__setitem__(key, value)
            self._hand_anew(key, value)
        self.operations.append(operation)
        return value

    # -- dict, as Starlette's own session is one ----------------------------------------------------------

    def _hand(self, key: str, value: Any) -> Any:
        if key not in self._handed:
            self._hand_anew(key, value)
        return value

    def _hand_anew(self, key: str, value: Any) -> None:
        """Remember what a value is now that somebody gets hold of it; one that cannot change is forgotten."""
        if isinstance(value, (list, dict, tuple)):
            self._handed[key] = codec.fingerprint(value)
        else:
            self._handed.pop(key, None)

    def _hand_all(self) -> None:
        self._touch()
        for key, value in super().items():
            self._hand(key, value)

    def __getitem__(self, key: str) -> Any:
        self._touch()
        return self._hand(key, super().__getitem__(key))

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default."""
        self._touch()
        value = super().get(key, _MISSING)
        return default if value is _MISSING else self._hand(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        self._touch()
        super().__delitem__(key)
        self._record_delete(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or the default; KeyError without either."""
        self._touch()
        present = key in self
        value = super().pop(key, *default)
        if present:
            self._record_delete(key)
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the newest key and return it with its value; KeyError when empty."""
        self._touch()
        key, value = super().popitem()
        self._record_delete(key)
        return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value; when there is none, the default, which is stored."""
        if key not in self:
            self.set(key, default)
        return self[key]

    def update(self, *others: Any, **more: Any) -> None:
        """Set every key of a mapping, or of pairs; all or, when one cannot be kept, none."""
        self._touch()
        values = dict(*others, **more)
        for key, value in values.items():
            codec.encode(key, value)
        for key, value in values.items():
            self.set(key, value)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        self.update(other)
        return self

    def __or__(self, other: Any) -> Any:
        return self.copy() | other if isinstance(other, dict) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return other | self.copy() if isinstance(other, dict) else NotImplemented

    def copy(self) -> dict[str, Any]:
        """All data as a plain dict; lists and dicts in it are the session's own."""
        self._hand_all()
        return dict(super().items())

    def keys(self) -> Any:
        """The keys, as a live view."""
        self._touch()
        return super().keys()

    def values(self) -> Any:
        """The values, as a live view."""
        self._hand_all()
        return super().values()

    def items(self) -> Any:
        """Keys and values, as a live view."""
        self._hand_all()
        return super().items()

    def __contains__(self, key: object) -> bool:
        self._touch()
        return super().__contains__(key)

    def __iter__(self) -> Any:
        self._touch()
        return super().__iter__()

    def __reversed__(self) -> Any:
        self._touch()
        return super().__reversed__()

    def __len__(self) -> int:
        self._touch()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._touch()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        state = f"{dict.__len__(self)} keys" if self.loaded else "not loaded"
        return f"<Session {state}>"  # no data: a session may stand in a log line

    __hash__ = None
