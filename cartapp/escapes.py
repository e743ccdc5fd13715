"""Escape untrusted text for terminals and logs.

Untrusted are paths, headers, names, addresses, product names, session data and settings. Escaped are all
characters that Python does not call printable: control characters (C0 with ESC, C1), line and paragraph
separators, format characters such as bidirectional overrides, lone surrogates, and all spaces except U+0020.
"""

import json
from collections.abc import Callable
from typing import Any


def escape_line(text: str) -> str:
    r"""Return the text on one line, escaped as in Python source: `\n`, `\x1b`, `\u2028`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def escape_lines(text: str) -> str:
    """Escape each line of the text, keeping the line feeds."""
    return "\n".join(map(escape_line, text.split("\n")))


def dump_json(value: object, *, indent: int | None = None, default: Callable[[Any], Any] = str) -> str:
    """Encode a value as escaped JSON, on one line without `indent`. `default` converts other types."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    if text.isprintable():
        return text
    # Line feeds are from `indent`: json.dumps escapes those in strings.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
