"""The history checker accepts linearizable histories and reports all others."""

from typing import Any

import pytest

from tests.support.history import check
from tests.support.sequential_model import DEFAULTS, TOMBSTONE_LIFETIME, Act, Call

LIGHT, DARK = tuple(DEFAULTS.values()), ("en", "dark", 20)


def call(
    times: tuple[float, float], act: Act, *args: int | str, sent: str | None = "a", **fields: Any
) -> Call:
    return Call(act, sent, *times, args=args, **{"status": 200, **fields})


def first(*, sent: str | None = None, received: str = "a") -> Call:
    """Return the call that creates a session with one item of product 1."""
    return call((0, 1), "add", 1, 1, sent=sent, received=received, shown=((1, 1),))


def kinds(*calls: Call) -> list[str]:
    return [violation.kind for violation in check(calls)]


def test_sequential_calls_are_accepted() -> None:
    assert not kinds(
        first(),
        call((2, 3), "add", 2, 3, shown=((1, 1), (2, 3))),
        call((4, 5), "set", 1, 4, shown=((1, 4), (2, 3))),
        call((6, 7), "remove", 2, shown=((1, 4),)),
        call((8, 9), "set", 2, 1, status=404),
        call((10, 11), "visit", shown=1),
        call((12, 13), "visit", shown=2),
        call((14, 15), "prefer", *DARK, shown=DARK),
        call((16, 17), "forget", "theme"),
        call((18, 19), "preferences", shown=LIGHT),
        call((20, 21), "empty", shown=()),
        call((22, 23), "cart", shown=()),
    )


# -- lost, doubled, false 404 -------------------------------------------------------------------------------


def test_lost_write_is_detected() -> None:
    lost = call((4, 5), "cart", shown=((1, 1),))
    assert kinds(first(), call((2, 3), "add", 1, 2, shown=((1, 3),)), lost) == ["lost"]


def test_overwritten_write_is_detected() -> None:
    both = (
        call((2, 5), "add", 2, 1, shown=((1, 1), (2, 1))),
        call((2, 5), "add", 3, 1, shown=((1, 1), (3, 1))),
    )
    assert kinds(first(), *both) == ["lost"]
    in_order = call((2, 5), "add", 3, 1, shown=((1, 1), (2, 1), (3, 1)))
    assert not kinds(first(), both[0], in_order)


def test_doubled_add_is_detected() -> None:
    add = call((2, 3), "add", 1, 1, shown=((1, 2),))
    assert kinds(first(), add, call((4, 5), "cart", shown=((1, 3),))) == ["doubled"]
    assert kinds(first(), call((2, 3), "add", 1, 1, shown=((1, 3),))) == ["doubled"]


@pytest.mark.parametrize("act", ["set", "remove"])
def test_false_404_is_detected(act: Act) -> None:
    assert kinds(first(), call((2, 3), act, 1, 1, status=404)) == ["false 404"]
    removal = call((2.5, 9), "remove", 1, shown=())
    assert not kinds(first(), call((2, 3), act, 1, 1, status=404), removal)


def test_lost_preference_is_detected() -> None:
    dark = call((2, 3), "prefer", *DARK, shown=DARK)
    assert kinds(first(), dark, call((4, 5), "preferences", shown=LIGHT)) == ["lost"]
    overlapping = call((2.5, 9), "prefer", *LIGHT, shown=LIGHT)
    assert not kinds(first(), dark, call((4, 5), "preferences", shown=LIGHT), overlapping)


def test_visits_have_each_number_once() -> None:
    assert not kinds(first(), *(call((2, 9), "visit", shown=number) for number in (3, 1, 2)))
    assert kinds(first(), *(call((2, 9), "visit", shown=number) for number in (1, 1))) == ["lost"]
    assert kinds(first(), *(call((2, 9), "visit", shown=number) for number in (1, 3))) == ["doubled"]


# -- order --------------------------------------------------------------------------------------------------


def test_concurrent_calls_may_take_effect_in_any_order() -> None:
    add = call((2, 6), "add", 2, 1, shown=((1, 1), (2, 1)))
    before, after = call((3, 5), "cart", shown=((1, 1),)), call((3, 5), "cart", shown=((1, 1), (2, 1)))
    assert not kinds(first(), add, before)
    assert not kinds(first(), add, after)
    assert not kinds(first(), add, after, call((3, 4), "cart", shown=((1, 1),)))


def test_observed_effect_cannot_disappear() -> None:
    add = call((2, 9), "add", 2, 1, shown=((1, 1), (2, 1)))
    seen, unseen = call((3, 4), "cart", shown=((1, 1), (2, 1))), call((5, 6), "cart", shown=((1, 1),))
    assert kinds(first(), add, seen, unseen) == ["lost"]


@pytest.mark.parametrize("shown", [((1, 1),), ((1, 1), (2, 1))])
def test_a_call_without_a_response_may_take_effect_or_not(shown: object) -> None:
    unknown = Call("add", "a", 2, args=(2, 1))
    assert not kinds(first(), unknown, call((4, 5), "cart", shown=shown))
    assert not kinds(
        first(), unknown, call((4, 5), "cart", shown=((1, 1),)), call((8, 9), "cart", shown=shown)
    )


def test_a_call_without_a_response_takes_effect_only_once() -> None:
    unknown = Call("add", "a", 2, args=(2, 1))
    assert kinds(first(), unknown, call((4, 5), "cart", shown=((1, 1), (2, 2)))) == ["doubled"]


# -- rotation and end ---------------------------------------------------------------------------------------


def log_in(times: tuple[float, float], **fields: Any) -> Call:
    return call(times, "log in", **{"received": "b", **fields})


def test_login_keeps_the_cart_under_a_new_id() -> None:
    assert not kinds(
        first(),
        log_in((2, 3)),
        call((4, 5), "cart", sent="b", shown=((1, 1),)),
        call((4, 5), "cart", shown=()),
        call((6, 7), "add", 1, 1, status=409),
        call((8, 9), "add", 1, 1, sent="b", shown=((1, 2),)),
    )
    assert kinds(first(), log_in((2, 3)), call((4, 5), "cart", sent="b", shown=())) == ["lost"]


@pytest.mark.parametrize(
    "end",
    [
        call((2, 3), "log out", received=""),
        call((2, 3), "clear", received="b"),
        log_in((2, 3)),
    ],
    ids=lambda end: end.act,
)
def test_revived_session_is_detected(end: Call) -> None:
    assert not kinds(first(), end, call((4, 5), "cart", shown=()))
    assert kinds(first(), end, call((4, 5), "cart", shown=((1, 1),))) == ["revived"]
    assert kinds(first(), end, call((4, 5), "add", 2, 1, shown=((1, 1), (2, 1)))) == ["revived"]
    assert kinds(first(), end, call((4, 5), "prefer", *DARK, shown=DARK)) == ["revived"]
    assert not kinds(first(), end, call((2.5, 5), "cart", shown=((1, 1),)))


def test_a_session_is_reported_once() -> None:
    again = [call((time, time + 1), "cart", shown=((1, 1),)) for time in (4, 6, 8)]
    assert kinds(first(), call((2, 3), "log out", received=""), *again) == ["revived"]


def test_session_ended_by_another_device_stays_ended() -> None:
    device = call((0, 1), "log in", sent=None, received="d")
    calls = first(), log_in((2, 3)), device, call((4, 5), "end", "b", sent="d")
    assert not kinds(*calls, call((6, 7), "cart", sent="b", shown=()))
    assert kinds(*calls, call((6, 7), "cart", sent="b", shown=((1, 1),))) == ["revived"]


def test_ending_reaches_the_successor_of_a_concurrent_rotation() -> None:
    device = call((0, 1), "log in", sent=None, received="d")
    rotation, end = log_in((4, 7), sent="b", received="c"), call((5, 8), "end", "b", sent="d")
    calls = first(), log_in((2, 3)), device, rotation, end
    assert not kinds(*calls, call((9, 10), "cart", sent="c", shown=()))
    assert kinds(*calls, call((9, 10), "cart", sent="c", shown=((1, 1),))) == ["revived"]
    refused = first(), log_in((2, 3)), device, rotation, call((5, 8), "end", "b", sent="d", status=404)
    assert not kinds(*refused, call((9, 10), "cart", sent="c", shown=((1, 1),)))


def test_409_needs_a_rotation_or_an_end() -> None:
    refused = call((2, 5), "add", 2, 1, status=409)
    assert kinds(first(), refused) == ["false 409"]
    assert kinds(first(), refused, log_in((6, 7))) == ["false 409"]
    assert not kinds(first(), refused, log_in((4, 7)))
    assert not kinds(first(), refused, call((4, 7), "log out", received=""))


def test_a_late_response_sets_no_cookie() -> None:
    late = call((2, 5), "add", 2, 1, shown=((2, 1),), received="c")
    assert kinds(first(), log_in((3, 4)), late) == ["false cookie"]
    assert not kinds(first(), call((3, 4), "log out", received=""), late)  # possibly after the end
    assert kinds(first(), call((2, 3), "cart", shown=((1, 1),), received="")) == ["false cookie"]


def test_a_tombstone_lasts_a_minute() -> None:
    late = call((4, 4 + TOMBSTONE_LIFETIME), "add", 2, 1, shown=((2, 1),), received="c")
    assert not kinds(first(), log_in((2, 3)), late)


@pytest.mark.parametrize(
    ("act", "args", "fields"),
    [
        ("empty", (), {"shown": ()}),
        ("forget", ("theme",), {}),
        ("set", (1, 2), {"status": 404}),
        ("remove", (1,), {"status": 404}),
    ],
)
def test_write_with_an_empty_tombstone_creates_no_session(
    act: Act, args: tuple[int | str, ...], fields: dict[str, Any]
) -> None:
    late = call((4, 5), act, *args, **fields)
    assert kinds(first(), log_in((2, 3)), late)
    assert not kinds(first(), log_in((2, 3)), call((4, 5), act, *args, status=409))
    assert not kinds(first(), call((2, 3), "log out", received=""), late)  # an unknown ID
    assert not kinds(first(), log_in((2, 3)), call((4, 4 + TOMBSTONE_LIFETIME), act, *args, **fields))


def test_login_with_tombstone_takes_over_the_successor() -> None:
    again = log_in((4, 5), received="c")
    calls = first(), log_in((2, 3)), again
    assert not kinds(*calls, call((6, 7), "cart", sent="c", shown=((1, 1),)))
    assert kinds(*calls, call((6, 7), "cart", sent="c", shown=())) == ["lost"]
    assert kinds(*calls, call((6, 7), "cart", sent="b", shown=((1, 1),))) == ["revived"]
    assert not kinds(first(), log_in((2, 3)), log_in((4, 5), status=409, received=None))


def test_an_unexpected_status_is_untrue() -> None:
    assert kinds(first(), call((2, 3), "cart", status=500)) == ["untrue"]
    assert kinds(first(), log_in((2, 3), status=401, received=None)) == ["untrue"]


def test_report_shows_overlapping_calls() -> None:
    add = call((2, 3), "add", 1, 2, shown=((1, 3),))
    (violation,) = check(
        [first(), add, call((2.5, 4), "visit", shown=1), call((3.5, 5), "cart", shown=((1, 1),))]
    )
    assert str(violation).splitlines() == [
        "lost: possible were [(200, ((1, 3),))]",
        "  -1.000 to +0.500 a visit (): 200 1",
        "  +0.000 to +1.500 a cart (): 200 ((1, 1),)  <---",
    ]
