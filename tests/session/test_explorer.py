"""All interleavings of a few requests keep the promises; the explorer detects faulty stores."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from cartapp.session.record import Record, Version
from cartapp.session.stores.memory import MemoryStore
from tests.session.explorer.explore import Tally, explore, run_schedule
from tests.session.explorer.history import observe
from tests.session.explorer.run import Step
from tests.session.explorer.scenario import Scenario, scenario
from tests.session.explorer.search import schedules
from tests.session.explorer.shortest import runs
from tests.session.explorer.suites import SOAK, quick
from tests.session.explorer.summary import EXPLORED

README = (Path(__file__).parents[2] / "README.md").read_text()

RecordProperty = Callable[[str, object], None]


def check(scenarios: Iterable[Scenario], record_property: RecordProperty) -> Tally:
    tally = explore(scenarios)
    record_property(EXPLORED, str(tally))
    assert not tally.violations, tally.violations[0]
    return tally


def test_sampled_interleavings_have_no_violation(record_property: RecordProperty) -> None:
    tally = check(quick(), record_property)
    assert f"{tally.schedules:,} interleavings of concurrent requests, 0 violations" in README


@pytest.mark.soak
@pytest.mark.parametrize("group", SOAK)
def test_all_interleavings_have_no_violation(group: str, record_property: RecordProperty) -> None:
    check(SOAK[group](), record_property)


# -- the explorer itself ----------------------------------------------------------------------------------


class SavesBlindly(MemoryStore):
    """A store without compare-and-set."""

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        stored = await self.load(record.key)
        return None if stored is None else await super().save(record, expected=stored.version)


class DeletesBlindly(MemoryStore):
    """A store that deletes versions unknown to the caller."""

    async def delete(self, key: str, *, expected: object = None) -> bool:
        return await super().delete(key)


class Revives(MemoryStore):
    """A store with a `save` that revives an ended session."""

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        if await self.load(record.key) is None:
            return await self.create(record)
        return await super().save(record, expected=expected)


class ForgetsUses(MemoryStore):
    """A store that ignores `touch`."""

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        return await self.load(key) is not None


class ReadsReplica(MemoryStore):
    """A store with stale reads."""

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        self.before = await super().load(record.key)
        return await super().save(record, expected=expected)

    async def load(self, key: str) -> Record | None:
        return getattr(self, "before", None) or await super().load(key)


@pytest.mark.parametrize(
    ("store", "chosen", "found"),
    [
        (SavesBlindly, scenario("modify@1", "modify@2"), '--schedule "A A B B B B A A"'),
        (DeletesBlindly, scenario("rotate", "end"), "A B: A is {"),
        (DeletesBlindly, scenario("destroy@1", "log_in@2"), "B A: A gets: ok, shows {} of a guest"),
        (Revives, scenario("destroy@1", "modify@2"), '--schedule "B B A A A A B B"'),
        (ForgetsUses, scenario("read", start="idle"), "S has a keep-alive that was not stored"),
        (ReadsReplica, scenario("set_dark", "read"), '--schedule "A A A A B B"'),
    ],
)
def test_faulty_stores_are_detected(store: type[MemoryStore], chosen: Scenario, found: str) -> None:
    [violation] = explore([chosen], lambda clock: store(clock=clock)).violations
    assert found in violation


@pytest.mark.parametrize(
    "chosen",
    [
        scenario("modify@1", "set_dark@1"),
        scenario("modify@1", "destroy@1"),
        scenario("log_in@1", "destroy@1"),
        scenario("rotate@1", "end"),
        scenario("destroy.old@1", "modify@1", start="rotated"),
        scenario("read@1", "modify@1", start="idle"),
        scenario("modify@1", "take_flash@1", faults=1),
        scenario("modify@1", "set_dark@1", cancels=1, late=True),
        scenario("modify@1", "read@1", "set_light@2"),
    ],
    ids=lambda chosen: chosen.title,
)
def test_skipped_schedules_give_no_new_histories(chosen: Scenario) -> None:
    assert {history for _, history in schedules(chosen)} == {observe(run) for run in runs(chosen)}


def test_a_schedule_is_reproducible() -> None:
    chosen = scenario("rotate@1", "modify@2", "end", faults=1)
    steps = tuple(map(Step.parse, ["A", "A", "B", "B", "A", "A!lost", "B", "B", "C", "C"]))
    allowed, text = run_schedule(chosen, steps)
    assert run_schedule(chosen, steps) == (allowed, text)
    assert "save S: took effect, but its result is lost" not in text
    assert "python -m tests.session.explorer --requests rotate@1 modify@2 end@admin" in text


@pytest.mark.parametrize(
    ("steps", "message"),
    [("B", "Step 1: B is impossible; possible: A."), ("A A!cancel", "Step 2: A!cancel is impossible")],
)
def test_an_impossible_step_raises(steps: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run_schedule(scenario("read"), tuple(map(Step.parse, steps.split())))


@pytest.mark.parametrize("texts", [["buy"], ["read@"], [], ["read"] * 7])
def test_an_invalid_request_raises(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"Invalid request|Expected 1 to 6 requests"):
        scenario(*texts)
