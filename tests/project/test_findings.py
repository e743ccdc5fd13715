"""The tests that `tests/findings.md` names exist."""

import re

import pytest

from tests.support.shop_server import ROOT

FINDINGS = (ROOT / "tests" / "findings.md").read_text()
NAMED = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(test_\w+))?`", FINDINGS)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_named_test_exists(file: str, test: str) -> None:
    code = (ROOT / file).read_text()
    name = re.escape(f"{test}(") if test else "test_"
    assert re.search(rf"^ *(?:async )?def {name}", code, re.MULTILINE)


def test_every_finding_has_a_test() -> None:
    rows = re.findall(r"^\| ([A-Z]\d+[a-z]?) \|.*`tests/", FINDINGS, re.MULTILINE)
    numbered = [
        *(f"C{n}" for n in range(1, 16)),
        *(f"H{n}" for n in range(1, 12)),
        *(f"B{n}" for n in range(1, 13)),
    ]
    assert set(numbered) | {"C12b", "C12c", "H7b", "B6b", "B6c", "B12b"} == set(rows)
