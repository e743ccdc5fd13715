"""Operations on accounts and session, interrupted at each of their steps.

Findings C8 and C9: every response is true, and the visitor can go on.
"""

import logging
from collections.abc import AsyncIterator
from itertools import count

import httpx2 as httpx
import pytest

from .account_deeds import DEEDS, NEW, PASSWORD, Deed, Person, guest, member, stranger
from .databases import DATABASES, with_schema
from .outages import BACKENDS, Action, Place, database_file, lost_answer, place
from .shop import browser, messages
from .waiting import until

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html"}
DONE = (200, 201, 303)
WHEN = ("before", "after")  # a call of the accounts' database
FORMS = [name for name in DEEDS if name not in ("end-other", "log-out-of-a-guest", "clear-of-a-guest")]
PASSWORDS = {"current_password": PASSWORD, "new_password": NEW}


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "file")


@pytest.fixture
def url(request: pytest.FixtureRequest, backend: str) -> str | None:
    return with_schema(DATABASES["postgresql"](request)) if backend.endswith("postgresql") else None


@pytest.fixture
async def there(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, backend: str, url: str | None
) -> AsyncIterator[Place]:
    async with place(backend, request, monkeypatch, url) as found:
        yield found


async def works(there: Place) -> bool:
    """Whether session store and database are in reach again."""
    async with browser(there.app) as client:
        answers = [await client.post("/api/preferences", json={}), await client.get("/")]
    return [answer.status_code for answer in answers] == [200, 200]


async def interrupted(
    there: Place, deed: Deed, stop: Action, start: Action, *, after: bool = False
) -> AsyncIterator[tuple[Person, httpx.Response]]:
    """The operation with an outage from its first step on, then with one from its second, and so on."""
    for number in count():
        person = await deed.begin(there)
        there.gate.at(number, stop, after=after)
        try:
            response = await deed.act(person)
        finally:
            was_reached = there.gate.was_reached
            there.gate.disarm()
            if was_reached:
                await start()
        if not was_reached:
            assert response.status_code in DONE
            return
        await until(lambda: works(there))
        yield person, response


# -- C8: an outage between the steps -------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("name", DEEDS)
async def test_c8_the_session_store_fails_between_two_steps(there: Place, name: str) -> None:
    deed = DEEDS[name]
    async for person, response in interrupted(there, deed, there.stop, there.start):
        await deed.check(person, response)


@pytest.mark.parametrize("outage", [database_file, lost_answer])
@pytest.mark.parametrize("name", DEEDS)
async def test_c8_the_database_fails_between_two_steps(there: Place, name: str, outage: object) -> None:
    deed = DEEDS[name]
    stop, start = database_file(there) if outage is database_file else lost_answer(there)
    async for person, response in interrupted(there, deed, stop, start, after=outage is lost_answer):
        await deed.check(person, response)


@pytest.mark.parametrize("name", ["log-out-of-a-guest", "clear-of-a-guest"])
async def test_c8_what_only_the_session_store_can_do_is_refused(there: Place, name: str) -> None:
    deed = DEEDS[name]
    person = await deed.begin(there)
    await there.stop()
    response = await deed.act(person)
    await there.start()
    assert response.status_code == 503
    await deed.check(person, response)


@pytest.mark.parametrize("backend", ["redis-read-only"], indirect=True)
async def test_c8_a_log_out_is_done_though_the_session_cannot_be_removed(there: Place) -> None:
    person = await member(there)
    await there.stop()
    assert (await person.post("/logout")).status_code == 200
    assert not await person.is_in()
    await there.start()
    assert not await person.is_in()


@pytest.mark.parametrize("backend", ["redis-read-only"], indirect=True)
async def test_c8_nothing_of_an_account_changes_while_the_session_store_refuses_writes(there: Place) -> None:
    person = await member(there)
    newcomer = await guest(there)
    await there.stop()
    response = await DEEDS["password"].act(person)
    assert response.json() == {
        "error": "The password was not changed: The session store cannot be reached at the moment"
    }
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert [await person.opens(one) for one in (PASSWORD, NEW)] == [True, False]
    response = await newcomer.post("/register", newcomer.user)
    assert response.json() == {
        "error": "The account was not created: The session store cannot be reached at the moment"
    }
    assert not await newcomer.opens(PASSWORD)
    await there.start()
    assert await person.is_in()


@pytest.mark.parametrize("backend", ["redis-read-only"], indirect=True)
async def test_c8_a_page_says_what_was_done(there: Place) -> None:
    person = await guest(there)
    there.gate.at(1, there.stop)  # the transaction that makes the account, with an attempt counted before
    response = await person.client.post(
        "/register", data=person.user, headers={**BROWSER, "Accept-Language": "de"}
    )
    assert response.status_code == 503
    assert messages(response) == [
        "Das Konto wurde angelegt, aber die Anmeldung nicht abgeschlossen: "
        "Der Speicher der Sitzungen ist zurzeit nicht erreichbar."
    ]
    await there.start()


# -- C8: concurrent requests between the steps ---------------------------------------------------------------


@pytest.mark.parametrize("backend", ["file", "redis-read-only", "database"], indirect=True)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", ["log-in", "log-in-again", "register", "password", "profile", "end-others"])
async def test_c8_a_concurrent_look_keeps_the_cart(there: Place, name: str, when: str) -> None:
    """With the former cookie at each step: it finds the session, or a tombstone, and deletes neither."""
    deed = DEEDS[name]
    for number in count():
        person = await deed.begin(there)
        looking = person.copy()

        async def look(looking: Person = looking) -> None:
            await looking.items()
            await looking.client.get("/")

        there.gate.at(number, look, after=when == "after")
        response = await deed.act(person)
        assert response.status_code in DONE
        await deed.check(person, response)
        if not there.gate.was_reached:
            return


@pytest.mark.parametrize("backend", ["file", "database"], indirect=True)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", FORMS)
async def test_c8_the_same_form_runs_in_between(there: Place, name: str, when: str) -> None:
    """A double click: at each step of the first request the second one runs as a whole, and rotates."""
    deed = DEEDS[name]
    for number in count():
        person = await deed.begin(there)
        second = person.copy()

        async def click(second: Person = second) -> None:
            assert (await deed.act(second)).status_code in DONE

        there.gate.at(number, click, after=when == "after")
        response = await deed.act(person)
        if not there.gate.was_reached:
            there.gate.disarm()
            return
        assert response.status_code in DONE, (number, response.text)
        # The session has the ID that was set by the one whose commit came last.
        await deed.check(person if await person.is_in() else second, response)


# -- C9: the response is lost, and the browser sends the request again ---------------------------------------


@pytest.mark.parametrize("backend", ["file", "redis-read-only", "database"], indirect=True)
@pytest.mark.parametrize("name", FORMS)
async def test_c9_a_request_whose_response_was_lost_may_come_again(there: Place, name: str) -> None:
    deed = DEEDS[name]
    person = await deed.begin(there)
    elsewhere = person.copy()
    first = await deed.act(elsewhere)
    again = await deed.act(person)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    await deed.check(person, again)


@pytest.mark.parametrize("name", ["log-in", "register", "password"])
async def test_c9_a_repeated_request_ends_the_log_in_of_the_first(there: Place, name: str) -> None:
    deed = DEEDS[name]
    person = await deed.begin(there)
    elsewhere = person.copy()
    assert (await deed.act(elsewhere)).status_code in DONE
    assert await elsewhere.is_in()
    assert (await deed.act(person)).status_code in DONE
    assert not await elsewhere.is_in()
    assert not await elsewhere.copy("remember_me").is_in()
    assert await person.is_in()


async def test_c9_an_old_cookie_alone_changes_no_password(there: Place) -> None:
    person = await member(there)
    thief = person.copy("cart_session")
    assert (await DEEDS["password"].act(person)).status_code == 200
    for new in (PASSWORD, "yet another phrase"):
        fields = {"current_password": PASSWORD, "new_password": new}
        assert (await thief.post("/account/password", fields)).status_code == 403
    assert not await thief.is_in()
    assert (await person.is_in(), await person.opens(NEW)) == (True, True)
    stale = (await stranger(there)).copy()
    response = await stale.post("/account/password", PASSWORDS)
    assert response.status_code == 401


async def test_c9_only_a_log_in_that_is_in_is_logged_as_succeeded(
    there: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> list[str]:
        return [one.getMessage().split()[0] for one in caplog.records if one.name == "cartapp.security"]

    person = await stranger(there)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        there.gate.at(2, there.stop)  # the transaction that begins the log-in
        response = await person.log_in()
        await there.start()
        assert response.json()["error"].startswith("The log-in was not completed: ")
        assert logged() == ["event=login_incomplete"]
        caplog.clear()
        assert (await person.log_in()).status_code == 200
        assert logged() == ["event=login_succeeded"]


@pytest.mark.parametrize(
    ("path", "fields", "page", "message"),
    [
        ("/profile/update", {"name": "Alice"}, "/profile", "Profile updated successfully"),
        ("/preferences", {"theme": "dark"}, "/preferences", "Preferences saved"),
        ("/cart/1", {"quantity": "3"}, "/cart", "Your cart was changed"),
        ("/cart/1", {"quantity": "0"}, "/cart", "Removed"),
        ("/cart/clear", {}, "/cart", "Your cart is empty"),
        ("/account/sessions/end-others", {}, "/dashboard", "All other sessions are ended"),
        (
            "/account/password",
            {"current_password": PASSWORD, "new_password": NEW},
            "/dashboard",
            "Password changed",
        ),
    ],
)
async def test_c9_a_form_that_is_sent_twice_shows_its_flash_once(
    there: Place, path: str, fields: dict[str, str], page: str, message: str
) -> None:
    person = await (member if path.startswith("/account") else guest)(there)
    elsewhere = person.copy()
    for sender in (elsewhere, person):
        assert (await sender.client.post(path, data=fields, headers=BROWSER)).status_code == 303
    assert messages(await person.client.get(page)) == [message]
    assert messages(await person.client.get(page)) == []
