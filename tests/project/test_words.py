"""The word list: plain technical English in code, names, comments, documents, templates and messages.

Names are split at underscores and capitals, so that `retired_key` and `RetiredKey` are found too. The style
rules are in CONTRIBUTING.md.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project_files import tracked_files
from tests.support.shop_server import ROOT

WORDS = (
    *("who", "whoever", "whom", "whose", "nobody", "somebody", "anybody"),
    *("amid", "anew", "beside", "at hand", "in vain", "thereof"),
    *("told", "tells", "stand", "stands", "want", "wants", "wanted", "befall", "befalls", "carried out"),
    *("patience", "patient", "misfortune", "mishap", "mishaps", "deed", "deeds", "doings", "forgive", "mend"),
    *("stolen", "survey", "trailed", "carrier", "carriers", "retired", "renewed", "time-out", "time-outs"),
    *("visit to one store", "visits to one store"),
)
"""Words of literary English, and terms that the glossary replaces."""

BANNED = re.compile(rf"(?<![a-z])(?:{'|'.join(WORDS)})(?![a-z])", re.IGNORECASE)
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

EXEMPT = (
    *(
        "LICENSE",
        "packages/session/LICENSE",
        "lock/",
        "cartapp/accounts/common_passwords.txt",
        "cartapp/web/static/vendor/",
    ),
    *("cartapp/web/static/products/", "benchmarks/peers/package-lock.json", "tests/project/test_words.py"),
)
"""Texts of others, lists of names, and this file."""

_STANDS = ("on a stand", "metal stand", "low stand")
ALLOWED: dict[str, tuple[str, ...]] = {
    # Products and their pictures.
    "cartapp/catalogue/products.py": ("on a stand", "Laptop Stand"),
    "cartapp/web/shop/pictures.py": ("laptop-stand", *_STANDS),
    "cartapp/web/i18n/locales/ar/LC_MESSAGES/messages.po": ("Laptop Stand", *_STANDS),
    "cartapp/web/i18n/locales/de/LC_MESSAGES/messages.po": ("Laptop Stand", *_STANDS),
    # Keywords of systemd, and the Unix user.
    "deploy/cartapp.service": ("Wants=", "WantedBy="),
    "tests/support/servers/memcached.py": ('"nobody"',),
}
"""Permitted phrases, by file."""


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each banned word in a file with its line number; of translations, only the English texts."""
    name = path.relative_to(ROOT).as_posix()
    is_translation = False
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if path.suffix == ".po":
            is_translation = line.startswith("msgstr") or (is_translation and line.startswith('"'))
            if is_translation:
                continue
        for phrase in ALLOWED.get(name, ()):
            line = line.replace(phrase, "")
        yield from ((number, found[0]) for found in BANNED.finditer(_CAPITAL.sub("_", line)))


def files() -> list[Path]:
    return [path for path in tracked_files() if not path.relative_to(ROOT).as_posix().startswith(EXEMPT)]


def test_no_banned_word_is_used() -> None:
    found = [f"{path.relative_to(ROOT)}:{number}: {word}" for path in files() for number, word in words(path)]
    assert not found, "\n".join(found)


def test_no_file_name_has_a_banned_word() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in files()]
    assert [name for name in names if BANNED.search(name)] == []


def test_every_exception_is_needed() -> None:
    for name, phrases in ALLOWED.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert [phrase for phrase in phrases if phrase not in text] == [], name


@pytest.mark.parametrize(
    "text", ["retired_key", "RetiredKey", "KEY_RETIRED", "a time-out", "Stands", "whoever"]
)
def test_words_are_found_in_prose_and_names(text: str) -> None:
    assert BANNED.search(_CAPITAL.sub("_", text))


@pytest.mark.parametrize("text", ["standard", "understand", "timeout", "retire", "mendable", "kind"])
def test_other_words_are_not_found(text: str) -> None:
    assert not BANNED.search(_CAPITAL.sub("_", text))
