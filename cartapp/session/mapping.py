"""A dict that records its changes, also those inside its lists and dicts.

It records operations and not only their result, so that a commit can replay them on a newer state.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from typing import Any, Self, TypeVar

import msgspec

from . import codec
from .errors import EndedKeyError, SessionEnded, SessionNotLoaded, UnsupportedValue
from .operations import Changes, Clear, Delete, Modify, Operation, Set, SetDefault
from .tracked_values import TrackedValue, replace_content, running_task

V = TypeVar("V")
_MISSING: Any = object()
_CONTAINERS = (list, dict, tuple)


class RecordingDict(dict[str, Any]):
    """The dict part of a session: operations without I/O on top of a committed state."""

    # Class attributes until the session is loaded: most requests never use it.
    loaded: bool = False
    accessed: bool = False
    _modified = False  # whether a change was recorded or marked
    _committed = b"{}"
    _in_flight: Changes | None = None  # the changes of the commit in progress
    _load_error: Exception | None = None  # why loading before the handler failed

    changes: Changes

    @property
    def _is_tombstone(self) -> bool:
        """Whether the empty state is that of a tombstone, so that no change can be based on it."""
        return False

    def _clear_changes(self) -> None:
        self.changes = Changes()
        self._tracked: dict[str, TrackedValue] = {}  # lists and dicts in the session
        self._defaults: dict[str, TrackedValue] = {}  # defaults that are stored once they change
        self._pending: codec.Raws = {}  # the values after the recorded operations, by key
        self._raws: codec.Raws | None = None  # the committed values by key, split on first use

    def _reset(self, committed: bytes) -> None:
        """Show this committed state and drop all changes. Raises `UnreadableRecord`, changing nothing."""
        data = codec.decode_all(committed)
        super().clear()
        super().update(data)
        self._committed = committed
        self.loaded = True
        self._clear_changes()

    def recorded(self) -> Changes:
        """Return the changes since the last commit started, including those made in place."""
        if self._tracked:
            self._record_changes_in_place([*self._tracked])
        if self._defaults:
            self._record_changed_defaults()
        return self.changes

    def _record_changes_in_place(self, keys: Iterable[str]) -> None:
        for key in keys:
            tracked = self._tracked.get(key)
            if tracked is None:
                continue
            try:
                raw = codec.encode(key, tracked.value)
            except UnsupportedValue as error:
                del self._tracked[key]
                super().__setitem__(key, codec.decode(self._raw(key)))
                self._report_unsupported(tracked, error)
                continue
            if self._is_unchanged(key, raw, tracked.snapshot):
                if len(tracked.holders) > 1:
                    tracked.forget_finished_tasks()
                continue
            if raw != self._raw(key):
                self._record_set(key, raw, tuple(tracked.holders))
            tracked.snapshot = raw
            tracked.forget_finished_tasks()

    def _is_unchanged(self, key: str, raw: msgspec.Raw, snapshot: msgspec.Raw | None) -> bool:
        if snapshot is not None:
            return raw == snapshot
        stored = self._raw(key)
        # On a host without a time zone, a value may be encoded to other bytes than it was decoded from.
        return raw == stored or raw == codec.encode(key, codec.decode(stored))

    def _record_changed_defaults(self) -> None:
        for key, default in [*self._defaults.items()]:
            try:
                raw = codec.encode(key, default.value)
            except UnsupportedValue as error:
                del self._defaults[key]
                self._report_unsupported(default, error)
                continue
            if raw == default.snapshot:
                continue
            del self._defaults[key]
            super().__setitem__(key, default.value)
            self._record_set(key, raw, tuple(default.holders))
            default.snapshot = raw
            self._tracked[key] = default

    def _report_unsupported(self, tracked: TrackedValue, error: UnsupportedValue) -> None:
        """Report that a list or dict contains what cannot be stored. `Session` keeps the error by task."""
        raise error

    def _rebase(self, committed: bytes, raws: codec.Raws | None = None) -> None:
        """Show a committed state with the uncommitted changes on top; `raws` is that state by key.

        Lists and dicts remain the same objects, so that callers can go on changing them; see `_value_for`.
        """
        base = shown = codec.split(committed) if raws is None else raws
        if self._defaults or any(base.get(key) != self._raw(key) for key in self._tracked):
            self.recorded()  # before the content of these objects is replaced
        changes = self.changes
        touched: set[str] = set()
        if changes or self._in_flight:
            for layer in (changes,) if self._in_flight is None else (self._in_flight, changes):
                shown = {} if layer.destroyed else dict(shown)
                touched.update(_apply_for_display(operation, shown) for operation in layer.operations)
        values = {key: self._value_for(key, raw) for key, raw in shown.items()}
        if not self._tracked.keys() <= values.keys():
            for key in self._tracked.keys() - values.keys():
                self._empty(key, self._tracked.pop(key))
        super().clear()
        super().update(values)
        self._committed, self._raws = committed, base
        self._pending = {key: shown[key] for key in touched if key in shown}

    def _value_for(self, key: str, raw: msgspec.Raw) -> Any:
        """Return the value to show for a key: the object shown before if it is equal.

        A list or dict created by the session gets the new content if a caller has it. One that a caller put
        in is not changed, as it may be in other sessions as well; it is no longer tracked.
        """
        before = super().get(key, _MISSING)
        if before is not _MISSING and not isinstance(before, tuple) and raw == self._raw(key):
            return before
        tracked = self._tracked.pop(key, None) or self._defaults.pop(key, None)
        value = codec.decode(raw)
        if tracked is None or not tracked.is_own or type(value) is not type(tracked.value):
            return value
        replace_content(tracked.value, value)
        tracked.snapshot = codec.encode(key, tracked.value)
        self._tracked[key] = tracked
        return tracked.value

    def _empty(self, key: str, tracked: TrackedValue) -> None:
        """Empty a list or dict after another request removed its key; adding to it sets the key again."""
        if tracked.is_own and key not in self._defaults:
            tracked.value.clear()
            tracked.snapshot = codec.encode(key, tracked.value)
            self._defaults[key] = tracked

    def _raw(self, key: str) -> msgspec.Raw:
        """Return the encoded value of a present key, with the recorded operations applied."""
        if self._raws is None:
            self._raws = codec.split(self._committed)
        return self._pending.get(key) or self._raws[key]

    def _record(self, operation: Operation, authors: tuple[object, ...]) -> None:
        self._modified = True
        self.changes.add(operation, authors)

    def _mark_session_wide(self) -> None:
        """Note that the running task changed the session as a whole."""
        self._modified = True
        self.changes.mark_session_wide(running_task())

    def _record_set(self, key: str, raw: msgspec.Raw, authors: tuple[object, ...]) -> None:
        self._record(Set(key, raw), authors)
        self._pending[key] = raw

    def mark_accessed(self) -> None:
        """Note an access to `request.session`; Starlette calls this."""
        self.accessed = True

    def mark_modified(self) -> None:
        """Set `modified`. Users of Starlette call this after a change inside a list or dict.

        Such changes are detected here without it; the call itself stores nothing.
        """
        self.accessed = self._modified = True

    @property
    def modified(self) -> bool:
        """Whether this request changed the session, or called `mark_modified`."""
        return self._modified or (self.loaded and bool(self.recorded()))

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    def _require_loaded(self) -> None:
        self.accessed = True
        if not self.loaded:
            raise self._load_error or SessionNotLoaded(
                "The session is not loaded. Use SessionDep, or `await request.session.load()` first."
            )
        if self._defaults:
            self._record_changed_defaults()

    # -- keys and values ----------------------------------------------------------------------------------

    def set(self, key: str, value: object) -> None:
        """Set a key. If two requests set the same key, the last one wins, for this key alone."""
        self._require_loaded()
        raw = codec.encode(key, value)
        super().__setitem__(key, value)
        self._record_set(key, raw, (running_task(),))
        self._track_replaced(key, value, raw)

    def has(self, key: object) -> bool:
        """Return whether the key exists."""
        return key in self

    def delete(self, key: str) -> None:
        """Remove a key, if it exists."""
        self._record_removal(key)
        super().pop(key, None)

    def _record_removal(self, key: str) -> None:
        self._require_loaded()
        self._defaults.pop(key, None)
        if super().__contains__(key) or self._is_tombstone:
            self._record_delete(key)

    def _record_delete(self, key: str) -> None:
        self._record(Delete(key), (running_task(),))
        self._tracked.pop(key, None)

    def all(self) -> dict[str, Any]:
        """Return all data as a plain dict."""
        return self.copy()

    def clear(self) -> None:
        """Remove all data and the user; the ID remains."""
        self._require_loaded()
        super().clear()
        self._tracked.clear()
        self._defaults.clear()
        self.changes.drop_operations()
        self._record(Clear(), (running_task(),))
        self._mark_session_wide()

    def modify(self, key: str, function: Callable[[Any], V], default: object = None) -> V:
        """Replace the value of a key by `function(value)`, and return the result.

        The function must be pure: after a conflict it runs again on the newest value, so that no change is
        lost. Its argument is a copy; the result `REMOVE` removes the key. Its exceptions propagate from here
        or from the commit, which then changes nothing; on the empty session of a tombstone they become
        `SessionEnded`.
        """
        self._require_loaded()
        self._record_changes_in_place((key,))
        operation = Modify(key, function, codec.encode(key, default))
        value: V
        try:
            value, raw = operation.run(self._raw(key) if key in self else None)
        except Exception as error:
            if self._is_tombstone:
                raise SessionEnded from error
            raise
        if raw is None:
            super().pop(key, None)
            self._tracked.pop(key, None)
            self._defaults.pop(key, None)
        else:
            self._pending[key] = raw
            super().__setitem__(key, value)
            self._track_replaced(key, value, raw)
        self._record(operation, (running_task(),))
        return value

    def peek(self, key: str, default: Any = None) -> Any:
        """Return the value for reading alone, or the default.

        The commit looks for changes in every list and dict that `get` returned. From here it is a copy unless
        the session tracks it already, so do not change it.
        """
        if key not in self:
            return default
        if key in self._tracked:
            return super().get(key)
        return codec.decode(self._raw(key))

    def get_or_default(self, key: str, default: Any) -> Any:
        """Return the value, or a copy of a list or dict as default, which is stored once it changes."""
        if key in self:
            return self[key]
        tracked, snapshot = self._defaults.get(key), codec.encode(key, default)
        if tracked is None or tracked.snapshot != snapshot:
            tracked = self._defaults[key] = TrackedValue(deepcopy(default), snapshot, is_own=True)
        tracked.add_holder()
        return tracked.value

    # -- the dict interface, as in Starlette's own session ------------------------------------------------

    def _track(self, key: str, value: Any) -> Any:
        """Track a mutable value that a caller gets, and return it."""
        if isinstance(value, _CONTAINERS):
            tracked = self._tracked.get(key)
            if tracked is None:
                self._tracked[key] = TrackedValue(value, None, is_own=True)
            else:
                tracked.add_holder()
        return value

    def _track_replaced(self, key: str, value: Any, raw: msgspec.Raw) -> None:
        """Track a value that a caller put in, in place of the former one; `raw` is its encoding."""
        if self._defaults:
            self._defaults.pop(key, None)
        if isinstance(value, _CONTAINERS):
            self._tracked[key] = TrackedValue(value, raw, is_own=False)
        elif self._tracked:
            self._tracked.pop(key, None)

    def _track_all(self) -> None:
        self._require_loaded()
        for key, value in super().items():
            self._track(key, value)

    def __getitem__(self, key: str) -> Any:
        self._require_loaded()
        return self._track(key, super().__getitem__(key))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value, or the default."""
        self._require_loaded()
        value = super().get(key, _MISSING)
        return default if value is _MISSING else self._track(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or the default; KeyError without either."""
        self._record_removal(key)
        try:
            return super().pop(key, *default)
        except KeyError:
            if self._is_tombstone:
                raise EndedKeyError from None
            raise

    def popitem(self) -> tuple[str, Any]:
        """Remove the newest key and return it with its value; KeyError when empty."""
        self._require_loaded()
        if self._is_tombstone and not super().__len__():
            raise EndedKeyError
        key, value = super().popitem()
        self._record_delete(key)
        return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value; without one store the default, unless a concurrent request sets the key."""
        if key not in self:
            raw = codec.encode(key, default)
            super().__setitem__(key, default)
            self._record(SetDefault(key, raw), (running_task(),))
            self._pending[key] = raw
            self._track_replaced(key, default, raw)
        return self[key]

    def update(self, *others: Any, **more: Any) -> None:
        """Set every key of a mapping or of pairs; none if one value cannot be stored."""
        self._require_loaded()
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
        """Return all data as a plain dict; its lists and dicts are those of the session."""
        self._track_all()
        return dict(super().items())

    def __copy__(self) -> dict[str, Any]:
        """Return a plain dict; see `copy`."""
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        """Return a plain dict with copies of the values."""
        return deepcopy(self.copy(), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as a plain dict."""
        return dict, (self.copy(),)

    def keys(self) -> Any:
        """Return a live view of the keys."""
        self._require_loaded()
        return super().keys()

    def values(self) -> Any:
        """Return a live view of the values."""
        self._track_all()
        return super().values()

    def items(self) -> Any:
        """Return a live view of keys and values."""
        self._track_all()
        return super().items()

    def __contains__(self, key: object) -> bool:
        self._require_loaded()
        return super().__contains__(key)

    def __iter__(self) -> Any:
        self._require_loaded()
        return super().__iter__()

    def __reversed__(self) -> Any:
        self._require_loaded()
        return super().__reversed__()

    def __len__(self) -> int:
        self._require_loaded()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._require_loaded()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        state = f"{dict.__len__(self)} keys" if self.loaded else "not loaded"
        return f"<Session {state}>"  # no data: it may appear in a log

    __hash__ = None


def as_stored(key: str, value: object) -> Any:
    """Return a value as it is read back from a session. Raises `UnsupportedValue`."""
    return codec.decode(codec.encode(key, value))


def _apply_for_display(operation: Operation, raws: codec.Raws) -> str:
    """Apply an uncommitted operation and return its key; errors of a function are left to the commit."""
    with suppress(Exception):
        operation.apply(raws)
    return "" if isinstance(operation, Clear) else operation.key
