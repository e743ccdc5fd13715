"""A readable browser name from a `User-Agent` header: "Firefox on Linux"."""

import re
from collections.abc import Sequence

from ..i18n.labels import UNKNOWN_BROWSER

# The first match counts: nearly every browser also names the ones it imitates.
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


def browser_from_user_agent(user_agent: str) -> str:
    """Return a short name; nothing else of the header is kept."""
    browser = _first(_BROWSERS, user_agent)
    if browser is None:
        program = _PROGRAM.match(user_agent)
        return program[1] if program and program[1] != "Mozilla" else UNKNOWN_BROWSER
    system = _first(_SYSTEMS, user_agent)
    return f"{browser} on {system}" if system else browser


def _first(names: Sequence[tuple[str, str]], user_agent: str) -> str | None:
    return next((name for mark, name in names if mark in user_agent), None)
