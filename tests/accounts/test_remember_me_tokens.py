"""Remember-me tokens on every SQL engine, with a manual clock."""

import asyncio
import logging
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from cartapp.accounts import InvalidCredentials, NewLogin, RememberedLogin, Token, parse_token
from cartapp.accounts.logins import PREVIOUS_TOKEN_LIFETIME, TOKEN_LIFETIME, new_token
from cartapp.accounts.tables import METADATA
from tests.conftest import ManualClock
from tests.support.accounts import EMAIL, HERE, PASSWORD, AccountsEnvironment, open_database

pytestmark = pytest.mark.anyio


async def remembered(env: AccountsEnvironment) -> tuple[NewLogin, Token]:
    made = await env.alice(remember=True)
    assert made.token is not None
    return made, made.token


async def use(env: AccountsEnvironment, token: Token) -> RememberedLogin:
    found = await env.accounts.log_in_with_token(token, client=HERE)
    assert found is not None
    return found


async def is_refused(env: AccountsEnvironment, token: Token) -> bool:
    return await env.accounts.log_in_with_token(token, client=HERE) is None


def test_tokens_are_long_and_random() -> None:
    tokens = [new_token() for _ in range(1000)]
    assert len({token.selector for token in tokens}) == len({token.validator for token in tokens}) == 1000
    assert all(parse_token(str(token)) == token for token in tokens)
    assert {(len(bytes.fromhex(token.selector)), len(token.validator)) for token in tokens} == {(16, 43)}
    assert tokens[0].validator not in repr(tokens[0])


@pytest.mark.parametrize(
    "text", [None, "", ".", "a" * 76, f"{'a' * 32}.", f"{'A' * 32}.{'a' * 43}", "x" * 4000]
)
def test_invalid_tokens(text: str | None) -> None:
    assert parse_token(text) is None


async def test_database_holds_no_usable_token(env: AccountsEnvironment) -> None:
    _, token = await remembered(env)
    after = (await use(env, token)).token
    assert after is not None
    rows = [await env.database.fetch(select(table)) for table in METADATA.sorted_tables]
    held = repr(rows)
    assert token.selector in held
    for secret in (token.validator, after.validator, PASSWORD):
        assert secret not in held


async def test_each_use_rotates_the_validator(env: AccountsEnvironment, clock: ManualClock) -> None:
    made, token = await remembered(env)
    for _ in range(5):
        clock.advance(3600)
        found = await use(env, token)
        assert found.login_id == made.login_id
        assert found.token is not None
        assert found.token.selector == token.selector
        assert found.token.validator != token.validator
        token = found.token


async def test_one_of_ten_concurrent_uses_rotates_and_all_succeed(url: str, clock: ManualClock) -> None:
    async with open_database(url) as one, open_database(url) as two:
        envs = [AccountsEnvironment(database, clock) for database in (one, two)] * 5
        _, token = await remembered(envs[0])
        found = await asyncio.gather(*(use(env, token) for env in envs))
        assert sum(answer.token is not None for answer in found) == 1
        (after,) = [answer.token for answer in found if answer.token]
        assert (await use(envs[1], after)).token is not None


async def test_previous_validator_is_accepted_for_a_minute_then_counts_as_theft(
    env: AccountsEnvironment, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cartapp.security")
    made, token = await remembered(env)
    other, other_token = await remembered(env)
    after = (await use(env, token)).token
    assert after is not None
    clock.advance((PREVIOUS_TOKEN_LIFETIME - 1) / 1000)
    assert (await use(env, token)).token is None
    clock.advance(0.001)
    assert await env.is_in(made)
    assert await is_refused(env, token)
    assert "event=remember_me_theft" in caplog.text
    assert await is_refused(env, after)  # the log-in has ended for every copy
    assert not await env.is_in(made)
    assert await env.is_in(other)  # another device is not affected
    assert await use(env, other_token)


async def test_unknown_validator_counts_as_theft(env: AccountsEnvironment) -> None:
    made, token = await remembered(env)
    assert await is_refused(env, replace(token, validator=new_token().validator))
    assert await is_refused(env, token)
    assert not await env.is_in(made)


async def test_unknown_selector_ends_no_log_in(env: AccountsEnvironment) -> None:
    made, token = await remembered(env)
    assert await is_refused(env, new_token())
    assert await is_refused(env, replace(token, selector=new_token().selector))
    assert await env.is_in(made)


async def test_revoked_token_is_rejected_within_the_minute(env: AccountsEnvironment) -> None:
    made, token = await remembered(env)
    after = (await use(env, token)).token
    await env.accounts.log_out({made.login_id}, None, user_id=made.user.id)
    assert after is not None
    assert [await is_refused(env, one) for one in (token, after)] == [True, True]


async def test_token_expires_thirty_days_after_the_last_use(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    _, token = await remembered(env)
    clock.advance(TOKEN_LIFETIME / 1000 - 1)
    after = (await use(env, token)).token
    assert after is not None
    clock.advance(TOKEN_LIFETIME / 1000 - 1)
    last = (await use(env, after)).token
    assert last is not None
    clock.advance(TOKEN_LIFETIME / 1000)
    assert await is_refused(env, last)


async def test_log_out_by_token_requires_the_validator(env: AccountsEnvironment) -> None:
    made, token = await remembered(env)
    wrong = replace(token, validator=new_token().validator)
    await env.accounts.log_out((), wrong, user_id=None)
    assert await env.is_in(made)
    await use(env, token)
    await env.accounts.log_out((), token, user_id=None)  # the previous token
    assert not await env.is_in(made)


async def test_password_change_revokes_all_tokens(env: AccountsEnvironment) -> None:
    _, one = await remembered(env)
    made, two = await remembered(env)
    await env.change_password(made, PASSWORD, "another phrase of mine")
    assert [await is_refused(env, token) for token in (one, two)] == [True, True]
    assert not await env.database.fetch(text("SELECT 1 FROM cart_remember_me"))


async def test_old_password_is_useless_during_its_change(
    env: AccountsEnvironment,
) -> None:
    made = await env.alice()
    attempts = [env.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=True) for _ in range(6)]
    change = env.change_password(made, PASSWORD, "another phrase of mine")
    *begun, changed = await asyncio.gather(*attempts, change, return_exceptions=True)
    assert isinstance(changed, NewLogin)
    for one in begun:
        assert isinstance(one, (InvalidCredentials, NewLogin))
        assert isinstance(one, InvalidCredentials) or not await env.is_in(one)
