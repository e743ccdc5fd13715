"""A dict that records what is done to it, changes inside its lists and dicts included.

Because the operations are recorded, and not only their result, they can be done again on a newer state when
another request got in between.
"""

from asyncio import current_task
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from typing import Any, Self, TypeVar

import msgspec

from . import codec
from .errors import SessionNotLoaded
from .operations import Changes, Clear, Delete, Modify, Operation, Set, SetDefault

V = TypeVar("V")
_MISSING: Any = object()


class RecordingDict(dict[str, Any]):
    """The dict side of a session: plain operations without I/O, on top of a committed state."""

    # Until it is loaded a session has nothing of its own: most requests never ask for theirs.
    loaded = False
    accessed = False
    _committed = b"{}"

    def _forget(self) -> None:
        self.changes = Changes()
        # Lists and dicts that a caller holds and may change in place, and the fingerprints they had.
        self._tracked: dict[str, bytes | None] = {}
        self._borrowed: dict[str, tuple[Any, msgspec.Raw]] = {}  # defaults that a caller holds
        self._pending: codec.Raws = {}  # what the operations made of a key, to notice changes in place
        self._raws: codec.Raws | None = None  # the committed values, split when first needed

    def _reset(self, committed: bytes) -> None:
        """Show this committed state only. Raises `UnreadableRecord`, and then nothing has changed."""
        data = codec.decode_all(committed)
        super().clear()
        super().update(data)
        self._committed = committed
        self.loaded = True
        self._forget()

    def recorded(self) -> Changes:
        """Return everything done since the last commit started, changes in place included."""
        if self._tracked:
            self._record_changes_in_place(self._tracked)
        if self._borrowed:
            self._record_changed_defaults(list(self._borrowed))
        return self.changes

    def _record_changes_in_place(self, keys: Iterable[str]) -> None:
        for key in keys:
            before = self._tracked.get(key, _MISSING)
            if before is _MISSING:
                continue
            value = super().__getitem__(key)
            now = codec.fingerprint(value)
            if now is not None and now == before:
                continue
            raw = codec.encode(key, value)
            if raw != self._raw(key):
                self._record_set(key, raw)
            self._tracked[key] = now

    def _record_changed_defaults(self, keys: Iterable[str]) -> None:
        for key in keys:
            value, unchanged = self._borrowed.get(key, (None, None))
            if unchanged is None or (raw := codec.encode(key, value)) == unchanged:
                continue
            del self._borrowed[key]
            super().__setitem__(key, value)
            self._record_set(key, raw)
            self._track_anew(key, value)

    def _rebase(self, committed: bytes, raws: codec.Raws | None = None) -> None:
        """Show a committed state, with what was recorded since its commit started on top.

        A list or dict whose value stays the same stays the same object: a caller that holds it can go on
        changing it. `raws` is the committed state once it is split.
        """
        changes = self.recorded()
        base = codec.split(committed) if raws is None else raws
        shown = base
        if changes:
            shown = {} if changes.destroyed else dict(base)
            touched = [_applied(operation, shown) for operation in changes.operations]
        values = {key: self._shown(key, raw) for key, raw in shown.items()}
        if self._tracked:
            self._tracked = {key: seen for key, seen in self._tracked.items() if key in values}
        super().clear()
        super().update(values)
        self._committed, self._raws = committed, base
        self._pending = {key: shown[key] for key in touched if key in shown} if changes else {}

    def _shown(self, key: str, raw: msgspec.Raw) -> Any:
        """Return the value to show for a key: the object shown before when it is equal."""
        before = super().get(key, _MISSING)
        if before is not _MISSING and not isinstance(before, tuple) and raw == self._raw(key):
            return before
        self._tracked.pop(key, None)
        return codec.decode(raw)

    def _raw(self, key: str) -> msgspec.Raw:
        """Return what the operations, or the commit before them, made of a key that is there."""
        if self._raws is None:
            self._raws = codec.split(self._committed)
        return self._pending.get(key) or self._raws[key]

    def _record(self, operation: Operation) -> None:
        self.changes.operations.append(operation)
        self._sign()

    def _sign(self) -> None:
        """Note that the running task has recorded something."""
        self.changes.authors.add(running_task())

    def _record_set(self, key: str, raw: msgspec.Raw) -> None:
        self._record(Set(key, raw))
        self._pending[key] = raw

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
        self._track_anew(key, value)
        self._borrowed.pop(key, None)

    def has(self, key: object) -> bool:
        """Whether there is such a key."""
        return key in self

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens when there is none."""
        self._touch()
        if super().pop(key, _MISSING) is not _MISSING:
            self._record_delete(key)

    def _record_delete(self, key: str) -> None:
        self._record(Delete(key))
        self._tracked.pop(key, None)

    def all(self) -> dict[str, Any]:
        """All data as a plain dict."""
        return self.copy()

    def clear(self) -> None:
        """Remove all data, the user as well; the id stays."""
        self._touch()
        super().clear()
        self._tracked.clear()
        self._borrowed.clear()
        self.changes.operations = []
        self._record(Clear())

    def modify(self, key: str, function: Callable[[Any], V], default: object = None) -> V:
        """Give a key what `function` makes of its value, and return that.

        The function must be pure: it runs again on the newest value when another request got in between,
        so that no change is lost. Its argument is a copy of its own; returning `GONE` removes the key. What
        it raises comes through, from here or from the commit, and nothing is changed.
        """
        self._touch()
        self._record_changes_in_place((key,))
        self._record_changed_defaults((key,))
        operation = Modify(key, function, codec.encode(key, default))
        value: V
        value, raw = operation.run(self._raw(key) if key in self else None)
        if raw is None:
            super().pop(key, None)
            self._tracked.pop(key, None)
        else:
            self._pending[key] = raw
            super().__setitem__(key, value)
            self._track_anew(key, value)
        self._record(operation)
        return value

    def borrow(self, key: str, default: Any) -> Any:
        """Return the value, or a copy of a list or dict as default, which is stored only once it changes."""
        if key in self:
            return self[key]
        if key not in self._borrowed:
            self._borrowed[key] = deepcopy(default), codec.encode(key, default)
        return self._borrowed[key][0]

    # -- dict, as Starlette's own session is one ----------------------------------------------------------

    def _track(self, key: str, value: Any) -> Any:
        if key not in self._tracked:
            self._track_anew(key, value)
        return value

    def _track_anew(self, key: str, value: Any) -> None:
        """Remember what a value is now that a caller gets hold of it; one that cannot change is forgotten."""
        if isinstance(value, (list, dict, tuple)):
            self._tracked[key] = codec.fingerprint(value)
        else:
            self._tracked.pop(key, None)

    def _track_all(self) -> None:
        self._touch()
        for key, value in super().items():
            self._track(key, value)

    def __getitem__(self, key: str) -> Any:
        self._touch()
        return self._track(key, super().__getitem__(key))

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default."""
        self._touch()
        value = super().get(key, _MISSING)
        return default if value is _MISSING else self._track(key, value)

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
        """The value; when there is none, the default, which is stored unless another request was faster."""
        if key not in self:
            raw = codec.encode(key, default)
            super().__setitem__(key, default)
            self._record(SetDefault(key, raw))
            self._pending[key] = raw
        return self[key]
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
        self._track_all()
        return dict(super().items())

    def __copy__(self) -> dict[str, Any]:
        """A plain dict, as `copy` makes it."""
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        """A plain dict with values of its own."""
        return deepcopy(self.copy(), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as a plain dict."""
        return dict, (self.copy(),)

    def keys(self) -> Any:
        """The keys, as a live view."""
        self._touch()
        return super().keys()

    def values(self) -> Any:
        """The values, as a live view."""
        self._track_all()
        return super().values()

    def items(self) -> Any:
        """Keys and values, as a live view."""
        self._track_all()
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


def running_task() -> object:
    """Return the running task; None in the thread of a synchronous endpoint, which has no event loop."""
    try:
        return current_task()
    except RuntimeError:
        return None


def _applied(operation: Operation, raws: codec.Raws) -> str:
    """Apply an operation that is not committed yet, for showing only; return the key that it is about."""
    with suppress(Exception):  # a function's refusal of the newest value: its own commit raises it
        operation.apply(raws)
    return "" if isinstance(operation, Clear) else operation.key
