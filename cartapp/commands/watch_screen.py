"""The layout of `cart sessions watch`: as many rows as a terminal has room for, and always the last lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.text import Text

from .sessions import session_table

if TYPE_CHECKING:
    from cartapp.session import SessionInfo

_TABLE_HEAD: Final = 2  # lines


def fit(
    console: Console,
    header: Sequence[Text],
    sessions: "Sequence[SessionInfo]",
    selected: int | None,
    footer: Text,
) -> Group:
    """Return what fits on the terminal: first the footer, then the selected row, others, and the header."""
    width, height = console.size
    last = footer.wrap(console, width)[:height]
    room = height - len(last)
    first = header[: max(0, room - _TABLE_HEAD - 1)]
    for line in first:
        line.truncate(width, overflow="ellipsis")
    number = min(len(sessions), room - len(first) - _TABLE_HEAD)
    if number <= 0:
        return Group(*first, *last)
    begin = max(0, (selected or 0) - number + 1)
    table = session_table(sessions[begin : begin + number], shorten="USER")
    if selected is not None:
        table.rows[selected - begin].style = "reverse"
    return Group(*first, table, *last)
