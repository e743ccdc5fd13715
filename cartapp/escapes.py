"""Text from outside, escaped for terminals, for logs, and for programs that read either line by line.

Paths, headers, names, addresses, product names, session data and settings may hold anything. Escaped is all
that Python does not call printable: the control characters C0 and C1 with ESC, line and paragraph separators,
format characters with those that change the direction of text, lone surrogates, and blanks but the space.
"""

import json
from collections.abc import Callable
from typing import Any


def printable(text: str) -> str:
    r"""The text as one line, with what is not printable as in Python source: `\n`, `\x1b`, `\u2028`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, of which only line feeds stay."""
    return "\n".join(map(printable, text.split("\n")))


def json_text(value: object, *, indent: int | None = None, default: Callable[[Any], Any] = str) -> str:
    """A value as JSON, which reads back unchanged; what JSON lacks is written by `default`.

    Without `indent` it is one line.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    if text.isprintable():
        return text
    # The line feeds are those of the layout: in a string, json.dumps has escaped them.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
