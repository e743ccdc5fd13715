"""Users, passwords and limits, on each engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import text

from cartapp.accounts import (
    AccountError,
    EmailTaken,
    InvalidCredentials,
    Limit,
    LoggedIn,
    NoSuchUser,
    TooBusy,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from cartapp.accounts.attempts import KNOWN_FOR, network_of
from cartapp.accounts.passwords import MAX_BYTES, SHOP_WORDS, Passwords, check_new, words_of

from .accounts import ELSEWHERE, EMAIL, HERE, NAME, PASSWORD, CountingHasher, House, occupied, opened
from .conftest import ManualClock
from .databases import DATABASES, with_schema

pytestmark = pytest.mark.anyio

OTHER = "another phrase of mine"
WRONG = "not the right phrase"


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
async def house(url: str, clock: ManualClock) -> AsyncIterator[House]:
    async with opened(url) as database:
        yield House(database, clock)


async def guess(house: House, email: str = EMAIL, client: str = ELSEWHERE) -> str:
    """One wrong attempt; how it was answered."""
    try:
        await house.accounts.log_in(email, WRONG, client=client, remember=False)
    except (InvalidCredentials, TooManyAttempts) as error:
        return type(error).__name__
    raise AssertionError("It was let in.")


# -- passwords ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    ["12345678"[:7], "пароль7", "", "x" * (MAX_BYTES + 1), "й" * (MAX_BYTES // 2 + 1)],
)
def test_too_short_or_too_long(password: str) -> None:
    with pytest.raises(WeakPassword, match=r"at (least|most)"):
        check_new(password)


@pytest.mark.parametrize("password", ["password", "PASSWORD", "12345678", "iloveyou", "Trustno1"])
def test_common_passwords_are_refused(password: str) -> None:
    with pytest.raises(WeakPassword, match="most common"):
        check_new(password)


@pytest.mark.parametrize("password", ["Alice12!", "Alice.Miller", "cartapp!", "SHOPcart", "example1" + EMAIL])
def test_what_is_easy_to_guess_is_refused(password: str) -> None:
    words = [*words_of("example1@alice", "Alice Miller"), EMAIL]
    with pytest.raises(WeakPassword, match="easy to guess"):
        check_new(password, words=words)
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
async def test_any_characters_will_do(password: str) -> None:
    check_new(password, words=words_of(EMAIL, NAME))
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
async def test_a_password_is_checked_exactly(right: str, nearly: str) -> None:
    passwords = Passwords()
    kept = await passwords.hash(right)
    assert await passwords.verify(kept, right)
    assert not await passwords.verify(kept, nearly)


async def test_the_hash_is_argon2id_with_the_recommended_parameters() -> None:
    kept = await Passwords().hash(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert kept != await Passwords().hash(PASSWORD)


async def test_a_hash_with_weaker_parameters_is_renewed_at_the_next_log_in(house: House) -> None:
    made = await house.alice()
    house.accounts.passwords = Passwords()
    again = await house.alice()
    renewed = await house.accounts.user(again.user.id)
    assert renewed is not None
    assert "m=19456" in renewed.password_hash
    assert await house.is_in(made)  # it is the same password


# -- who is let in ------------------------------------------------------------------------------------------


async def test_unknown_wrong_and_disabled_cost_the_same_work_and_say_the_same(house: House) -> None:
    await house.alice()
    await house.operator.add("bob@example.com", "Bob", PASSWORD)
    await house.operator.disable("bob@example.com")
    told = set()
    for email, password in [(EMAIL, WRONG), ("nobody@example.com", PASSWORD), ("bob@example.com", PASSWORD)]:
        before = house.accounts.passwords.checks
        with pytest.raises(InvalidCredentials) as refusal:
            await house.accounts.log_in(email, password, client=HERE, remember=False)
        assert house.accounts.passwords.checks == before + 1
        told.add(str(refusal.value))
    assert told == {"Invalid email or password"}


@pytest.mark.parametrize("typed", ["alice@example.com", "ALICE@Example.COM", "  alice@example.com "])
async def test_capitals_do_not_matter(house: House, typed: str) -> None:
    made = await house.alice()
    again = await house.accounts.log_in(typed, PASSWORD, client=HERE, remember=False)
    assert again.user.id == made.user.id
    with pytest.raises(EmailTaken):
        await house.accounts.register(typed, "Mallory", OTHER, client=HERE)


@pytest.mark.parametrize("other", ["alicé@example.com", "alice@example.comm", "аlice@example.com"])
async def test_other_letters_do(house: House, other: str) -> None:
    made = await house.alice()
    other_user = await house.accounts.register(other, "Other", OTHER, client=HERE)
    assert other_user.user.id != made.user.id


async def test_accents_may_be_encoded_in_two_ways(house: House) -> None:
    await house.accounts.register("jos\u00e9@example.com", "José", PASSWORD, client=HERE)
    with pytest.raises(EmailTaken):
        await house.accounts.register("jose\u0301@example.com", "José", OTHER, client=HERE)


async def test_of_two_registrations_at_once_one_succeeds(url: str, clock: ManualClock) -> None:
    async with opened(url) as one, opened(url) as two:
        houses = [House(database, clock) for database in (one, two)] * 3
        answers = await asyncio.gather(
            *(
                house.accounts.register(EMAIL, NAME, f"{PASSWORD} {number}", client=HERE)
                for number, house in enumerate(houses)
            ),
            return_exceptions=True,
        )
    assert sum(isinstance(answer, EmailTaken) for answer in answers) == len(houses) - 1


async def test_c9_concurrent_equal_registrations_are_one(url: str, clock: ManualClock) -> None:
    async with opened(url) as one, opened(url) as two:
        houses = [House(database, clock) for database in (one, two)] * 3
        made = await asyncio.gather(
            *(house.accounts.register(EMAIL, NAME, PASSWORD, client=HERE) for house in houses)
        )
        assert len({one.user.id for one in made}) == 1
        assert len({one.login_id for one in made}) == len(houses)
        assert all([await houses[0].is_in(one) for one in made])


async def test_c9_a_registration_is_repeated_within_a_minute_only(house: House, clock: ManualClock) -> None:
    made = await house.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)
    clock.advance(59)
    again = await house.accounts.register(EMAIL.upper(), NAME, PASSWORD, client=HERE)
    assert again.user.id == made.user.id
    with pytest.raises(EmailTaken):
        await house.accounts.register(EMAIL, NAME, OTHER, client=HERE)
    await house.operator.disable(EMAIL)
    with pytest.raises(EmailTaken):
        await house.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)
    await house.operator.enable(EMAIL)
    clock.advance(1)
    with pytest.raises(EmailTaken):
        await house.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)


async def test_c9_a_refused_repetition_counts_as_an_attempt(house: House) -> None:
    await house.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)
    answers = [await outcome(house.accounts.register(EMAIL, NAME, OTHER, client=HERE)) for _ in range(11)]
    assert answers == [EmailTaken] * 10 + [TooManyAttempts]


async def outcome(call: Coroutine[Any, Any, object]) -> type:
    """The type of what a call returns or raises."""
    try:
        return type(await call)
    except AccountError as error:
        return type(error)


async def test_a_new_password_ends_all_log_ins_but_the_one_it_returns(house: House) -> None:
    here, there = await house.alice(), await house.alice()
    made = await house.change_password(here, PASSWORD, OTHER)
    assert [await house.is_in(one) for one in (here, there, made)] == [False, False, True]
    with pytest.raises(InvalidCredentials):
        await house.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=False)
    assert await house.accounts.log_in(EMAIL, OTHER, client=HERE, remember=False)


async def test_the_password_is_only_changed_by_who_knows_it(house: House) -> None:
    made = await house.alice()
    with pytest.raises(WrongPassword):
        await house.change_password(made, WRONG, "short")
    with pytest.raises(WeakPassword):
        await house.change_password(made, PASSWORD, "short")
    assert await house.is_in(made)
    assert await house.alice()


async def test_the_address_is_only_changed_by_who_knows_the_password(house: House) -> None:
    made = await house.alice()
    await house.operator.add("bob@example.com", "Bob", PASSWORD)
    with pytest.raises(WrongPassword):
        await house.accounts.change_email(made.user.id, "new@example.com", WRONG, client=HERE)
    with pytest.raises(EmailTaken):
        await house.accounts.change_email(made.user.id, "BOB@example.com", PASSWORD, client=HERE)
    await house.accounts.change_email(made.user.id, "new@example.com", PASSWORD, client=HERE)
    assert await house.accounts.log_in("new@example.com", PASSWORD, client=HERE, remember=False)
    assert await guess(house) == "InvalidCredentials"


@pytest.mark.parametrize("deed", ["disable", "remove"])
async def test_a_disabled_or_removed_user_is_out_at_once(house: House, deed: str) -> None:
    made = await house.alice(remember=True)
    assert made.token is not None
    await getattr(house.operator, deed)(EMAIL.upper())
    assert not await house.is_in(made)
    assert await house.accounts.recognise(made.token, client=HERE) is None
    with pytest.raises(InvalidCredentials):
        await house.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=False)


async def test_enabling_a_user_brings_no_session_back(house: House) -> None:
    made = await house.alice()
    await house.operator.disable(EMAIL)
    await house.operator.enable(EMAIL)
    assert not await house.is_in(made)
    assert await house.is_in(await house.alice())


async def test_a_user_who_is_added_again_is_another_one(house: House) -> None:
    made = await house.alice()
    await house.operator.remove(EMAIL)
    again = await house.alice()
    assert again.user.id != made.user.id
    assert not await house.is_in(made)
    assert await house.is_in(again)


@pytest.mark.parametrize("deed", ["disable", "enable", "remove"])
async def test_the_operator_is_told_of_a_user_who_is_not_there(house: House, deed: str) -> None:
    with pytest.raises(NoSuchUser, match=r"nobody@example\.com"):
        await getattr(house.operator, deed)("nobody@example.com")


async def test_a_log_in_belongs_to_its_user(house: House) -> None:
    alice = await house.alice()
    bob = await house.accounts.register("bob@example.com", "Bob", OTHER, client=HERE)
    assert not await house.accounts.is_current(bob.user.id, alice.login_id)
    assert not await house.accounts.end_login(bob.user.id, alice.login_id)
    assert await house.accounts.current_logins(alice.user.id) == {alice.login_id}
    assert await house.accounts.end_login(alice.user.id, alice.login_id)
    assert [await house.is_in(one) for one in (alice, bob)] == [False, True]


# -- limits -------------------------------------------------------------------------------------------------


async def test_ten_wrong_attempts_and_then_one_every_six_seconds(house: House, clock: ManualClock) -> None:
    await house.alice()
    answers = [await guess(house) for _ in range(12)]
    assert answers == ["InvalidCredentials"] * 10 + ["TooManyAttempts"] * 2
    with pytest.raises(TooManyAttempts) as refusal:
        await house.accounts.log_in(
            EMAIL, PASSWORD, client=ELSEWHERE, remember=False
        )  # not even the right one
    assert refusal.value.retry_after == 6
    clock.advance(refusal.value.retry_after)
    assert [await guess(house) for _ in range(2)] == ["InvalidCredentials", "TooManyAttempts"]
    clock.advance(60)
    assert [await guess(house) for _ in range(11)] == answers[:11]


async def test_an_account_that_does_not_exist_is_limited_like_one_that_does(house: House) -> None:
    await house.alice()
    known = [await guess(house) for _ in range(11)]
    unknown = [await guess(house, "nobody@example.com") for _ in range(11)]
    assert known == unknown


async def test_of_many_attempts_at_once_no_more_are_let_through(url: str, clock: ManualClock) -> None:
    async with opened(url) as one, opened(url) as two:
        houses = [House(database, clock) for database in (one, two)] * 12
        answers = await asyncio.gather(
            *(guess(house, client=f"10.0.{i}.1") for i, house in enumerate(houses))
        )
    assert answers.count("InvalidCredentials") == 10
    assert answers.count("TooManyAttempts") == len(houses) - 10


async def test_a_network_has_three_times_the_attempts_of_an_account(house: House) -> None:
    answers = [await guess(house, f"{i}@example.com", f"203.0.113.{i}") for i in range(32)]
    assert answers == ["InvalidCredentials"] * 30 + ["TooManyAttempts"] * 2
    assert await guess(house, "another@example.com", "203.0.114.1") == "InvalidCredentials"


async def test_success_does_not_count(house: House) -> None:
    for _ in range(40):
        assert await house.alice()


async def test_the_owner_is_not_locked_out_by_others(house: House, clock: ManualClock) -> None:
    await house.alice()
    while await guess(house) == "InvalidCredentials":
        pass
    assert await house.alice()  # from a network that is known to the account
    clock.advance(KNOWN_FOR / 1000)
    while await guess(house) == "InvalidCredentials":
        pass
    with pytest.raises(TooManyAttempts) as refusal:
        await house.alice()
    clock.advance(refusal.value.retry_after)
    assert await house.alice()


async def test_guessing_from_a_known_network_is_limited_too(house: House) -> None:
    await house.alice()
    assert [await guess(house, client=HERE) for _ in range(11)].count("TooManyAttempts") == 1


async def register(house: House, number: int, client: str = ELSEWHERE, password: str = OTHER) -> type:
    """One registration; how it ended."""
    return await outcome(house.accounts.register(f"{number}@example.com", NAME, password, client=client))


async def test_h4_registrations_count_for_their_network(house: House, clock: ManualClock) -> None:
    await house.alice()
    made = [await register(house, number, f"198.51.100.{number}") for number in range(33)]
    assert made == [LoggedIn] * 30 + [TooManyAttempts] * 3
    assert len(await house.operator.everybody()) == 31
    assert await guess(house) == "TooManyAttempts"  # log-ins from there count together with them
    assert await house.alice()
    assert await register(house, 31, "198.51.101.1") == LoggedIn
    clock.advance(2)
    assert [await register(house, number) for number in (32, 33)] == [LoggedIn, TooManyAttempts]


async def test_h4_a_registration_beyond_the_limit_hashes_nothing(url: str, clock: ManualClock) -> None:
    async with opened(url) as database:
        house = House(database, clock, Limit(1, 60))
        house.accounts.passwords = Passwords(hasher := CountingHasher())
        before = hasher.work
        answers: list[Any] = await asyncio.gather(*(register(house, number) for number in range(10)))
    assert (answers.count(LoggedIn), answers.count(TooManyAttempts)) == (3, 7)
    assert hasher.work == before + 3


async def test_h4_the_registration_that_reached_the_limit_may_come_again(house: House) -> None:
    assert [await register(house, number) for number in range(31)] == [LoggedIn] * 30 + [TooManyAttempts]
    assert [await register(house, number) for number in (0, 29, 29)] == [LoggedIn] * 3
    wrong = [await register(house, 29, password=WRONG) for _ in range(11)]
    assert wrong == [EmailTaken] * 10 + [TooManyAttempts]
    assert await register(house, 30) == TooManyAttempts
    assert len(await house.operator.everybody()) == 30


async def test_h4_a_registration_costs_one_hash_whether_the_address_is_taken_or_not(
    house: House, clock: ManualClock
) -> None:
    await house.alice()
    clock.advance(60)
    house.accounts.passwords = Passwords(hasher := CountingHasher())
    work = []
    for email, password in [("new@example.com", OTHER), ("new@example.com", WRONG), (EMAIL, OTHER)]:
        before = hasher.work
        await outcome(house.accounts.register(email, NAME, password, client=HERE))
        work.append(hasher.work - before)
    assert work == [1, 1, 1]


async def test_h4_an_attempt_without_room_does_not_count_and_changes_nothing(house: House) -> None:
    made = await house.alice()
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: house.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=False),
        lambda: house.accounts.register("new@example.com", NAME, OTHER, client=HERE),
        lambda: house.change_password(made, PASSWORD, OTHER),
        lambda: house.accounts.change_email(made.user.id, "new@example.com", PASSWORD, client=HERE),
        lambda: house.accounts.log_in_again(made.user.id, PASSWORD, client=HERE),
    ]
    with occupied(house.accounts.turns, network_of(HERE)):
        answers = [await outcome(call()) for call in calls * 8]  # more than the limit of account or network
    assert answers == [TooBusy] * 40
    assert await house.operator.add("carol@example.com", "Carol", OTHER)  # an operator's command has no turn
    assert [user.email for user in await house.operator.everybody()] == [EMAIL, "carol@example.com"]
    assert await house.alice()


async def test_taken_addresses_cannot_be_tried_without_end(house: House) -> None:
    made = await house.alice()
    await house.operator.add("bob@example.com", "Bob", PASSWORD)
    answers = [
        await outcome(house.accounts.change_email(made.user.id, "bob@example.com", PASSWORD, client=HERE))
        for _ in range(11)
    ]
    assert answers == [EmailTaken] * 10 + [TooManyAttempts]


async def test_the_current_password_cannot_be_guessed_without_end(house: House) -> None:
    made = await house.alice()
    answers: list[Any] = await asyncio.gather(
        *(house.change_password(made, WRONG, OTHER) for _ in range(12)),
        return_exceptions=True,
    )
    assert (
        sorted(type(answer).__name__ for answer in answers)
        == ["TooManyAttempts"] * 2 + ["WrongPassword"] * 10
    )


async def test_a_new_password_from_the_operator_lets_the_owner_in(house: House) -> None:
    await house.operator.add(EMAIL, NAME, PASSWORD)
    while await guess(house) == "InvalidCredentials":
        pass
    await house.operator.set_password(EMAIL, OTHER)
    assert await house.accounts.log_in(EMAIL, OTHER, client=HERE, remember=False)


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
    assert network_of(address) == network


@pytest.mark.parametrize(("limit", "wait"), [(Limit(1, 1), 1), (Limit(3, 86400), 28800)])
async def test_limits_of_other_sizes(url: str, clock: ManualClock, limit: Limit, wait: int) -> None:
    async with opened(url) as database:
        house = House(database, clock, limit)
        assert [await guess(house) for _ in range(limit.count)] == ["InvalidCredentials"] * limit.count
        with pytest.raises(TooManyAttempts) as refusal:
            await house.accounts.log_in(EMAIL, WRONG, client=ELSEWHERE, remember=False)
        assert refusal.value.retry_after == wait
        clock.advance(wait - 0.001)
        assert await guess(house) == "TooManyAttempts"
        clock.advance(0.001)
        assert await guess(house) == "InvalidCredentials"


async def test_what_says_nothing_any_more_is_removed(house: House, clock: ManualClock) -> None:
    made = await house.alice(remember=True)
    while await guess(house) == "InvalidCredentials":
        pass
    await house.accounts.purge(clock())
    assert await guess(house) == "TooManyAttempts"
    assert await house.is_in(made)
    assert made.token is not None
    assert await house.accounts.recognise(made.token, client=HERE)
    clock.advance(31 * 24 * 60 * 60)
    assert await house.accounts.purge(clock()) > 0
    for table in ("cart_login", "cart_remember_me", "cart_attempt"):
        assert not await house.database.fetch(text(f"SELECT 1 FROM {table}"))
