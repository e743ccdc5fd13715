"""What a browser calls itself, for people: "Firefox on Linux"."""

import re
from collections.abc import Sequence

UNKNOWN = "Unknown browser"

# The first that is found counts: nearly every browser also names those that it wants to be taken for.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_PROGRAM = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,30})(?:/|\Z)")


def browser_of(user_agent: str) -> str:
    """A short name made of a `User-Agent`, without anything of it that could be more than a name."""
    browser = _first(_BROWSERS, user_agent)
    if browser is None:
        program = _PROGRAM.match(user_agent)
        return program[1] if program and program[1] != "Mozilla" else UNKNOWN
    system = _first(_SYSTEMS, user_agent)
    return f"{browser} on {system}" if system else browser


def _first(names: Sequence[tuple[str, str]], user_agent: str) -> str | None:
    return next((name for mark, name in names if mark in user_agent), None)
