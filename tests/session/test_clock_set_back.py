"""Times stored by a fast clock have no lasting effect after the clock is set back."""

from collections.abc import AsyncIterator

import pytest

from cartapp.accounts import RateLimit, TooManyAttempts
from cartapp.accounts.rate_limit import CLOCK_SKEW, KNOWN_NETWORK_LIFETIME
from cartapp.session.policy import TOMBSTONE_LIFETIME
from tests.accounts.test_accounts import WRONG, guess
from tests.conftest import ManualClock
from tests.support.accounts import ELSEWHERE, EMAIL, AccountsEnvironment, open_database
from tests.support.databases import DATABASES
from tests.support.schema import with_schema
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio

DAY = 24 * 60 * 60


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
async def env(url: str, clock: ManualClock) -> AsyncIterator[AccountsEnvironment]:
    async with open_database(url) as database:
        yield AccountsEnvironment(database, clock)


# -- attempts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 10])
async def test_attempts_from_a_fast_clock_do_not_block_log_ins(
    env: AccountsEnvironment, clock: ManualClock, attempts: int
) -> None:
    await env.alice()
    clock.advance(DAY)
    for _ in range(attempts):
        assert await guess(env) == "InvalidCredentials"
    clock.advance(-DAY)
    # One attempt immediately, then one per step, as after a period of full use.
    assert [await guess(env) for _ in range(2)] == ["InvalidCredentials", "TooManyAttempts"]
    with pytest.raises(TooManyAttempts) as refusal:
        await env.accounts.log_in(EMAIL, WRONG, client=ELSEWHERE, remember=False)
    assert refusal.value.retry_after <= 6
    clock.advance(6)
    assert [await guess(env) for _ in range(2)] == ["InvalidCredentials", "TooManyAttempts"]
    clock.advance(60)
    assert [await guess(env) for _ in range(11)].count("InvalidCredentials") == 10


async def test_attempts_from_a_fast_clock_do_not_block_the_network(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    clock.advance(DAY)
    for number in range(30):
        await guess(env, f"{number}@example.com")
    clock.advance(-DAY)
    assert await guess(env, "another@example.com") == "InvalidCredentials"
    assert await guess(env, "and.another@example.com") == "TooManyAttempts"
    clock.advance(2)  # one step of the network's limit
    assert await guess(env, "and.another@example.com") == "InvalidCredentials"


async def test_a_lowered_limit_applies_immediately(url: str, clock: ManualClock) -> None:
    async with open_database(url) as database:
        before, after = (
            AccountsEnvironment(database, clock, RateLimit(3, DAY)),
            AccountsEnvironment(database, clock),
        )
        assert [await guess(before) for _ in range(4)] == ["InvalidCredentials"] * 3 + ["TooManyAttempts"]
        assert await guess(after) == "InvalidCredentials"
        assert await guess(after) == "TooManyAttempts"


async def test_clock_skew_between_hosts_allows_no_extra_attempts(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    """A due time in the near future may come from another host, and is respected."""
    responses = []
    for _ in range(15):
        for skew in (CLOCK_SKEW / 1000, -CLOCK_SKEW / 1000):
            responses.append(await guess(env))
            clock.advance(skew)
    assert responses.count("InvalidCredentials") == 10


async def test_a_known_network_expires_despite_a_clock_set_back(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    clock.advance(DAY)
    await env.alice()  # the network becomes known
    clock.advance(-DAY)
    while await guess(env) == "InvalidCredentials":
        pass
    with pytest.raises(TooManyAttempts):
        await env.alice()
    clock.advance(DAY)
    assert await env.alice()
    clock.advance(KNOWN_NETWORK_LIFETIME / 1000 - 1)
    while await guess(env) == "InvalidCredentials":
        pass
    assert await env.alice()


# -- remembered devices -------------------------------------------------------------------------------------


async def test_a_replaced_token_expires_despite_a_clock_set_back(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    made = await env.alice(remember=True)
    assert made.token is not None
    clock.advance(DAY)
    assert await env.accounts.log_in_with_token(made.token, client=ELSEWHERE)
    clock.advance(-DAY)
    assert await env.accounts.get_remembered_user(made.token) is None
    assert await env.accounts.log_in_with_token(made.token, client=ELSEWHERE) is None
    assert not await env.is_in(made)  # the token was used twice


# -- sessions -----------------------------------------------------------------------------------------------


async def test_a_session_from_a_fast_clock_expires_in_time(layer: SessionLayer, clock: ManualClock) -> None:
    clock.advance(DAY)
    cookie = await layer.begin(a=1)
    clock.advance(-DAY)
    session, request_session = await layer.load(cookie)
    assert request_session.seconds_left(session) == layer.policy.max_age
    await session.save()  # stores the use, although the stored one is later
    assert session.last_used_at is not None
    assert session.last_used_at.timestamp() * 1000 == clock()
    clock.advance(layer.policy.ttl * 1.1)
    assert await layer.read(cookie) == {}


async def test_absolute_lifetime_starts_at_the_first_change_after_a_clock_set_back(
    layer: SessionLayer, clock: ManualClock
) -> None:
    clock.advance(DAY)
    cookie = await layer.begin(a=1)
    clock.advance(-DAY)
    session, _ = await layer.load(cookie)
    session["a"] = 2
    await session.save()
    assert session.created_at is not None
    assert session.created_at.timestamp() * 1000 == clock()


async def test_a_tombstone_from_a_fast_clock_rejects_writes_for_at_most_a_minute(
    layer: SessionLayer, clock: ManualClock
) -> None:
    clock.advance(DAY)
    former, _ = await rotated(layer)
    clock.advance(-DAY)
    session, request_session = await layer.load(former)
    session["a"] = 2
    await session.save()  # a new session, as for any unknown ID
    assert request_session.cookie() not in (None, former)
    assert await layer.read(str(request_session.cookie())) == {"a": 2}


async def test_a_tombstone_is_recognized_despite_clock_skew(layer: SessionLayer, clock: ManualClock) -> None:
    clock.advance(TOMBSTONE_LIFETIME / 1000)
    former, _ = await rotated(layer)
    clock.advance(-TOMBSTONE_LIFETIME / 1000)
    session, _ = await layer.load(former)
    assert session.record is not None
    assert session.record.is_tombstone


async def rotated(layer: SessionLayer) -> tuple[str, str]:
    """Return the former and the present cookie of a rotated session."""
    former = await layer.begin(a=1)
    session, request_session = await layer.load(former)
    session.regenerate()
    await session.save()
    return former, str(request_session.cookie())
