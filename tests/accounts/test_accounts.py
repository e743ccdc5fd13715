"""Users, passwords and rate limits on every SQL engine."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import text

from cartapp.accounts import (
    AccountError,
    EmailTaken,
    InvalidCredentials,
    NewLogin,
    NoSuchUser,
    RateLimit,
    TooBusy,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from cartapp.accounts.passwords import MAX_BYTES, SHOP_WORDS, Passwords, check_strength, personal_words
from cartapp.accounts.rate_limit import KNOWN_NETWORK_LIFETIME, network_from_host
from tests.conftest import ManualClock
from tests.support.accounts import (
    ELSEWHERE,
    EMAIL,
    HERE,
    NAME,
    PASSWORD,
    AccountsEnvironment,
    CountingHasher,
    fill_hashing_queue,
    open_database,
)

pytestmark = pytest.mark.anyio

OTHER = "another phrase of mine"
WRONG = "not the right phrase"


async def guess(env: AccountsEnvironment, email: str = EMAIL, client: str = ELSEWHERE) -> str:
    """Try a wrong password and return the name of the error."""
    try:
        await env.accounts.log_in(email, WRONG, client=client, remember=False)
    except (InvalidCredentials, TooManyAttempts) as error:
        return type(error).__name__
    raise AssertionError("It was let in.")


# -- passwords ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    ["12345678"[:7], "пароль7", "", "x" * (MAX_BYTES + 1), "й" * (MAX_BYTES // 2 + 1)],
)
def test_password_length_limits(password: str) -> None:
    with pytest.raises(WeakPassword, match=r"at (least|most)"):
        check_strength(password)


@pytest.mark.parametrize("password", ["password", "PASSWORD", "12345678", "iloveyou", "Trustno1"])
def test_common_passwords_are_rejected(password: str) -> None:
    with pytest.raises(WeakPassword, match="too common"):
        check_strength(password)


@pytest.mark.parametrize("password", ["Alice12!", "Alice.Miller", "cartapp!", "SHOPcart", "example1" + EMAIL])
def test_guessable_passwords_are_rejected(password: str) -> None:
    words = [*personal_words("example1@alice", "Alice Miller"), EMAIL]
    with pytest.raises(WeakPassword, match="too similar"):
        check_strength(password, words=words)
    assert "cartapp" in SHOP_WORDS


@pytest.mark.parametrize(
    "password",
    [
        "x9 q#Zt!",
        "        ",
        "\0\0\0\0\0\0\0\0",
        "пароль-8",
        "🦊🦊🦊🦊🦊🦊🦊🦊",
        "onlylowercaseletters",
        "y" * 64,
        "z" * MAX_BYTES,
    ],
)
async def test_passwords_accept_any_characters(password: str) -> None:
    check_strength(password, words=personal_words(EMAIL, NAME))
    passwords = Passwords()
    assert await passwords.verify(await passwords.hash(password), password)


@pytest.mark.parametrize(
    ("right", "nearly"),
    [
        ("correct horse\0", "correct horse"),
        ("correct horse\0a", "correct horse\0b"),
        ("correct horse ", "correct horse"),
        (" correct horse", "correct horse"),
        ("correct horse", "Correct horse"),
        ("x" * 72 + "a", "x" * 72 + "b"),
        ("x" * 1000 + "a", "x" * 1000),
        ("caf\u00e9 au lait", "cafe\u0301 au lait"),
    ],
)
async def test_password_verification_is_exact(right: str, nearly: str) -> None:
    passwords = Passwords()
    kept = await passwords.hash(right)
    assert await passwords.verify(kept, right)
    assert not await passwords.verify(kept, nearly)


async def test_hash_is_argon2id_with_the_recommended_parameters() -> None:
    kept = await Passwords().hash(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert kept != await Passwords().hash(PASSWORD)


async def test_outdated_hash_is_replaced_at_the_next_log_in(env: AccountsEnvironment) -> None:
    made = await env.alice()
    env.accounts.passwords = Passwords()
    again = await env.alice()
    updated = await env.accounts.get_user(again.user.id)
    assert updated is not None
    assert "m=19456" in updated.password_hash
    assert await env.is_in(made)  # the log-in is still valid


# -- log-in -------------------------------------------------------------------------------------------------


async def test_failed_log_ins_have_equal_cost_and_message(env: AccountsEnvironment) -> None:
    await env.alice()
    await env.operator.add("bob@example.com", "Bob", PASSWORD)
    await env.operator.disable("bob@example.com")
    messages = set()
    for email, password in [(EMAIL, WRONG), ("unknown@example.com", PASSWORD), ("bob@example.com", PASSWORD)]:
        before = env.accounts.passwords.checks
        with pytest.raises(InvalidCredentials) as refusal:
            await env.accounts.log_in(email, password, client=HERE, remember=False)
        assert env.accounts.passwords.checks == before + 1
        messages.add(str(refusal.value))
    assert messages == {"Invalid email or password"}


@pytest.mark.parametrize("typed", ["alice@example.com", "ALICE@Example.COM", "  alice@example.com "])
async def test_addresses_ignore_case(env: AccountsEnvironment, typed: str) -> None:
    made = await env.alice()
    again = await env.accounts.log_in(typed, PASSWORD, client=HERE, remember=False)
    assert again.user.id == made.user.id
    with pytest.raises(EmailTaken):
        await env.accounts.register(typed, "Mallory", OTHER, client=HERE)


@pytest.mark.parametrize("other", ["alicé@example.com", "alice@example.comm", "аlice@example.com"])
async def test_addresses_distinguish_accents(env: AccountsEnvironment, other: str) -> None:
    made = await env.alice()
    other_user = await env.accounts.register(other, "Other", OTHER, client=HERE)
    assert other_user.user.id != made.user.id


async def test_addresses_are_normalized_to_nfc(env: AccountsEnvironment) -> None:
    await env.accounts.register("jos\u00e9@example.com", "José", PASSWORD, client=HERE)
    with pytest.raises(EmailTaken):
        await env.accounts.register("jose\u0301@example.com", "José", OTHER, client=HERE)


async def test_one_of_two_concurrent_registrations_succeeds(url: str, clock: ManualClock) -> None:
    async with open_database(url) as one, open_database(url) as two:
        envs = [AccountsEnvironment(database, clock) for database in (one, two)] * 3
        answers = await asyncio.gather(
            *(
                env.accounts.register(EMAIL, NAME, f"{PASSWORD} {number}", client=HERE)
                for number, env in enumerate(envs)
            ),
            return_exceptions=True,
        )
    assert sum(isinstance(answer, EmailTaken) for answer in answers) == len(envs) - 1


async def test_c9_concurrent_equal_registrations_create_one_user(url: str, clock: ManualClock) -> None:
    async with open_database(url) as one, open_database(url) as two:
        envs = [AccountsEnvironment(database, clock) for database in (one, two)] * 3
        made = await asyncio.gather(
            *(env.accounts.register(EMAIL, NAME, PASSWORD, client=HERE) for env in envs)
        )
        assert len({one.user.id for one in made}) == 1
        assert len({one.login_id for one in made}) == len(envs)
        assert all([await envs[0].is_in(one) for one in made])


async def test_c9_registration_can_be_retried_within_a_minute(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    made = await env.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)
    clock.advance(59)
    again = await env.accounts.register(EMAIL.upper(), NAME, PASSWORD, client=HERE)
    assert again.user.id == made.user.id
    with pytest.raises(EmailTaken):
        await env.accounts.register(EMAIL, NAME, OTHER, client=HERE)
    await env.operator.disable(EMAIL)
    with pytest.raises(EmailTaken):
        await env.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)
    await env.operator.enable(EMAIL)
    clock.advance(1)
    with pytest.raises(EmailTaken):
        await env.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)


async def test_c9_rejected_retry_counts_as_an_attempt(env: AccountsEnvironment) -> None:
    await env.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)
    answers = [await outcome(env.accounts.register(EMAIL, NAME, OTHER, client=HERE)) for _ in range(11)]
    assert answers == [EmailTaken] * 10 + [TooManyAttempts]


async def outcome(call: Coroutine[Any, Any, object]) -> type:
    """Return the type of the result or exception of a call."""
    try:
        return type(await call)
    except AccountError as error:
        return type(error)


async def test_password_change_ends_all_other_log_ins(env: AccountsEnvironment) -> None:
    here, there = await env.alice(), await env.alice()
    made = await env.change_password(here, PASSWORD, OTHER)
    assert [await env.is_in(one) for one in (here, there, made)] == [False, False, True]
    with pytest.raises(InvalidCredentials):
        await env.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=False)
    assert await env.accounts.log_in(EMAIL, OTHER, client=HERE, remember=False)


async def test_password_change_requires_the_current_password(env: AccountsEnvironment) -> None:
    made = await env.alice()
    with pytest.raises(WrongPassword):
        await env.change_password(made, WRONG, "short")
    with pytest.raises(WeakPassword):
        await env.change_password(made, PASSWORD, "short")
    assert await env.is_in(made)
    assert await env.alice()


async def test_email_change_requires_the_password(env: AccountsEnvironment) -> None:
    made = await env.alice()
    await env.operator.add("bob@example.com", "Bob", PASSWORD)
    with pytest.raises(WrongPassword):
        await env.accounts.change_email(made.user.id, "new@example.com", WRONG, client=HERE)
    with pytest.raises(EmailTaken):
        await env.accounts.change_email(made.user.id, "BOB@example.com", PASSWORD, client=HERE)
    await env.accounts.change_email(made.user.id, "new@example.com", PASSWORD, client=HERE)
    assert await env.accounts.log_in("new@example.com", PASSWORD, client=HERE, remember=False)
    assert await guess(env) == "InvalidCredentials"


@pytest.mark.parametrize("operation", ["disable", "remove"])
async def test_disabled_or_removed_user_is_logged_out(env: AccountsEnvironment, operation: str) -> None:
    made = await env.alice(remember=True)
    assert made.token is not None
    await getattr(env.operator, operation)(EMAIL.upper())
    assert not await env.is_in(made)
    assert await env.accounts.log_in_with_token(made.token, client=HERE) is None
    with pytest.raises(InvalidCredentials):
        await env.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=False)


async def test_enabling_a_user_restores_no_session(env: AccountsEnvironment) -> None:
    made = await env.alice()
    await env.operator.disable(EMAIL)
    await env.operator.enable(EMAIL)
    assert not await env.is_in(made)
    assert await env.is_in(await env.alice())


async def test_user_added_again_gets_a_new_id(env: AccountsEnvironment) -> None:
    made = await env.alice()
    await env.operator.remove(EMAIL)
    again = await env.alice()
    assert again.user.id != made.user.id
    assert not await env.is_in(made)
    assert await env.is_in(again)


@pytest.mark.parametrize("operation", ["disable", "enable", "remove"])
async def test_administration_of_an_unknown_user_raises(env: AccountsEnvironment, operation: str) -> None:
    with pytest.raises(NoSuchUser, match=r"unknown@example\.com"):
        await getattr(env.operator, operation)("unknown@example.com")


async def test_log_in_of_another_user_cannot_be_ended(env: AccountsEnvironment) -> None:
    alice = await env.alice()
    bob = await env.accounts.register("bob@example.com", "Bob", OTHER, client=HERE)
    assert not await env.accounts.is_current(bob.user.id, alice.login_id)
    assert not await env.accounts.end_login(bob.user.id, alice.login_id)
    assert await env.accounts.list_login_ids(alice.user.id) == {alice.login_id}
    assert await env.accounts.end_login(alice.user.id, alice.login_id)
    assert [await env.is_in(one) for one in (alice, bob)] == [False, True]


# -- limits -------------------------------------------------------------------------------------------------


async def test_ten_failed_attempts_then_one_per_six_seconds(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    await env.alice()
    answers = [await guess(env) for _ in range(12)]
    assert answers == ["InvalidCredentials"] * 10 + ["TooManyAttempts"] * 2
    with pytest.raises(TooManyAttempts) as refusal:
        await env.accounts.log_in(
            EMAIL, PASSWORD, client=ELSEWHERE, remember=False
        )  # also for the right password
    assert refusal.value.retry_after == 6
    clock.advance(refusal.value.retry_after)
    assert [await guess(env) for _ in range(2)] == ["InvalidCredentials", "TooManyAttempts"]
    clock.advance(60)
    assert [await guess(env) for _ in range(11)] == answers[:11]


async def test_unknown_account_has_the_same_limit(env: AccountsEnvironment) -> None:
    await env.alice()
    known = [await guess(env) for _ in range(11)]
    unknown = [await guess(env, "unknown@example.com") for _ in range(11)]
    assert known == unknown


async def test_limit_holds_for_concurrent_attempts(url: str, clock: ManualClock) -> None:
    async with open_database(url) as one, open_database(url) as two:
        envs = [AccountsEnvironment(database, clock) for database in (one, two)] * 12
        answers = await asyncio.gather(*(guess(env, client=f"10.0.{i}.1") for i, env in enumerate(envs)))
    assert answers.count("InvalidCredentials") == 10
    assert answers.count("TooManyAttempts") == len(envs) - 10


async def test_network_limit_is_three_times_the_account_limit(env: AccountsEnvironment) -> None:
    answers = [await guess(env, f"{i}@example.com", f"203.0.113.{i}") for i in range(32)]
    assert answers == ["InvalidCredentials"] * 30 + ["TooManyAttempts"] * 2
    assert await guess(env, "another@example.com", "203.0.114.1") == "InvalidCredentials"


async def test_successful_attempts_are_refunded(env: AccountsEnvironment) -> None:
    for _ in range(40):
        assert await env.alice()


async def test_guessing_elsewhere_does_not_lock_out_the_owner(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    await env.alice()
    while await guess(env) == "InvalidCredentials":
        pass
    assert await env.alice()  # from a known network
    clock.advance(KNOWN_NETWORK_LIFETIME / 1000)
    while await guess(env) == "InvalidCredentials":
        pass
    with pytest.raises(TooManyAttempts) as refusal:
        await env.alice()
    clock.advance(refusal.value.retry_after)
    assert await env.alice()


async def test_known_networks_are_limited(env: AccountsEnvironment) -> None:
    await env.alice()
    assert [await guess(env, client=HERE) for _ in range(11)].count("TooManyAttempts") == 1


async def register(
    env: AccountsEnvironment, number: int, client: str = ELSEWHERE, password: str = OTHER
) -> type:
    """Register and return the type of the result or error."""
    return await outcome(env.accounts.register(f"{number}@example.com", NAME, password, client=client))


async def test_h4_registrations_count_for_the_network(env: AccountsEnvironment, clock: ManualClock) -> None:
    await env.alice()
    made = [await register(env, number, f"198.51.100.{number}") for number in range(33)]
    assert made == [NewLogin] * 30 + [TooManyAttempts] * 3
    assert len(await env.operator.list_users()) == 31
    assert await guess(env) == "TooManyAttempts"  # log-ins of the same network share the limit
    assert await env.alice()
    assert await register(env, 31, "198.51.101.1") == NewLogin
    clock.advance(2)
    assert [await register(env, number) for number in (32, 33)] == [NewLogin, TooManyAttempts]


async def test_h4_registration_above_the_limit_computes_no_hash(url: str, clock: ManualClock) -> None:
    async with open_database(url) as database:
        env = AccountsEnvironment(database, clock, RateLimit(1, 60))
        env.accounts.passwords = Passwords(hasher := CountingHasher())
        before = hasher.calls
        answers: list[Any] = await asyncio.gather(*(register(env, number) for number in range(10)))
    assert (answers.count(NewLogin), answers.count(TooManyAttempts)) == (3, 7)
    assert hasher.calls == before + 3


async def test_h4_registration_at_the_limit_can_be_retried(env: AccountsEnvironment) -> None:
    assert [await register(env, number) for number in range(31)] == [NewLogin] * 30 + [TooManyAttempts]
    assert [await register(env, number) for number in (0, 29, 29)] == [NewLogin] * 3
    wrong = [await register(env, 29, password=WRONG) for _ in range(11)]
    assert wrong == [EmailTaken] * 10 + [TooManyAttempts]
    assert await register(env, 30) == TooManyAttempts
    assert len(await env.operator.list_users()) == 30


async def test_h4_registration_computes_one_hash_for_free_and_taken_addresses(
    env: AccountsEnvironment, clock: ManualClock
) -> None:
    await env.alice()
    clock.advance(60)
    env.accounts.passwords = Passwords(hasher := CountingHasher())
    work = []
    for email, password in [("new@example.com", OTHER), ("new@example.com", WRONG), (EMAIL, OTHER)]:
        before = hasher.calls
        await outcome(env.accounts.register(email, NAME, password, client=HERE))
        work.append(hasher.calls - before)
    assert work == [1, 1, 1]


async def test_h4_attempt_rejected_by_a_full_queue_is_not_counted(env: AccountsEnvironment) -> None:
    made = await env.alice()
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: env.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=False),
        lambda: env.accounts.register("new@example.com", NAME, OTHER, client=HERE),
        lambda: env.change_password(made, PASSWORD, OTHER),
        lambda: env.accounts.change_email(made.user.id, "new@example.com", PASSWORD, client=HERE),
        lambda: env.accounts.log_in_if_correct(made.user.id, PASSWORD, client=HERE),
    ]
    with fill_hashing_queue(env.accounts.hashing_queue, network_from_host(HERE)):
        answers = [await outcome(call()) for call in calls * 8]  # above the limits of account and network
    assert answers == [TooBusy] * 40
    assert await env.operator.add(
        "carol@example.com", "Carol", OTHER
    )  # administration does not use the queue
    assert [user.email for user in await env.operator.list_users()] == [EMAIL, "carol@example.com"]
    assert await env.alice()


async def test_email_change_limit_prevents_address_enumeration(env: AccountsEnvironment) -> None:
    made = await env.alice()
    await env.operator.add("bob@example.com", "Bob", PASSWORD)
    answers = [
        await outcome(env.accounts.change_email(made.user.id, "bob@example.com", PASSWORD, client=HERE))
        for _ in range(11)
    ]
    assert answers == [EmailTaken] * 10 + [TooManyAttempts]


async def test_password_change_is_rate_limited(env: AccountsEnvironment) -> None:
    made = await env.alice()
    answers: list[Any] = await asyncio.gather(
        *(env.change_password(made, WRONG, OTHER) for _ in range(12)),
        return_exceptions=True,
    )
    assert (
        sorted(type(answer).__name__ for answer in answers)
        == ["TooManyAttempts"] * 2 + ["WrongPassword"] * 10
    )


async def test_password_reset_resets_the_rate_limit(env: AccountsEnvironment) -> None:
    await env.operator.add(EMAIL, NAME, PASSWORD)
    while await guess(env) == "InvalidCredentials":
        pass
    await env.operator.set_password(EMAIL, OTHER)
    assert await env.accounts.log_in(EMAIL, OTHER, client=HERE, remember=False)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_from_host(address) == network


@pytest.mark.parametrize(("limit", "wait"), [(RateLimit(1, 1), 1), (RateLimit(3, 86400), 28800)])
async def test_other_rates(url: str, clock: ManualClock, limit: RateLimit, wait: int) -> None:
    async with open_database(url) as database:
        env = AccountsEnvironment(database, clock, limit)
        assert [await guess(env) for _ in range(limit.count)] == ["InvalidCredentials"] * limit.count
        with pytest.raises(TooManyAttempts) as refusal:
            await env.accounts.log_in(EMAIL, WRONG, client=ELSEWHERE, remember=False)
        assert refusal.value.retry_after == wait
        clock.advance(wait - 0.001)
        assert await guess(env) == "TooManyAttempts"
        clock.advance(0.001)
        assert await guess(env) == "InvalidCredentials"


async def test_purge_removes_expired_rows(env: AccountsEnvironment, clock: ManualClock) -> None:
    made = await env.alice(remember=True)
    while await guess(env) == "InvalidCredentials":
        pass
    await env.accounts.purge(clock())
    assert await guess(env) == "TooManyAttempts"
    assert await env.is_in(made)
    assert made.token is not None
    assert await env.accounts.log_in_with_token(made.token, client=HERE)
    clock.advance(31 * 24 * 60 * 60)
    assert await env.accounts.purge(clock()) > 0
    for table in ("cart_login", "cart_remember_me", "cart_attempt"):
        assert not await env.database.fetch(text(f"SELECT 1 FROM {table}"))
