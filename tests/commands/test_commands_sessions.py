"""`cart sessions` on the file backend."""

import json
import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from msgspec.structs import replace

from cartapp.commands.purge import duration
from cartapp.session.record import now
from tests.support.commands import (
    HOUR,
    CartCommand,
    make_handle,
    make_session,
    run_cart,
    start_cart,
    store_sessions,
)
from tests.support.polling import DEADLINE, wait_for
from tests.support.stores import files_in
from tests.support.terminal import run_on_terminal

pytestmark = pytest.mark.usefixtures("folder")

FIELDS = ["handle", "user", "created", "last_seen", "expires", "size", "backend"]


@pytest.fixture
def three(folder: Path) -> None:
    """Store three sessions: two of the user ann, one of a guest."""
    store_sessions(
        [
            make_session("first", user="ann", age=9, idle=3, data=b'{"cart":[1,2],"language":"fr"}'),
            make_session("second", age=5, idle=1, data=b'{"visit_count":17}'),
            make_session("third", user="ann", age=1, idle=0.2),
        ]
    )


def handles(cart: CartCommand, *args: str) -> list[str]:
    return [info["handle"].rstrip("A").rstrip("0") for info in cart("sessions", "list", "--json", *args).json]


def lines(cart: CartCommand, *args: str) -> list[dict[str, object]]:
    """Return the objects of `list --limit 0 --json`, one on each line."""
    return [
        json.loads(line)
        for line in cart("sessions", "list", "--json", "--limit", "0", *args).out.splitlines()
    ]


# -- list -------------------------------------------------------------------------------------------------


def test_empty_store(cart: CartCommand) -> None:
    Path("data/sessions").mkdir(0o700, parents=True)
    listed = cart("sessions", "list")
    assert (listed.code, listed.out, listed.err) == (0, "", "No sessions.\n")
    assert cart("sessions", "list", "--json").json == []
    assert cart("sessions", "list", "--json", "--limit", "0").out == ""
    assert cart("sessions", "stats", "--json").json["oldest"] is None
    assert cart("sessions", "purge", "--all", "--yes").out == "No sessions to end.\n"


@pytest.mark.usefixtures("three")
def test_list_json_has_the_fields_of_the_contract(cart: CartCommand) -> None:
    newest = cart("sessions", "list", "--json").json[0]
    assert list(newest) == FIELDS
    assert (newest["handle"], newest["user"], newest["size"]) == (make_handle("third"), "ann", 2)
    assert newest["backend"] == "file"
    times = [datetime.fromisoformat(newest[name]) for name in ("created", "last_seen", "expires")]
    assert times == sorted(times)
    assert all(time.tzinfo is not None for time in times)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], ["third", "second", "first"]),
        (["--sort", "created"], ["third", "second", "first"]),
        (["--sort", "size"], ["first", "second", "third"]),
        (["--sort", "handle"], ["first", "second", "third"]),
        (["--sort", "user", "--limit", "2"], ["first", "third"]),
        (["--limit", "1"], ["third"]),
        (["--user", "ann"], ["third", "first"]),
        (["--idle", "2h"], ["first"]),
        (["--since", "2h"], ["third", "second"]),
        (["--since", "2h", "--idle", "30m", "--user", "ann"], []),
    ],
)
def test_list_sorts_and_selects(args: list[str], expected: list[str], cart: CartCommand) -> None:
    found = handles(cart, *args)
    assert (sorted(found) if "user" in args else found) == expected


@pytest.mark.usefixtures("three")
def test_list_reports_how_many_are_left_out(cart: CartCommand) -> None:
    listed = cart("sessions", "list", "--limit", "1")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["HANDLE", make_handle("third")]
    assert listed.err == "2 more sessions. Use --limit 0 to list all.\n"
    assert cart("sessions", "list", "--limit", "3").err == ""


@pytest.mark.usefixtures("three")
def test_list_without_a_limit_shows_all(cart: CartCommand) -> None:
    names = ("first", "second", "third")
    assert sorted(str(one["handle"]) for one in lines(cart)) == [make_handle(name) for name in names]
    head, *rest = cart("sessions", "list", "--limit", "0").out.splitlines()
    assert head.split("\t") == ["HANDLE", "USER", "CREATED", "LAST SEEN", "EXPIRES", "BYTES", "BACKEND"]
    assert sorted(line.split("\t")[1] for line in rest) == ["-", "ann", "ann"]
    assert len(lines(cart, "--user", "ann")) == 2


def test_list_of_many_sessions(cart: CartCommand) -> None:
    store_sessions(make_session(f"s{number:04}", data=b"x" * (number + 2)) for number in range(1200))
    assert handles(cart, "--sort", "size", "--limit", "3") == ["s1199", "s1198", "s1197"]
    assert len(cart("sessions", "list", "--json").json) == 50
    stats = cart("sessions", "stats", "--json").json
    assert (stats["sessions"], stats["bytes_largest"], stats["bytes_mean"]) == (1200, 1201, 602)


def test_user_data_is_escaped_on_the_terminal(cart: CartCommand) -> None:
    store_sessions([make_session("evil", user="\x1b[2Jann\r\n[bold]", data=rb'{"\u001b[2J":"\u0007"}')])
    for args in (["list"], ["list", "--limit", "0"], ["show", "evil", "--reveal"], ["watch", "--count", "1"]):
        shown = cart("sessions", *args)
        assert shown.code == 0
        assert ("\\u001b[2Jann" if args[0] == "watch" else "\\x1b[2Jann\\r\\n[bold]") in shown.out
        assert not [c for c in shown.out if c != "\n" and c != "\t" and not c.isprintable()]


# -- show -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_show_masks_the_data_unless_revealed(cart: CartCommand) -> None:
    masked = cart("sessions", "show", "fir", "--json").json
    assert list(masked) == [*FIELDS, "data"]
    assert masked["data"] == {"cart": "***", "language": "***"}
    assert cart("sessions", "show", make_handle("first"), "--json", "--reveal").json["data"] == {
        "cart": [1, 2],
        "language": "fr",
    }
    plain = cart("sessions", "show", "first")
    assert "fr" not in plain.out.replace("first", "")
    assert "language" in plain.out
    assert "--reveal" in plain.err
    assert '"fr"' in cart("sessions", "show", "first", "--reveal").out


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("command", [["show"], ["purge", "--yes"]])
def test_handle_must_match_one_session(command: list[str], cart: CartCommand) -> None:
    store_sessions([make_session("firsts")])
    for handle, sentence in (
        ("nosuch", "No session has a handle that begins with 'nosuch'."),
        (make_handle("nosuch"), f"No session has the handle '{make_handle('nosuch')}'."),
        ("../../etc", "No session has a handle that begins with '../../etc'."),
    ):
        refused = cart("sessions", *command, handle)
        assert (refused.code, refused.out, refused.err) == (1, "", sentence + "\n")
    refused = cart("sessions", *command, "first")
    assert (refused.code, refused.out) == (1, "")
    assert make_handle("first") in refused.err
    assert make_handle("firsts") in refused.err
    assert len(handles(cart)) == 4


def test_ambiguous_handle_names_five_candidates(cart: CartCommand) -> None:
    store_sessions(make_session(f"same{number}") for number in range(9))
    refused = cart("sessions", "show", "same")
    assert refused.err.count("same") == 1 + 5
    assert refused.err.endswith(" and others.\n")


def test_a_handle_may_begin_with_dashes(cart: CartCommand) -> None:
    store_sessions([make_session("-j"), make_session("--json")])
    assert cart("sessions", "show", make_handle("-j"), "--json").json["handle"] == make_handle("-j")
    assert cart("sessions", "show", "-j", "--json").json["handle"] == make_handle("-j")
    assert cart("sessions", "show", make_handle("--json"), "--json").json["handle"] == make_handle("--json")
    assert cart("sessions", "purge", make_handle("--json"), "-j", "--yes").out == "Ended 2 sessions.\n"


@pytest.mark.parametrize(
    "args",
    [["show", "--jsn"], ["show"], ["show", "a", "b"], ["purge", "--dryrun"], ["purge", "--al", "--yes"]],
)
def test_mistyped_options_are_status_2(args: list[str], cart: CartCommand) -> None:
    wrong = cart("sessions", *args)
    assert (wrong.code, wrong.out) == (2, "")


# -- stats ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_stats(cart: CartCommand) -> None:
    stats = cart("sessions", "stats", "--json").json
    counts = {name: value for name, value in stats.items() if isinstance(value, int)}
    assert counts == {
        "sessions": 3,
        "users": 1,
        "guests": 1,
        "bytes_total": 50,
        "bytes_mean": 17,
        "bytes_largest": 30,
    }
    ages = {
        name: round((datetime.now(UTC) - datetime.fromisoformat(stats[name])).total_seconds() / 3600, 1)
        for name in ("oldest", "newest", "longest_idle", "last_used")
    }
    assert ages == {"oldest": 9, "newest": 1, "longest_idle": 3, "last_used": 0.2}
    assert "bytes total    50" in cart("sessions", "stats").out


# -- purge ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("selector", "left"),
    [
        (["--all"], []),
        (["--user", "ann"], ["second"]),
        (["--idle", "2h"], ["third", "second"]),
        (["--idle", "50m"], ["third"]),
        (["sec", "third"], ["first"]),
        (["sec", "seco", make_handle("second")], ["third", "first"]),
    ],
)
def test_purge_ends_the_selected_sessions(selector: list[str], left: list[str], cart: CartCommand) -> None:
    ended = 3 - len(left)
    words = f"{ended} session" if ended == 1 else f"{ended} sessions"
    dry = cart("sessions", "purge", *selector, "--dry-run")
    assert (dry.code, dry.out) == (0, f"Would end {words}.\n")
    unasked = cart("sessions", "purge", *selector)
    assert (unasked.code, unasked.out) == (1, "")
    assert "--yes" in unasked.err
    assert len(handles(cart)) == 3
    done = cart("sessions", "purge", *selector, "--yes")
    assert (done.code, done.out, done.err) == (0, f"Ended {words}.\n", "")
    assert handles(cart) == left


def test_purge_idle_allows_for_the_keep_alive_step(cart: CartCommand) -> None:
    """With a TTL of an hour, the stored last use may be six minutes old."""
    store_sessions([make_session("live", idle=65 / 60), make_session("idle", idle=67 / 60)])
    assert cart("sessions", "purge", "--idle", "1h", "--yes").out == "Ended 1 session.\n"
    assert handles(cart) == ["live"]


@pytest.mark.usefixtures("three")
def test_purge_expired_does_not_ask(cart: CartCommand) -> None:
    store_sessions([replace(make_session("old", age=9, idle=8), expires=now() - HOUR)])
    assert cart("sessions", "purge", "--expired").out == "Removed 1 expired session.\n"
    assert cart("sessions", "purge", "--expired").out == "Removed 0 expired sessions.\n"
    assert len(handles(cart)) == 3


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--yes"],
        ["--all", "--expired"],
        ["--user", "ann", "first"],
        ["--idle", "1d", "--all"],
        ["--idle", "7"],
        ["--idle", "-1d"],
        ["--idle", "x"],
    ],
)
def test_purge_requires_exactly_one_selector(args: list[str], cart: CartCommand) -> None:
    wrong = cart("sessions", "purge", *args)
    assert (wrong.code, wrong.out) == (2, "")
    assert len(handles(cart)) == 3


@pytest.mark.usefixtures("three")
def test_purge_asks_on_a_terminal(cart: CartCommand) -> None:
    code, shown = run_on_terminal("sessions", "purge", "--user", "ann", typed="n\n")
    assert code == 1
    assert "End 2 sessions of user ann? [y/N]" in shown
    assert len(handles(cart)) == 3
    code, shown = run_on_terminal("sessions", "purge", "--user", "ann", typed="y\n")
    assert (code, "Ended 2 sessions." in shown) == (0, True)
    assert handles(cart) == ["second"]


def test_purge_limits_its_rate(cart: CartCommand) -> None:
    store_sessions(make_session(f"{number:03}") for number in range(60))
    began = monotonic()
    assert cart("sessions", "purge", "--all", "--yes", "--limit-rate", "100").out == "Ended 60 sessions.\n"
    assert monotonic() - began >= 0.6


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_interrupted_purge_reports_its_progress(number: signal.Signals, status: int) -> None:
    store_sessions(make_session(f"{number:05}") for number in range(500))
    with start_cart("sessions", "purge", "--all", "--yes", "--limit-rate", "100") as running:
        wait_for(lambda: len(files_in(Path("data/sessions"))) < 480)
        running.send_signal(number)
        out, err = running.communicate(timeout=DEADLINE)
    assert (running.returncode, out) == (status, "")
    matched = re.fullmatch(r"Stopped after (\d+) sessions\. Repeat the command to continue\.\n", err)
    assert matched is not None
    left = len(files_in(Path("data/sessions")))
    assert 500 - left - int(matched[1]) in range(21)  # a batch that had not been counted yet
    (line,) = Path("data/audit.log").read_text().splitlines()
    assert json.loads(line)["completed"] is False
    assert run_cart("sessions", "purge", "--all", "--yes").out == f"Ended {left} sessions.\n"


@pytest.mark.usefixtures("three")
def test_purge_is_recorded_in_the_audit_log(cart: CartCommand) -> None:
    cart("sessions", "purge", "--all", "--dry-run")
    cart("sessions", "purge", "--idle", "2h", "--yes")
    cart("sessions", "purge", "--expired")
    log = Path("data/audit.log")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["command"], one["selected"], one["ended"]) for one in entries] == [
        ("sessions purge", "idle for 2:00:00", 1),
        ("sessions purge", "expired", 0),
    ]
    assert all(one["operator"] and one["host"] and one["time"] for one in entries)
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("three")
def test_the_audit_log_has_the_whole_handles(cart: CartCommand) -> None:
    cart("sessions", "purge", "first", "thi", "--yes")
    (line,) = Path("data/audit.log").read_text().splitlines()
    assert json.loads(line)["selected"] == f"{make_handle('first')} {make_handle('third')}"


@pytest.mark.usefixtures("three")
def test_an_unwritable_audit_log_does_not_hide_the_line(
    cart: CartCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CART_AUDIT_LOG", "data")
    done = cart("sessions", "purge", "--all", "--yes")
    assert (done.code, done.out) == (0, "Ended 3 sessions.\n")
    assert done.err.startswith("CART_AUDIT_LOG: cannot write data (Is a directory). The line was: {")


@pytest.mark.usefixtures("three")
def test_a_pipe_without_a_reader_as_audit_log_is_reported(
    cart: CartCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo("pipe")
    monkeypatch.setenv("CART_AUDIT_LOG", "pipe")
    done = cart("sessions", "purge", "--all", "--yes")
    assert (done.code, done.out) == (0, "Ended 3 sessions.\n")
    assert done.err.startswith("CART_AUDIT_LOG: cannot write pipe (No such device or address).")


def test_purge_of_an_unknown_user_fails(cart: CartCommand) -> None:
    store_sessions([make_session("first")])
    failed = cart("sessions", "purge", "--user", "0" * 32, "--yes")
    assert (failed.code, failed.out, failed.err.count("\n")) == (1, "", 1)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "command", [["list"], ["list", "--limit", "0"], ["list", "--json"], ["watch", "--count", "1"]]
)
def test_an_unknown_user_fails(command: list[str], cart: CartCommand) -> None:
    failed = cart("sessions", *command, "--user", "x y")
    assert (failed.code, failed.err) == (1, "There is no user x y, and no session of one.\n")
    assert "handle" not in failed.out


@pytest.mark.usefixtures("three")
def test_a_user_without_selected_sessions_is_known(cart: CartCommand) -> None:
    listed = cart("sessions", "list", "--user", "ann", "--idle", "9h")
    assert (listed.code, listed.out, listed.err) == (0, "", "No sessions.\n")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("command", "number"),
    [(["list", "--since"], 4), (["list", "--idle"], 0), (["purge", "--yes", "--idle"], 1)],
)
def test_a_duration_may_exceed_the_calendar(command: list[str], number: int, cart: CartCommand) -> None:
    done = cart("sessions", *command, "999999w")
    assert (done.code, len(done.out.splitlines())) == (0, number)
    assert len(handles(cart)) == 3


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("2w", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text).total_seconds() == seconds


# -- other stores -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["list"], ["show", "x"], ["stats"], ["purge", "--all", "--yes"]])
def test_memory_sessions_are_invisible_to_commands(args: list[str], cart: CartCommand) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=memory\n")
    refused = cart("sessions", *args)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith("CART_SESSION_BACKEND: the sessions of the memory backend")


def test_purge_expired_dry_run_removes_nothing(cart: CartCommand) -> None:
    store_sessions([make_session("live"), replace(make_session("old"), expires=1)])
    dead = [path for path in Path("data/sessions").rglob("*") if path.is_file()]
    said = cart("sessions", "purge", "--expired", "--dry-run")
    assert (said.code, said.out) == (0, "Would remove 1 expired session.\n")
    assert [path for path in Path("data/sessions").rglob("*") if path.is_file()] == dead
    assert cart("sessions", "purge", "--expired").out == "Removed 1 expired session.\n"
