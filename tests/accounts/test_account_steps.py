"""Account operations interrupted between any two steps (findings C8 and C9).

Every response is true, and the visitor can continue.
"""

import logging
from collections.abc import AsyncIterator
from itertools import count

import httpx2 as httpx
import pytest

from tests.support.account_operations import (
    NEW,
    OPERATIONS,
    PASSWORD,
    AccountOperation,
    Person,
    guest,
    member,
    registered_guest,
)
from tests.support.databases import DATABASES
from tests.support.outages import (
    BACKENDS,
    Action,
    ShopUnderTest,
    database_file_outage,
    lost_response_outage,
    shop_under_test,
)
from tests.support.polling import poll_until
from tests.support.schema import with_schema
from tests.support.shop import browser, messages

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html"}
DONE = (200, 201, 303)
WHEN = ("before", "after")  # a database call
FORMS = [name for name in OPERATIONS if name not in ("end-other", "log-out-of-a-guest", "clear-of-a-guest")]
FILE, REDIS = (pytest.param(name, marks=pytest.mark.soak) for name in ("file", "redis-read-only"))
"""For concurrent requests in one process: their order does not depend on the store."""

PASSWORDS = {"current_password": PASSWORD, "new_password": NEW}


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "file")


@pytest.fixture
def url(request: pytest.FixtureRequest, backend: str) -> str | None:
    return with_schema(DATABASES["postgresql"](request)) if backend.endswith("postgresql") else None


@pytest.fixture
async def target(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, backend: str, url: str | None
) -> AsyncIterator[ShopUnderTest]:
    async with shop_under_test(backend, request, monkeypatch, url) as found:
        yield found


async def works(target: ShopUnderTest) -> bool:
    """Return whether the session store and the database are available again."""
    async with browser(target.app) as client:
        answers = [await client.post("/api/preferences", json={}), await client.get("/")]
    return [answer.status_code for answer in answers] == [200, 200]


async def interrupted(
    target: ShopUnderTest, operation: AccountOperation, stop: Action, start: Action, *, after: bool = False
) -> AsyncIterator[tuple[Person, httpx.Response]]:
    """Run the operation with an outage from its first step on, then from its second, and so on."""
    for number in count():
        person = await operation.begin(target)
        target.interceptor.intercept(number, stop, after=after)
        try:
            response = await operation.act(person)
        finally:
            was_reached = target.interceptor.was_reached
            target.interceptor.disarm()
            if was_reached:
                await start()
        if not was_reached:
            assert response.status_code in DONE
            return
        await poll_until(lambda: works(target))
        yield person, response


# -- C8: an outage between the steps -------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_c8_session_store_outage_between_steps(target: ShopUnderTest, name: str) -> None:
    operation = OPERATIONS[name]
    async for person, response in interrupted(target, operation, target.stop, target.start):
        await operation.check(person, response)


@pytest.mark.parametrize("outage", [database_file_outage, lost_response_outage])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_c8_database_outage_between_steps(target: ShopUnderTest, name: str, outage: object) -> None:
    operation = OPERATIONS[name]
    stop, start = (
        database_file_outage(target) if outage is database_file_outage else lost_response_outage(target)
    )
    async for person, response in interrupted(
        target, operation, stop, start, after=outage is lost_response_outage
    ):
        await operation.check(person, response)


@pytest.mark.parametrize("name", ["log-out-of-a-guest", "clear-of-a-guest"])
async def test_c8_operations_of_the_session_store_alone_are_503(target: ShopUnderTest, name: str) -> None:
    operation = OPERATIONS[name]
    person = await operation.begin(target)
    await target.stop()
    response = await operation.act(person)
    await target.start()
    assert response.status_code == 503
    await operation.check(person, response)


@pytest.mark.parametrize("backend", ["redis-read-only"], indirect=True)
async def test_c8_log_out_succeeds_without_removing_the_session(target: ShopUnderTest) -> None:
    person = await member(target)
    await target.stop()
    assert (await person.post("/logout")).status_code == 200
    assert not await person.is_in()
    await target.start()
    assert not await person.is_in()


@pytest.mark.parametrize("backend", ["redis-read-only"], indirect=True)
async def test_c8_accounts_stay_unchanged_while_the_session_store_is_read_only(
    target: ShopUnderTest,
) -> None:
    person = await member(target)
    newcomer = await guest(target)
    await target.stop()
    response = await OPERATIONS["password"].act(person)
    assert response.json() == {
        "error": "The password was not changed: The session store cannot be reached at the moment"
    }
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert [await person.can_log_in(one) for one in (PASSWORD, NEW)] == [True, False]
    response = await newcomer.post("/register", newcomer.user)
    assert response.json() == {
        "error": "The account was not created: The session store cannot be reached at the moment"
    }
    assert not await newcomer.can_log_in(PASSWORD)
    await target.start()
    assert await person.is_in()


@pytest.mark.parametrize("backend", ["redis-read-only"], indirect=True)
async def test_c8_error_page_states_the_partial_result(target: ShopUnderTest) -> None:
    person = await guest(target)
    target.interceptor.intercept(1, target.stop)  # the transaction after the one that counts the attempt
    response = await person.client.post(
        "/register", data=person.user, headers={**BROWSER, "Accept-Language": "de"}
    )
    assert response.status_code == 503
    assert messages(response) == [
        "Das Konto wurde angelegt, aber die Anmeldung nicht abgeschlossen: "
        "Der Speicher der Sitzungen ist zurzeit nicht erreichbar."
    ]
    await target.start()


# -- C8: concurrent requests between the steps ---------------------------------------------------------------


@pytest.mark.parametrize("backend", [FILE, REDIS, "database"], indirect=True)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", ["log-in", "log-in-again", "register", "password", "profile", "end-others"])
async def test_c8_concurrent_reads_keep_the_cart(target: ShopUnderTest, name: str, when: str) -> None:
    """At each step, a read with the former cookie finds the session or a tombstone and deletes neither."""
    operation = OPERATIONS[name]
    for number in count():
        person = await operation.begin(target)
        looking = person.copy()

        async def look(looking: Person = looking) -> None:
            await looking.items()
            await looking.client.get("/")

        target.interceptor.intercept(number, look, after=when == "after")
        response = await operation.act(person)
        assert response.status_code in DONE
        await operation.check(person, response)
        if not target.interceptor.was_reached:
            return


@pytest.mark.parametrize("backend", [FILE, "database"], indirect=True)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", FORMS)
async def test_c8_double_submission_between_steps(target: ShopUnderTest, name: str, when: str) -> None:
    """Double click: at each step of the first request, the whole second request runs and rotates the ID."""
    operation = OPERATIONS[name]
    for number in count():
        person = await operation.begin(target)
        second = person.copy()

        async def click(second: Person = second) -> None:
            assert (await operation.act(second)).status_code in DONE

        target.interceptor.intercept(number, click, after=when == "after")
        response = await operation.act(person)
        if not target.interceptor.was_reached:
            target.interceptor.disarm()
            return
        assert response.status_code in DONE, (number, response.text)
        # The session has the ID of the last commit.
        await operation.check(person if await person.is_in() else second, response)


# -- C9: the response is lost, and the browser sends the request again ---------------------------------------


@pytest.mark.parametrize("backend", ["file", "redis-read-only", "database"], indirect=True)
@pytest.mark.parametrize("name", FORMS)
async def test_c9_request_can_be_retried_after_a_lost_response(target: ShopUnderTest, name: str) -> None:
    operation = OPERATIONS[name]
    person = await operation.begin(target)
    elsewhere = person.copy()
    first = await operation.act(elsewhere)
    again = await operation.act(person)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    await operation.check(person, again)


@pytest.mark.parametrize("name", ["log-in", "register", "password"])
async def test_c9_retry_ends_the_log_in_of_the_first_request(target: ShopUnderTest, name: str) -> None:
    operation = OPERATIONS[name]
    person = await operation.begin(target)
    elsewhere = person.copy()
    assert (await operation.act(elsewhere)).status_code in DONE
    assert await elsewhere.is_in()
    assert (await operation.act(person)).status_code in DONE
    assert not await elsewhere.is_in()
    assert not await elsewhere.copy("remember_me").is_in()
    assert await person.is_in()


async def test_c9_old_cookie_cannot_change_the_password(target: ShopUnderTest) -> None:
    person = await member(target)
    thief = person.copy("cart_session")
    assert (await OPERATIONS["password"].act(person)).status_code == 200
    for new in (PASSWORD, "yet another phrase"):
        fields = {"current_password": PASSWORD, "new_password": new}
        assert (await thief.post("/account/password", fields)).status_code == 403
    assert not await thief.is_in()
    assert (await person.is_in(), await person.can_log_in(NEW)) == (True, True)
    stale = (await registered_guest(target)).copy()
    response = await stale.post("/account/password", PASSWORDS)
    assert response.status_code == 401


async def test_c9_login_succeeded_is_logged_for_completed_log_ins_only(
    target: ShopUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> list[str]:
        return [one.getMessage().split()[0] for one in caplog.records if one.name == "cartapp.security"]

    person = await registered_guest(target)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        target.interceptor.intercept(2, target.stop)  # the transaction that adds the log-in
        response = await person.log_in()
        await target.start()
        assert response.json()["error"].startswith("The login was not completed: ")
        assert logged() == ["event=login_incomplete"]
        caplog.clear()
        assert (await person.log_in()).status_code == 200
        assert logged() == ["event=login_succeeded"]


@pytest.mark.parametrize(
    ("path", "fields", "page", "message"),
    [
        ("/profile/update", {"name": "Alice"}, "/profile", "Profile updated successfully"),
        ("/preferences", {"theme": "dark"}, "/preferences", "Preferences saved"),
        ("/cart/1", {"quantity": "3"}, "/cart", "Cart updated"),
        ("/cart/1", {"quantity": "0"}, "/cart", "Removed: Wireless Keyboard"),
        ("/cart/clear", {}, "/cart", "Cart cleared"),
        ("/account/sessions/end-others", {}, "/dashboard", "All other sessions ended"),
        (
            "/account/password",
            {"current_password": PASSWORD, "new_password": NEW},
            "/dashboard",
            "Password changed",
        ),
    ],
)
async def test_c9_form_sent_twice_shows_one_flash(
    target: ShopUnderTest, path: str, fields: dict[str, str], page: str, message: str
) -> None:
    person = await (member if path.startswith("/account") else guest)(target)
    elsewhere = person.copy()
    for sender in (elsewhere, person):
        assert (await sender.client.post(path, data=fields, headers=BROWSER)).status_code == 303
    assert messages(await person.client.get(page)) == [message]
    assert messages(await person.client.get(page)) == []
