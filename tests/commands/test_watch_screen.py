"""The view of `cart sessions watch` on small terminals, during an outage, and ended by a signal."""

import json
import signal
from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from cartapp.commands.watch_screen import fit
from cartapp.session.admin.sessions import info_from
from cartapp.session.record import summarize
from tests.support.commands import make_handle, make_session, start_cart, store_sessions
from tests.support.servers.redis import redis_binary, running
from tests.support.terminal import start_on_terminal

pytestmark = pytest.mark.usefixtures("folder")

WATCH = ("sessions", "watch", "--every")
USER = "a-long-name-of-a-user@a-long-name-of-a-host.example"


def test_a_standard_terminal_shows_the_question_and_the_selected_row() -> None:
    store_sessions(make_session(f"s{one:02}", user=USER, idle=one / 100) for one in range(30))
    with start_on_terminal(*WATCH, "60", "--sort", "handle", COLUMNS="80", LINES="24") as terminal:
        terminal.wait_for("q quit")
        terminal.press("\x1b[B" * 19)
        terminal.wait_for(make_handle("s19"), "q quit")
        terminal.press("x")
        terminal.wait_for(f"End {make_handle('s19')}? y/n")
        terminal.press("n")
        terminal.wait_for("q quit")
        terminal.press("fs2")
        terminal.wait_for("then Enter: s2")
        terminal.press("\nq")
        assert terminal.finish()[0] == 0


@pytest.mark.parametrize("width", [30, 80, 200])
@pytest.mark.parametrize("height", range(1, 30, 4))
@pytest.mark.parametrize("selected", [0, 7, 19])
def test_each_terminal_shows_the_last_line_and_if_possible_the_selected_row(
    width: int, height: int, selected: int
) -> None:
    sessions = [info_from(summarize(make_session(f"s{one:02}", user=USER))) for one in range(20)]
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True)
    header = [Text("20 sessions on file " * 5), Text("new 1.0/s " * 10)]
    shown = fit(console, header, sessions, selected, Text("End s00? y/n"))
    lines = ["".join(segment.text for segment in line) for line in console.render_lines(shown, pad=False)]
    assert len(lines) <= height
    assert "y/n" in lines[-1]
    if height >= 5:
        assert any(f"s{selected:02}" in line for line in lines[:-1])
    assert len(lines) >= min(height, 24) - 1  # without a terminal the table has no line below its head


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_restores_the_terminal(number: signal.Signals, status: int) -> None:
    store_sessions([make_session("first")])
    with start_on_terminal(*WATCH, "60", COLUMNS="80", LINES="24") as terminal:
        terminal.wait_for("q quit")
        assert not terminal.has_echo()
        terminal.process.send_signal(number)
        code, shown = terminal.finish()
        assert code == status
        assert terminal.has_echo()
        assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is visible again


def test_an_outage_is_a_field_of_a_line() -> None:
    with running(redis_binary()) as redis, start_cart(*WATCH, "0.1", CART_SESSION_URL=redis.url) as watch:
        assert watch.stdout is not None
        assert "error" not in json.loads(watch.stdout.readline())
        redis.server.pause()
        while "error" not in (frame := json.loads(watch.stdout.readline())):
            pass
        assert set(frame) == {"time", "backend", "error"}
        redis.server.resume()
        while "error" in (frame := json.loads(watch.stdout.readline())):
            pass
        assert frame["sessions"] == 0


def test_an_outage_is_shown_on_a_terminal() -> None:
    with (
        running(redis_binary()) as redis,
        start_on_terminal(*WATCH, "0.1", CART_SESSION_URL=redis.url, COLUMNS="80", LINES="24") as terminal,
    ):
        terminal.wait_for("0 sessions on redis")
        redis.server.pause()
        terminal.wait_for("did not respond")
        redis.server.resume()
        terminal.press("s")
        terminal.wait_for("sorted by created")
        terminal.press("q")
        assert terminal.finish()[0] == 0
