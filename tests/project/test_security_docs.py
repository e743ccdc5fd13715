"""docs/security.md has a row for every requirement, and every test named exists."""

import re
from itertools import chain
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+\.\d+\.\d+) \| ([123]) \| ([a-z' A-Z123-]+) \| (.+) \|$", PAGE, re.MULTILINE)

LAST = {
    3: {1: 1, 2: 3, 3: 5, 4: 8, 5: 8, 6: 1, 7: 5},
    6: {1: 3, 2: 12, 3: 8, 4: 6, 5: 8, 6: 4, 7: 2, 8: 4},
    7: {1: 3, 2: 4, 3: 2, 4: 5, 5: 3, 6: 2},
}
"""Number of requirements in each section of ASVS 5.0.0."""


def test_every_requirement_is_listed_once_in_order() -> None:
    expected = chain.from_iterable(
        (f"{chapter}.{section}.{number}" for number in range(1, last + 1))
        for chapter, sections in LAST.items()
        for section, last in sections.items()
    )
    assert [row[0] for row in ROWS] == list(expected)


def test_every_row_has_a_status() -> None:
    states = {state for _, _, state, _ in ROWS}
    assert states <= {
        "met",
        "met for L1 only",
        "met for L2",
        "met for sessions",
        "met for login",
        "met with closed registration",
        "not met",
        "not applicable",
        "the operator's",
    }


def test_named_tests_exist() -> None:
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE))
    assert len(named) > 50
    for file, name in named:
        (path,) = TESTS.rglob(file)
        assert re.search(rf"^(async )?def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE), name
