"""The scenarios of `make test` and of `make soak`, those with fewer requests first."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations_with_replacement, product

from tests.session.explorer.requests import END, KINDS
from tests.session.explorer.scenario import STARTS, Scenario, scenario

Texts = tuple[str, ...]

AFTER_ROTATION = ("rotated", "logged_in")
"""The starts with an old cookie."""

MOVES = ("modify", "rotate", "log_in", "destroy", END)
"""A plain change, and the kinds that rotate or end the session."""

TRIPLES: tuple[Texts, ...] = (
    ("modify@1", "set_dark@2", "set_light@1"),
    ("set_dark@1", "modify@2", "update@1"),
    ("modify@1", "delete@2", "set_light@1"),
    ("set_dark@1", "clear@2", "update@1"),
    ("modify@1", "modify@1", "modify@2"),
    ("take_flash@1", "take_flash@1", "take_flash@2"),
    ("modify@1", "modify@1", "rotate@2"),
    ("modify@1", "modify@1", "log_in@2"),
    ("modify@1", "rotate@2", END),
    ("modify@1", "log_in@2", "destroy@1"),
    ("rotate@1", "rotate@2", END),
    ("rotate@1", "log_in@2", "destroy@2"),
    ("log_in@1", "log_in_bob@1", "destroy@2"),
    ("log_in@1", "destroy@2", END),
)
"""Some groups of three: records passed between requests of a process, and ends during rotations."""


def placed(kinds: Iterable[str], size: int) -> Iterator[Texts]:
    """Return every choice of this many kinds, in one process and, in every distinct way, in two."""
    for group in combinations_with_replacement(kinds, size):
        seen = set()
        for others in product("12", repeat=size - 1):
            texts = tuple(map(_at, group, ("1", *others)))
            processes = frozenset(tuple(sorted(_kinds_at(texts, process))) for process in "12")
            if processes not in seen:
                seen.add(processes)
                yield texts


def _at(kind: str, process: str) -> str:
    return kind if kind.startswith(END) else f"{kind}@{process}"


def _kinds_at(texts: Texts, process: str) -> list[str]:
    return [text for text in (text.removesuffix(f"@{process}") for text in texts) if "@" not in text]


def with_old_cookie(kinds: Iterable[str], size: int) -> Iterator[Texts]:
    """Return the same with old and current cookies, but never all with the current one."""
    both = [f"{kind}{age}" for age in (".old", "") for kind in kinds]
    return (texts for texts in placed(both, size) if any(".old" in text for text in texts))


def quick() -> Iterator[Scenario]:
    """A part of about ten seconds on one core."""
    yield from (scenario(kind, faults=1, cancels=1) for kind in KINDS)
    yield from (scenario(*texts) for texts in placed(KINDS, 2))
    yield from (scenario(*texts, start="idle") for texts in placed(("read", *MOVES), 2))
    for start in AFTER_ROTATION:
        yield from (scenario(*texts, start=start) for texts in with_old_cookie(KINDS, 1))
        groups = with_old_cookie(("modify", "clear", "log_in", "destroy"), 2)
        yield from (scenario(*texts, start=start) for texts in groups)
    yield from (scenario(*texts, faults=1) for texts in placed(MOVES, 2))
    yield from (scenario(*texts, cancels=1) for texts in placed(MOVES, 2))
    yield from (scenario(*texts) for texts in TRIPLES)


def _singles() -> Iterator[Scenario]:
    for start, kind in product(STARTS, KINDS):
        yield scenario(kind, start=start, faults=1, cancels=1, late=True)


def _pairs() -> Iterator[Scenario]:
    for start in STARTS:
        yield from (scenario(*texts, start=start) for texts in placed(KINDS, 2))
    for start in AFTER_ROTATION:
        yield from (scenario(*texts, start=start) for texts in with_old_cookie(KINDS, 2))


def _disturbed_pairs(faults: int, cancels: int) -> Iterator[Scenario]:
    for start in ("guest", "idle", "logged_in"):
        groups = [*placed(KINDS if start == "guest" else MOVES, 2)]
        if start in AFTER_ROTATION:
            groups += with_old_cookie(MOVES, 2)
        yield from (
            scenario(*each, start=start, faults=faults, cancels=cancels, late=True) for each in groups
        )


def _triples() -> Iterator[Scenario]:
    yield from (scenario(*texts) for texts in placed(KINDS, 3))


def _triples_after_rotation() -> Iterator[Scenario]:
    for start in AFTER_ROTATION:
        groups = with_old_cookie(("modify", "log_in", "destroy"), 3)
        yield from (scenario(*texts, start=start) for texts in groups)


def _idle_triples() -> Iterator[Scenario]:
    yield from (scenario(*texts, start="idle") for texts in placed(("read", "modify", "destroy", END), 3))


SOAK: Mapping[str, Callable[[], Iterator[Scenario]]] = {
    "one request with a fault and a cancellation": _singles,
    "two requests": _pairs,
    "two requests and a fault": lambda: _disturbed_pairs(faults=1, cancels=0),
    "two requests and a cancellation": lambda: _disturbed_pairs(faults=0, cancels=1),
    "three requests": _triples,
    "three requests after a rotation": _triples_after_rotation,
    "three requests on an idle session": _idle_triples,
    "three requests and a fault": lambda: (scenario(*texts, faults=1) for texts in TRIPLES),
    "three requests and a cancellation": lambda: (scenario(*texts, cancels=1) for texts in TRIPLES),
}
"""The groups of the long run."""
