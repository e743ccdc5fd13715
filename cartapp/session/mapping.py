"""A dict that records what is done to it, changes inside its lists and dicts included.

Because the operations are recorded, and not only their result, they can be done again on a newer state when
another request got in between.
"""

from asyncio import Task, current_task
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from typing import Any, Self, TypeVar

import msgspec

from . import codec
from .errors import EndedKeyError, SessionEnded, SessionNotLoaded, UnsupportedValue
from .operations import Changes, Clear, Delete, Modify, Operation, Set, SetDefault

V = TypeVar("V")
_MISSING: Any = object()
_CONTAINERS = (list, dict, tuple)


class Held:
    """A list or dict that callers hold and may change in place."""

    __slots__ = ("is_own", "seen", "tasks", "value")

    def __init__(self, key: str, value: Any, task: object, is_own: bool) -> None:
        self.value = value
        self.seen = codec.fingerprint(value) or codec.encode(key, value)  # see `_seen`
        self.tasks = [task]  # that got hold of it
        self.is_own = is_own  # whether the session made it, and no caller

    def forget_ended_tasks(self) -> None:
        """Forget the tasks that can change it no more, once their changes were noticed."""
        self.tasks = [task for task in self.tasks if not has_ended(task)]


class RecordingDict(dict[str, Any]):
    """The dict side of a session: plain operations without I/O, on top of a committed state."""

    # Until it is loaded a session has nothing of its own: most requests never ask for theirs.
    loaded = False
    accessed = False
    _marked = False  # whether something was changed, as far as was noticed
    _committed = b"{}"
    _taken: Changes | None = None  # what the commit under way took
    _load_error: Exception | None = None  # why it could not be loaded before the handler

    @property
    def _is_ended(self) -> bool:
        """Whether the empty state that is shown is a tombstone's, from which nothing follows for a change."""
        return False

    def _forget(self) -> None:
        self.changes = Changes()
        self._tracked: dict[str, Held] = {}  # lists and dicts in the session
        self._borrowed: dict[str, Held] = {}  # those that go into the session once they change
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
            self._record_changes_in_place([*self._tracked])
        if self._borrowed:
            self._record_changed_defaults()
        return self.changes

    def _record_changes_in_place(self, keys: Iterable[str]) -> None:
        for key in keys:
            held = self._tracked.get(key)
            if held is None:
                continue
            seen = codec.fingerprint(held.value)
            if seen is not None and seen == held.seen:
                if len(held.tasks) > 1:
                    held.forget_ended_tasks()
                continue
            try:
                raw = codec.encode(key, held.value)
            except UnsupportedValue as error:
                del self._tracked[key]
                super().__setitem__(key, codec.decode(self._raw(key)))
                self._refuse(held, error)
                continue
            now = raw if seen is None else seen
            if now != held.seen and raw != self._raw(key):
                self._record_set(key, raw, tuple(held.tasks))
            held.seen = now
            held.forget_ended_tasks()

    def _record_changed_defaults(self) -> None:
        for key, held in [*self._borrowed.items()]:
            try:
                if _seen(key, held.value) == held.seen:
                    continue
                raw = codec.encode(key, held.value)
            except UnsupportedValue as error:
                del self._borrowed[key]
                self._refuse(held, error)
                continue
            del self._borrowed[key]
            super().__setitem__(key, held.value)
            self._record_set(key, raw, tuple(held.tasks))
            held.seen = _seen(key, held.value)
            self._tracked[key] = held

    def _refuse(self, held: Held, error: UnsupportedValue) -> None:
        """Remember an error for the tasks that may have put what cannot be stored into a list or dict.

        A mapping without tasks raises it; `Session` keeps it for each task.
        """
        raise error

    def _rebase(self, committed: bytes, raws: codec.Raws | None = None) -> None:
        """Show a committed state, with what was recorded and is not committed yet on top.

        A list or dict stays the same object, which a caller that holds it can go on changing: see `_shown`.
        `raws` is the committed state once it is split.
        """
        changes = self.recorded()
        base = shown = codec.split(committed) if raws is None else raws
        touched: set[str] = set()
        if changes or self._taken:
            for layer in (changes,) if self._taken is None else (self._taken, changes):
                shown = {} if layer.destroyed else dict(shown)
                touched.update(_applied(operation, shown) for operation in layer.operations)
        values = {key: self._shown(key, raw) for key, raw in shown.items()}
        if not self._tracked.keys() <= values.keys():
            for key in self._tracked.keys() - values.keys():
                self._empty(key, self._tracked.pop(key))
        super().clear()
        super().update(values)
        self._committed, self._raws = committed, base
        self._pending = {key: shown[key] for key in touched if key in shown}

    def _shown(self, key: str, raw: msgspec.Raw) -> Any:
        """Return the value to show for a key: the object shown before when it is equal.

        A list or dict of the session's own that a caller holds gets the new value. One that a caller put in
        is the caller's: it may be in other sessions as well, so it stays as it is and is no longer watched.
        """
        before = super().get(key, _MISSING)
        if before is not _MISSING and not isinstance(before, tuple) and raw == self._raw(key):
            return before
        held = self._tracked.pop(key, None) or self._borrowed.pop(key, None)
        value = codec.decode(raw)
        if held is None or not held.is_own or type(value) is not type(held.value):
            return value
        _refresh(held.value, value)
        held.seen = _seen(key, held.value)
        self._tracked[key] = held
        return held.value

    def _empty(self, key: str, held: Held) -> None:
        """Empty a list or dict whose key another request removed; what is put into it begins the key anew."""
        if held.is_own and key not in self._borrowed:
            held.value.clear()
            held.seen = _seen(key, held.value)
            self._borrowed[key] = held

    def _raw(self, key: str) -> msgspec.Raw:
        """Return what the operations, or the commit before them, made of a key that is there."""
        if self._raws is None:
            self._raws = codec.split(self._committed)
        return self._pending.get(key) or self._raws[key]

    def _record(self, operation: Operation, signers: tuple[object, ...]) -> None:
        self._marked = True
        self.changes.add(operation, signers)

    def _sign_whole(self) -> None:
        """Note that the running task did something to the session as a whole."""
        self._marked = True
        self.changes.sign_whole(running_task())

    def _record_set(self, key: str, raw: msgspec.Raw, signers: tuple[object, ...]) -> None:
        self._record(Set(key, raw), signers)
        self._pending[key] = raw

    def mark_accessed(self) -> None:
        """What Starlette calls when a handler asks for `request.session`."""
        self.accessed = True

    def mark_modified(self) -> None:
        """What Starlette's users call after a change inside a list or dict; here such a change is noticed.

        It sets `modified` and stores nothing by itself.
        """
        self.accessed = self._marked = True

    @property
    def modified(self) -> bool:
        """Whether this request changed the session, or called `mark_modified`."""
        return self._marked or (self.loaded and bool(self.recorded()))

    @modified.setter
    def modified(self, value: bool) -> None:
        self._marked = value

    def _touch(self) -> None:
        self.accessed = True
        if not self.loaded:
            raise self._load_error or SessionNotLoaded(
                "This session is not loaded: take it by SessionDep, or `await request.session.load()` first."
            )
        if self._borrowed:
            self._record_changed_defaults()

    # -- the store of keys and values ---------------------------------------------------------------------

    def set(self, key: str, value: object) -> None:
        """Store a value; of two requests that set the same key, the last one wins for that key alone."""
        self._touch()
        raw = codec.encode(key, value)
        super().__setitem__(key, value)
        task = running_task()
        self._record_set(key, raw, (task,))
        self._replace_held(key, value, task)

    def has(self, key: object) -> bool:
        """Whether there is such a key."""
        return key in self

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens when there is none."""
        self._record_removal(key)
        super().pop(key, None)

    def _record_removal(self, key: str) -> None:
        self._touch()
        self._borrowed.pop(key, None)
        if super().__contains__(key) or self._is_ended:
            self._record_delete(key)

    def _record_delete(self, key: str) -> None:
        self._record(Delete(key), (running_task(),))
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
        self.changes.drop_operations()
        self._record(Clear(), (running_task(),))
        self._sign_whole()

    def modify(self, key: str, function: Callable[[Any], V], default: object = None) -> V:
        """Give a key what `function` makes of its value, and return that.

        The function must be pure: it runs again on the newest value when another request got in between,
        so that no change is lost. Its argument is a copy of its own; returning `GONE` removes the key. What
        it raises comes through, from here or from the commit, and nothing is changed. On the empty session
        of a tombstone it becomes `SessionEnded`.
        """
        self._touch()
        self._record_changes_in_place((key,))
        operation = Modify(key, function, codec.encode(key, default))
        task = running_task()
        value: V
        try:
            value, raw = operation.run(self._raw(key) if key in self else None)
        except Exception as error:
            if self._is_ended:
                raise SessionEnded from error
            raise
        if raw is None:
            super().pop(key, None)
            self._tracked.pop(key, None)
            self._borrowed.pop(key, None)
        else:
            self._pending[key] = raw
            super().__setitem__(key, value)
            self._replace_held(key, value, task)
        self._record(operation, (task,))
        return value

    def borrow(self, key: str, default: Any) -> Any:
        """Return the value, or a copy of a list or dict as default, which is stored only once it changes."""
        if key in self:
            return self[key]
        held = self._borrowed.get(key)
        if held is None or held.seen != _seen(key, default):
            held = self._borrowed[key] = Held(key, deepcopy(default), running_task(), True)
        _note_holder(held)
        return held.value

    # -- dict, as Starlette's own session is one ----------------------------------------------------------

    def _track(self, key: str, value: Any) -> Any:
        """Remember what a value is now that a caller gets hold of it, if it can change."""
        if isinstance(value, _CONTAINERS):
            held = self._tracked.get(key)
            if held is None:
                self._tracked[key] = Held(key, value, running_task(), True)
            else:
                _note_holder(held)
        return value

    def _replace_held(self, key: str, value: Any, task: object) -> None:
        """Remember what a caller put in, and forget what was there before."""
        if self._borrowed:
            self._borrowed.pop(key, None)
        if isinstance(value, _CONTAINERS):
            self._tracked[key] = Held(key, value, task, False)
        elif self._tracked:
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
        self.pop(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or the default; KeyError without either."""
        self._record_removal(key)
        try:
            return super().pop(key, *default)
        except KeyError:
            if self._is_ended:
                raise EndedKeyError from None
            raise

    def popitem(self) -> tuple[str, Any]:
        """Remove the newest key and return it with its value; KeyError when empty."""
        self._touch()
        if self._is_ended and not super().__len__():
            raise EndedKeyError
        key, value = super().popitem()
        self._record_delete(key)
        return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value; when there is none, the default, which is stored unless another request was faster."""
        if key not in self:
            raw = codec.encode(key, default)
            super().__setitem__(key, default)
            task = running_task()
            self._record(SetDefault(key, raw), (task,))
            self._pending[key] = raw
            self._replace_held(key, default, task)
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


def as_stored(key: str, value: object) -> Any:
    """Return a value as it is read back from a session. Raises `UnsupportedValue`."""
    return codec.decode(codec.encode(key, value))


def running_task() -> object:
    """Return the running task; None in the thread of a synchronous endpoint, which has no event loop."""
    try:
        return current_task()
    except RuntimeError:
        return None


def _seen(key: str, value: Any) -> bytes | msgspec.Raw:
    """What tells whether a value changes later: its fingerprint, or what it encodes to.

    Not what was decoded to it: that need not be what it encodes to, on a host that lacks a time zone.
    """
    fingerprint = codec.fingerprint(value)
    return codec.encode(key, value) if fingerprint is None else fingerprint


def _note_holder(held: Held) -> None:
    task = running_task()
    if task not in held.tasks:
        held.tasks.append(task)


def _refresh(held: Any, value: Any) -> None:
    """Give a list or dict the content of another one.

    What is held of its content stays as well: dicts and lists under the same key, and equal ones at the same
    place of a list.
    """
    if isinstance(held, dict):
        content = {key: _refreshed(held.get(key), item) for key, item in value.items()}
        held.clear()
        held.update(content)
        return
    pairs = zip(held, value, strict=False)
    held[:] = [*(old if _is_same(old, new) else new for old, new in pairs), *value[len(held) :]]


def _refreshed(held: Any, value: Any) -> Any:
    if isinstance(held, (list, dict)) and type(held) is type(value):
        _refresh(held, value)
        return held
    return value


def _is_same(held: Any, value: Any) -> bool:
    return isinstance(held, (list, dict)) and _seen("", held) == _seen("", value)


def has_ended(task: object) -> bool:
    """Return whether a task will save nothing any more; a thread's never does."""
    return task is None or (isinstance(task, Task) and task.done())


def _applied(operation: Operation, raws: codec.Raws) -> str:
    """Apply an operation that is not committed yet, for showing only; return the key that it is about."""
    with suppress(Exception):  # a function's refusal of the newest value: its own commit raises it
        operation.apply(raws)
    return "" if isinstance(operation, Clear) else operation.key
