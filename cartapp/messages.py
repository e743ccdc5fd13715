"""Messages for users: an English template and the values for its holes.

    raise CartFull(_("The cart holds at most {limit} different products"), limit=MAX_LINES)

`str()` of a message is English, for JSON, logs and commands. `LocaleFormatter.translate` translates the
template and formats each value for the language of a page.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Union

Value = Union[int, str, timedelta, "FieldNames", "Message"]

_HOLE = re.compile(r"\{(\w+)\}")


def _(template: str) -> str:
    """Mark a template for extraction by `make messages`."""
    return template


class FieldNames(tuple[str, ...]):
    """Names of form fields: "a", "a and b", "a, b, and c"."""

    __slots__ = ()

    def __str__(self) -> str:
        if len(self) < 3:
            return " and ".join(self)
        return f"{', '.join(self[:-1])}, and {self[-1]}"


@dataclass(frozen=True, init=False)
class Message:
    """A template and its values. Without values, the template is the text, braces included."""

    template: str
    values: Mapping[str, Value]

    def __init__(self, template: str, /, **values: Value) -> None:
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return fill(self.template, {name: _english(value) for name, value in self.values.items()})

    def to_session(self) -> str | dict[str, Any]:
        """A JSON value, for flashes with plain numbers and strings as values."""
        return {"template": self.template, "values": dict(self.values)} if self.values else self.template

    @classmethod
    def from_session(cls, stored: Any) -> "Message":
        """Read what `to_session` returned, or the plain English text that earlier versions stored."""
        match stored:
            case {"template": str(template), "values": dict(values)}:
                return cls(template, **values)
        return cls(str(stored))


class MessageError(Exception):
    """An error with a message for the user; `str()` is its English text."""

    def __init__(self, message: Message | str, /, **values: Value) -> None:
        self.message = message if isinstance(message, Message) else Message(message, **values)
        super().__init__(str(self.message))


def fill(template: str, texts: Mapping[str, str]) -> str:
    """Put texts into the holes of a template. A hole without a text stays."""
    return _HOLE.sub(lambda hole: texts.get(hole[1], hole[0]), template)


def _english(value: Value) -> str:
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    return str(value)
