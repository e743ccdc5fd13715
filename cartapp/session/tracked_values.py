"""Lists and dicts that callers have and may change in place."""

from asyncio import Task, current_task
from typing import Any

import msgspec

from . import codec


class TrackedValue:
    """One such value, its last recorded encoding, and the tasks that have it."""

    __slots__ = ("holders", "is_own", "snapshot", "value")

    def __init__(self, value: Any, snapshot: msgspec.Raw | None, *, is_own: bool) -> None:
        self.value: Any = value
        self.snapshot: msgspec.Raw | None = snapshot
        """The encoding of the value when its changes were last recorded. None: what it was decoded from."""
        self.holders: list[object] = [running_task()]
        """Tasks that have the value."""
        self.is_own: bool = is_own
        """Whether the session created the value, not a caller."""

    def forget_finished_tasks(self) -> None:
        """Drop tasks that cannot change the value any more, once their changes are recorded."""
        self.holders = [task for task in self.holders if not has_finished(task)]

    def add_holder(self) -> None:
        """Note that the running task has the value."""
        task = running_task()
        if task not in self.holders:
            self.holders.append(task)


def running_task() -> object:
    """Return the running task; None in the thread of a synchronous endpoint, which has no event loop."""
    try:
        return current_task()
    except RuntimeError:
        return None


def replace_content(value: Any, new: Any) -> None:
    """Give a list or dict the content of another one.

    Nested objects stay the same where callers may have them: lists and dicts under the same key, and equal
    ones at the same index of a list.
    """
    if isinstance(value, dict):
        content = {key: _merge(value.get(key), item) for key, item in new.items()}
        value.clear()
        value.update(content)
        return
    pairs = zip(value, new, strict=False)
    value[:] = [*(old if _is_same(old, item) else item for old, item in pairs), *new[len(value) :]]


def _merge(value: Any, new: Any) -> Any:
    if isinstance(value, (list, dict)) and type(value) is type(new):
        replace_content(value, new)
        return value
    return new


def _is_same(value: Any, new: Any) -> bool:
    return isinstance(value, (list, dict)) and codec.encode("", value) == codec.encode("", new)


def has_finished(task: object) -> bool:
    """Return whether a task will not save any more. A thread (None) counts as finished."""
    return task is None or (isinstance(task, Task) and task.done())
