"""The tokens of remembered devices, in every database and with a clock that is moved."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from cartapp.accounts import InvalidCredentials, LoggedIn, Recognised, Token, parse_token
from cartapp.accounts.logins import FORMER_FOR, TOKEN_LIFE, new_token
from cartapp.accounts.tables import METADATA

from .accounts import EMAIL, HERE, PASSWORD, House, opened
from .conftest import ManualClock
from .databases import DATABASES, with_schema

pytestmark = pytest.mark.anyio


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
async def house(url: str, clock: ManualClock) -> AsyncIterator[House]:
    async with opened(url) as database:
        yield House(database, clock)


async def remembered(house: House) -> tuple[LoggedIn, Token]:
    made = await house.alice(remember=True)
    assert made.token is not None
    return made, made.token


async def use(house: House, token: Token) -> Recognised:
    found = await house.accounts.recognise(token, client=HERE)
    assert found is not None
    return found


async def is_refused(house: House, token: Token) -> bool:
    return await house.accounts.recognise(token, client=HERE) is None


def test_tokens_are_long_and_random() -> None:
    tokens = [new_token() for _ in range(1000)]
    assert len({token.selector for token in tokens}) == len({token.validator for token in tokens}) == 1000
    assert all(parse_token(str(token)) == token for token in tokens)
    assert {(len(bytes.fromhex(token.selector)), len(token.validator)) for token in tokens} == {(16, 43)}
    assert tokens[0].validator not in repr(tokens[0])


@pytest.mark.parametrize(
    "text", [None, "", ".", "a" * 76, f"{'a' * 32}.", f"{'A' * 32}.{'a' * 43}", "x" * 4000]
)
def test_what_is_no_token(text: str | None) -> None:
    assert parse_token(text) is None


async def test_the_database_holds_nothing_that_lets_in(house: House) -> None:
    _, token = await remembered(house)
    after = (await use(house, token)).token
    assert after is not None
    rows = [await house.database.fetch(select(table)) for table in METADATA.sorted_tables]
    held = repr(rows)
    assert token.selector in held
    for secret in (token.validator, after.validator, PASSWORD):
        assert secret not in held


async def test_each_use_gives_a_new_validator_of_the_same_device(house: House, clock: ManualClock) -> None:
    made, token = await remembered(house)
    for _ in range(5):
        clock.advance(3600)
        found = await use(house, token)
        assert found.login_id == made.login_id
        assert found.token is not None
        assert found.token.selector == token.selector
        assert found.token.validator != token.validator
        token = found.token


async def test_of_ten_uses_at_once_one_rotates_and_all_are_recognised(url: str, clock: ManualClock) -> None:
    async with opened(url) as one, opened(url) as two:
        houses = [House(database, clock) for database in (one, two)] * 5
        _, token = await remembered(houses[0])
        found = await asyncio.gather(*(use(house, token) for house in houses))
        assert sum(answer.token is not None for answer in found) == 1
        (after,) = [answer.token for answer in found if answer.token]
        assert (await use(houses[1], after)).token is not None


async def test_a_former_validator_is_honoured_for_a_minute_and_then_it_is_theft(
    house: House, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cartapp.security")
    made, token = await remembered(house)
    other, other_token = await remembered(house)
    after = (await use(house, token)).token
    assert after is not None
    clock.advance((FORMER_FOR - 1) / 1000)
    assert (await use(house, token)).token is None
    clock.advance(0.001)
    assert await house.is_in(made)
    assert await is_refused(house, token)
    assert "event=remember_me_theft" in caplog.text
    assert await is_refused(house, after)  # whoever has it, the row is dead
    assert not await house.is_in(made)
    assert await house.is_in(other)  # another device has nothing to do with it
    assert await use(house, other_token)


async def test_a_validator_that_never_was_is_theft_as_well(house: House) -> None:
    made, token = await remembered(house)
    assert await is_refused(house, replace(token, validator=new_token().validator))
    assert await is_refused(house, token)
    assert not await house.is_in(made)


async def test_an_unknown_selector_ends_nothing(house: House) -> None:
    made, token = await remembered(house)
    assert await is_refused(house, new_token())
    assert await is_refused(house, replace(token, selector=new_token().selector))
    assert await house.is_in(made)


async def test_revoked_beats_the_minute(house: House) -> None:
    made, token = await remembered(house)
    after = (await use(house, token)).token
    await house.accounts.log_out({made.login_id}, None, user_id=made.user.id)
    assert after is not None
    assert [await is_refused(house, one) for one in (token, after)] == [True, True]


async def test_thirty_days_after_the_last_use_it_is_forgotten(house: House, clock: ManualClock) -> None:
    _, token = await remembered(house)
    clock.advance(TOKEN_LIFE / 1000 - 1)
    after = (await use(house, token)).token
    assert after is not None
    clock.advance(TOKEN_LIFE / 1000 - 1)
    last = (await use(house, after)).token
    assert last is not None
    clock.advance(TOKEN_LIFE / 1000)
    assert await is_refused(house, last)


async def test_log_out_by_the_token_alone_takes_the_right_validator(house: House) -> None:
    made, token = await remembered(house)
    wrong = replace(token, validator=new_token().validator)
    await house.accounts.log_out((), wrong, user_id=None)
    assert await house.is_in(made)
    await use(house, token)
    await house.accounts.log_out((), token, user_id=None)  # the former one
    assert not await house.is_in(made)


async def test_a_new_password_forgets_every_device(house: House) -> None:
    _, one = await remembered(house)
    made, two = await remembered(house)
    await house.change_password(made, PASSWORD, "another phrase of mine")
    assert [await is_refused(house, token) for token in (one, two)] == [True, True]
    assert not await house.database.fetch(text("SELECT 1 FROM cart_remember_me"))


async def test_the_old_password_cannot_begin_anything_while_it_is_being_changed(house: House) -> None:
    made = await house.alice()
    attempts = [house.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=True) for _ in range(6)]
    change = house.change_password(made, PASSWORD, "another phrase of mine")
    *begun, changed = await asyncio.gather(*attempts, change, return_exceptions=True)
    assert isinstance(changed, LoggedIn)
    for one in begun:
        assert isinstance(one, (InvalidCredentials, LoggedIn))
        assert isinstance(one, InvalidCredentials) or not await house.is_in(one)
