"""`cart sessions`, on real files: what it lists, shows and ends."""

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.commands.purge import duration
from cartapp.session.record import now

from .commands import HOUR, Cart, key, on_terminal, process, session, store

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def three(folder: Path) -> None:
    """Three sessions: two of ann's, one of a guest."""
    store(
        [
            session("first", user="ann", age=9, idle=3, data=b'{"cart":[1,2],"language":"fr"}'),
            session("second", age=5, idle=1, data=b'{"visit_count":17}'),
            session("third", user="ann", age=1, idle=0.2),
        ]
    )


def handles(cart: Cart, *args: str) -> list[str]:
    return [info["handle"].rstrip("A").rstrip("0") for info in cart("sessions", "list", "--json", *args).json]


# -- list -------------------------------------------------------------------------------------------------


def test_no_session(cart: Cart) -> None:
    Path("data/sessions").mkdir(0o700, parents=True)
    listed = cart("sessions", "list")
    assert (listed.code, listed.out, listed.err) == (0, "", "There is no session.\n")
    assert cart("sessions", "list", "--json").json == []
    assert cart("sessions", "list", "--json", "--limit", "0").json == []
    assert cart("sessions", "stats", "--json").json["oldest"] is None
    assert cart("sessions", "purge", "--all", "--yes").out == "There is no session to end.\n"


@pytest.mark.usefixtures("three")
def test_list_as_json_has_the_fields_of_the_contract(cart: Cart) -> None:
    newest = cart("sessions", "list", "--json").json[0]
    assert list(newest) == ["handle", "user", "created", "last_seen", "expires", "size"]
    assert (newest["handle"], newest["user"], newest["size"]) == (key("third"), "ann", 2)
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
        (["--user", "nobody"], []),
    ],
)
def test_list_sorts_and_selects(args: list[str], expected: list[str], cart: Cart) -> None:
    found = handles(cart, *args)
    assert (sorted(found) if "user" in args else found) == expected


@pytest.mark.usefixtures("three")
def test_list_says_how_many_are_left_out(cart: Cart) -> None:
    listed = cart("sessions", "list", "--limit", "1")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["HANDLE", key("third")]
    assert listed.err == "2 more are not shown; --limit 0 shows all.\n"
    assert cart("sessions", "list", "--limit", "3").err == ""


@pytest.mark.usefixtures("three")
def test_list_without_a_limit_shows_all(cart: Cart) -> None:
    assert sorted(handles(cart, "--limit", "0")) == ["first", "second", "third"]
    lines = cart("sessions", "list", "--limit", "0", "--user", "ann").out.splitlines()
    assert sorted(line.split("\t")[0] for line in lines) == [key("first"), key("third")]


def test_the_first_of_many(cart: Cart) -> None:
    store(session(f"s{number:04}", data=b"x" * (number + 2)) for number in range(1200))
    assert handles(cart, "--sort", "size", "--limit", "3") == ["s1199", "s1198", "s1197"]
    assert len(cart("sessions", "list", "--json").json) == 50
    stats = cart("sessions", "stats", "--json").json
    assert (stats["sessions"], stats["bytes_largest"], stats["bytes_mean"]) == (1200, 1201, 602)


def test_names_cannot_steer_the_terminal(cart: Cart) -> None:
    store([session("evil", user="\x1b[2Jann\r\n[bold]", data=rb'{"\u001b[2J":"\u0007"}')])
    for args in (["list"], ["list", "--limit", "0"], ["show", "evil", "--reveal"], ["watch", "--count", "1"]):
        shown = cart("sessions", *args)
        assert shown.code == 0
        assert "\\x1b[2Jann\\r\\n[bold]" in shown.out
        assert not [c for c in shown.out if c != "\n" and c != "\t" and not c.isprintable()]


# -- show -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_show_masks_the_data_unless_it_is_to_be_revealed(cart: Cart) -> None:
    masked = cart("sessions", "show", "fir", "--json").json
    assert list(masked) == ["handle", "user", "created", "last_seen", "expires", "size", "data"]
    assert masked["data"] == {"cart": "***", "language": "***"}
    assert cart("sessions", "show", key("first"), "--json", "--reveal").json["data"] == {
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
def test_a_handle_must_be_one_sessions(command: list[str], cart: Cart) -> None:
    store([session("firsts")])
    for handle, sentence in (
        ("nosuch", "No session's handle begins with 'nosuch'."),
        (key("nosuch"), f"No session has the handle '{key('nosuch')}'."),
        ("../../etc", "No session's handle begins with '../../etc'."),
    ):
        refused = cart("sessions", *command, handle)
        assert (refused.code, refused.out, refused.err) == (1, "", sentence + "\n")
    refused = cart("sessions", *command, "first")
    assert (refused.code, refused.out) == (1, "")
    assert key("first") in refused.err
    assert key("firsts") in refused.err
    assert len(handles(cart)) == 4


def test_many_candidates_are_not_all_named(cart: Cart) -> None:
    store(session(f"same{number}") for number in range(9))
    refused = cart("sessions", "show", "same")
    assert refused.err.count("same") == 1 + 5
    assert refused.err.endswith(" and others.\n")


def test_a_handle_may_begin_with_dashes(cart: Cart) -> None:
    store([session("-j"), session("--json")])
    assert cart("sessions", "show", key("-j"), "--json").json["handle"] == key("-j")
    assert cart("sessions", "show", "-j", "--json").json["handle"] == key("-j")
    assert cart("sessions", "show", key("--json"), "--json").json["handle"] == key("--json")
    assert cart("sessions", "purge", key("--json"), "-j", "--yes").out == "2 sessions ended.\n"


@pytest.mark.parametrize(
    "args",
    [["show", "--jsn"], ["show"], ["show", "a", "b"], ["purge", "--dryrun"], ["purge", "--al", "--yes"]],
)
def test_mistyped_options_are_wrong_usage(args: list[str], cart: Cart) -> None:
    wrong = cart("sessions", *args)
    assert (wrong.code, wrong.out) == (2, "")


# -- stats and watch --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_stats(cart: Cart) -> None:
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


@pytest.mark.usefixtures("three")
def test_watch_looks_again_and_again(cart: Cart) -> None:
    watched = cart("sessions", "watch", "--count", "2", "--every", "0.1", "--limit", "1")
    assert watched.code == 0
    assert watched.out.count(key("third")) == 2
    assert watched.out.count("3 sessions") == 2


@pytest.mark.usefixtures("three")
def test_watch_shows_what_changed_and_ends_with_an_interrupt() -> None:
    with process("sessions", "watch", "--json", "--every", "0.1", "--user", "ann") as running:
        assert running.stdout is not None
        assert running.stdout.readline().count("handle") == 2
        store([session("fourth", user="ann")])
        for _ in range(100):
            if running.stdout.readline().count("handle") == 3:
                break
        else:
            pytest.fail("the new session never appeared")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert (running.returncode, err) == (0, "")


@pytest.mark.usefixtures("three")
def test_watch_on_a_terminal() -> None:
    code, shown = on_terminal("sessions", "watch", "--count", "2", "--every", "0.1")
    assert code == 0
    assert shown.count("3 sessions") >= 2
    assert "12 min ago" in shown


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
        (["sec", "seco", key("second")], ["third", "first"]),
    ],
)
def test_purge_ends_what_was_chosen(selector: list[str], left: list[str], cart: Cart) -> None:
    ended = 3 - len(left)
    words = f"{ended} session" if ended == 1 else f"{ended} sessions"
    dry = cart("sessions", "purge", *selector, "--dry-run")
    assert (dry.code, dry.out) == (0, f"{words} would be ended.\n")
    unasked = cart("sessions", "purge", *selector)
    assert (unasked.code, unasked.out) == (1, "")
    assert "--yes" in unasked.err
    assert len(handles(cart)) == 3
    done = cart("sessions", "purge", *selector, "--yes")
    assert (done.code, done.out, done.err) == (0, f"{words} ended.\n", "")
    assert handles(cart) == left


def test_the_keep_alives_step_counts_as_use(cart: Cart) -> None:
    """With a TTL of an hour, a use up to six minutes after the stored one may not be stored."""
    store([session("live", idle=65 / 60), session("idle", idle=67 / 60)])
    assert cart("sessions", "purge", "--idle", "1h", "--yes").out == "1 session ended.\n"
    assert handles(cart) == ["live"]


@pytest.mark.usefixtures("three")
def test_purging_what_has_expired_asks_nothing(cart: Cart) -> None:
    store([replace(session("old", age=9, idle=8), expires=now() - HOUR)])
    assert cart("sessions", "purge", "--expired").out == "1 session had expired and was removed.\n"
    assert cart("sessions", "purge", "--expired").out == "0 sessions had expired and were removed.\n"
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
def test_purge_wants_exactly_one_selector(args: list[str], cart: Cart) -> None:
    wrong = cart("sessions", "purge", *args)
    assert (wrong.code, wrong.out) == (2, "")
    assert len(handles(cart)) == 3


@pytest.mark.usefixtures("three")
def test_purge_asks_on_a_terminal(cart: Cart) -> None:
    code, shown = on_terminal("sessions", "purge", "--user", "ann", answer="n\n")
    assert code == 1
    assert "End 2 sessions of the user ann? [y/N]" in shown
    assert len(handles(cart)) == 3
    code, shown = on_terminal("sessions", "purge", "--user", "ann", answer="y\n")
    assert (code, "2 sessions ended." in shown) == (0, True)
    assert handles(cart) == ["second"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("2w", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text).total_seconds() == seconds


# -- other stores -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["list"], ["show", "x"], ["stats"], ["purge", "--all", "--yes"]])
def test_sessions_in_the_servers_memory_cannot_be_seen(args: list[str], cart: Cart) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=memory\n")
    refused = cart("sessions", *args)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith("CART_SESSION_BACKEND is memory")


def test_a_dry_run_of_expired_counts_and_removes_nothing(cart: Cart) -> None:
    store([session("live"), replace(session("old"), expires=1)])
    dead = [path for path in Path("data/sessions").rglob("*") if path.is_file()]
    said = cart("sessions", "purge", "--expired", "--dry-run")
    assert (said.code, said.out) == (0, "1 session would be removed.\n")
    assert [path for path in Path("data/sessions").rglob("*") if path.is_file()] == dead
    assert cart("sessions", "purge", "--expired").out.startswith("1 session")
