"""What a handler did to a session, in a form that can be done again on a newer state of it."""

from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Modify:
    """One key gets what a pure function makes of its newest value."""

    key: str
    function: Callable[[Any], Any]
    default: msgspec.Raw

    def apply(self, raws: codec.Raws) -> None:
        """Do it to `raws`; the function gets a value of its own each time."""
        before = codec.decode(raws.get(self.key, self.default))
        value = self.function(before)
        if value is GONE:
            raws.pop(self.key, None)
        else:
            raws[self.key] = codec.encode(self.key, value)


Operation = Set | Delete | Clear | Modify
