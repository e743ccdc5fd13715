"""C13: after a clock was ahead and is set back, no stored time keeps anything closed or open for as long."""

from collections.abc import AsyncIterator

import pytest

from cartapp.accounts import Limit, TooManyAttempts
from cartapp.accounts.attempts import CLOCK_SKEW, KNOWN_FOR
from cartapp.session.policy import TOMBSTONE_LIFETIME
from cartapp.session.stores.memory import MemoryStore

from .accounts import ELSEWHERE, EMAIL, House, opened
from .conftest import ManualClock
from .databases import DATABASES, with_schema
from .layer import Layer
from .test_accounts import WRONG, guess

pytestmark = pytest.mark.anyio

DAY = 24 * 60 * 60


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
async def house(url: str, clock: ManualClock) -> AsyncIterator[House]:
    async with opened(url) as database:
        yield House(database, clock)


# -- attempts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 10])
async def test_c13_attempts_of_a_clock_that_was_ahead_close_nothing(
    house: House, clock: ManualClock, attempts: int
) -> None:
    await house.alice()
    clock.advance(DAY)
    for _ in range(attempts):
        assert await guess(house) == "InvalidCredentials"
    clock.advance(-DAY)
    # One attempt at once, and then one a step: as after a full period's.
    assert [await guess(house) for _ in range(2)] == ["InvalidCredentials", "TooManyAttempts"]
    with pytest.raises(TooManyAttempts) as refusal:
        await house.accounts.log_in(EMAIL, WRONG, client=ELSEWHERE, remember=False)
    assert refusal.value.retry_after <= 6
    clock.advance(6)
    assert [await guess(house) for _ in range(2)] == ["InvalidCredentials", "TooManyAttempts"]
    clock.advance(60)
    assert [await guess(house) for _ in range(11)].count("InvalidCredentials") == 10


async def test_c13_the_network_is_not_closed_either(house: House, clock: ManualClock) -> None:
    clock.advance(DAY)
    for number in range(30):
        await guess(house, f"{number}@example.com")
    clock.advance(-DAY)
    assert await guess(house, "another@example.com") == "InvalidCredentials"
    assert await guess(house, "and.another@example.com") == "TooManyAttempts"
    clock.advance(2)  # the network's step
    assert await guess(house, "and.another@example.com") == "InvalidCredentials"


async def test_c13_a_limit_that_was_lowered_holds_at_once(url: str, clock: ManualClock) -> None:
    async with opened(url) as database:
        before, after = House(database, clock, Limit(3, DAY)), House(database, clock)
        assert [await guess(before) for _ in range(4)] == ["InvalidCredentials"] * 3 + ["TooManyAttempts"]
        assert await guess(after) == "InvalidCredentials"
        assert await guess(after) == "TooManyAttempts"


async def test_c13_hosts_whose_clocks_differ_a_little_let_no_more_through(
    house: House, clock: ManualClock
) -> None:
    """A due time that another host set moments ahead is possible, and holds."""
    answers = []
    for _ in range(15):
        for skew in (CLOCK_SKEW / 1000, -CLOCK_SKEW / 1000):
            answers.append(await guess(house))
            clock.advance(skew)
    assert answers.count("InvalidCredentials") == 10


async def test_c13_a_network_is_known_no_longer_than_a_log_in_makes_it(
    house: House, clock: ManualClock
) -> None:
    clock.advance(DAY)
    await house.alice()  # makes the network known
    clock.advance(-DAY)
    while await guess(house) == "InvalidCredentials":
        pass
    with pytest.raises(TooManyAttempts):
        await house.alice()
    clock.advance(DAY)
    assert await house.alice()
    clock.advance(KNOWN_FOR / 1000 - 1)
    while await guess(house) == "InvalidCredentials":
        pass
    assert await house.alice()


# -- remembered devices -------------------------------------------------------------------------------------


async def test_c13_a_former_token_is_not_honoured_for_as_long(house: House, clock: ManualClock) -> None:
    made = await house.alice(remember=True)
    assert made.token is not None
    clock.advance(DAY)
    assert await house.accounts.recognise(made.token, client=ELSEWHERE)
    clock.advance(-DAY)
    assert await house.accounts.remembered(made.token) is None
    assert await house.accounts.recognise(made.token, client=ELSEWHERE) is None
    assert not await house.is_in(made)  # two have had it


# -- sessions -----------------------------------------------------------------------------------------------


@pytest.fixture
def layer(clock: ManualClock) -> Layer:
    return Layer(MemoryStore(clock=clock), clock)


async def test_c13_a_session_of_a_clock_that_was_ahead_expires_in_time(
    layer: Layer, clock: ManualClock
) -> None:
    clock.advance(DAY)
    cookie = await layer.begin(a=1)
    clock.advance(-DAY)
    session, visit = await layer.visit(cookie)
    assert visit.seconds_left(session) == layer.policy.max_age
    await session.save()  # a use, which is stored although the stored one is later
    assert session.last_used_at is not None
    assert session.last_used_at.timestamp() * 1000 == clock()
    clock.advance(layer.policy.ttl * 1.1)
    assert await layer.read(cookie) == {}


async def test_c13_the_absolute_lifetime_begins_with_the_first_change_by_the_right_clock(
    layer: Layer, clock: ManualClock
) -> None:
    clock.advance(DAY)
    cookie = await layer.begin(a=1)
    clock.advance(-DAY)
    session, _ = await layer.visit(cookie)
    session["a"] = 2
    await session.save()
    assert session.created_at is not None
    assert session.created_at.timestamp() * 1000 == clock()


async def test_c13_an_id_that_was_given_up_refuses_writes_no_longer_than_a_minute(
    layer: Layer, clock: ManualClock
) -> None:
    clock.advance(DAY)
    former, _ = await rotated(layer)
    clock.advance(-DAY)
    session, visit = await layer.visit(former)
    session["a"] = 2
    await session.save()  # a new session, as with any unknown id
    assert visit.cookie() not in (None, former)
    assert await layer.read(str(visit.cookie())) == {"a": 2}


async def test_c13_a_tombstone_of_a_host_that_is_a_little_ahead_is_one(
    layer: Layer, clock: ManualClock
) -> None:
    clock.advance(TOMBSTONE_LIFETIME / 1000)
    former, _ = await rotated(layer)
    clock.advance(-TOMBSTONE_LIFETIME / 1000)
    session, _ = await layer.visit(former)
    assert session.record is not None
    assert session.record.is_tombstone


async def rotated(layer: Layer) -> tuple[str, str]:
    """A session's former cookie, and its present one."""
    former = await layer.begin(a=1)
    session, visit = await layer.visit(former)
    session.regenerate()
    await session.save()
    return former, str(visit.cookie())
