"""Python examples of the documentation."""

import re

from tests.support.shop_server import ROOT


def examples(page: str, heading: str) -> list[str]:
    """Return the Python blocks of a section, in order. Raises LookupError for an unknown heading."""
    text = (ROOT / page).read_text()
    section = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise LookupError(f"{page} has no section {heading!r}.")
    return re.findall(r"^```python[^\n]*\n(.*?)^```", section[2], re.MULTILINE | re.DOTALL)
