"""Log a user out everywhere, on a running shop: sessions and remembered devices."""

import json
from pathlib import Path

import pytest

from tests.support.commands import run_cart
from tests.support.shop import ALICE
from tests.support.shop_server import running_shop

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("folder")]


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (
            ["users", "logout", ALICE["email"]],
            f"Ended all sessions and remembered devices of {ALICE['email']}.\n",
        ),
        (
            ["sessions", "purge", "--yes", "--user", ALICE["email"]],
            "Ended 1 session and all remembered devices.\n",
        ),
    ],
)
async def test_a_user_is_logged_out_everywhere(folder: Path, command: list[str], out: str) -> None:
    with running_shop(folder, {}, workers=1) as shop:
        async with shop.client() as client, shop.client() as guest:
            await guest.get("/visit-counter")
            assert (await client.post("/register", json=ALICE)).status_code == 201
            await client.post("/logout", json={})
            login = {"email": ALICE["email"], "password": ALICE["password"], "remember_me": True}
            assert (await client.post("/login", json=login)).status_code == 200
            assert "remember_me" in client.cookies
            listed = run_cart("sessions", "list", "--user", ALICE["email"], "--json").json
            assert len(listed) == 1
            assert (await client.get("/dashboard")).status_code == 200
            done = run_cart(*command)
            assert (done.code, done.out, done.err) == (0, out, "")
            response = await client.get("/dashboard")
            assert (response.status_code, response.headers["location"]) == (303, "/login")
            assert (await guest.get("/visit-counter")).json()["visit_count"] == 2
            assert run_cart("sessions", "list", "--user", listed[0]["user"], "--json").json == []
            assert (await client.post("/login", json=login)).status_code == 200  # the password stays
    entry = json.loads(Path("data/audit.log").read_text().splitlines()[-1])
    assert entry["command"] == " ".join(command[:2])
    assert ALICE["email"] in (entry.get("email") or entry["selected"])


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "memory://", "cookie://"])
async def test_a_user_is_logged_out_although_the_records_cannot_be_removed(folder: Path, url: str) -> None:
    with running_shop(folder, {}, workers=1) as shop:
        async with shop.client() as client:
            assert (await client.post("/register", json=ALICE)).status_code == 201
            failed = run_cart(*("sessions", "purge", "--yes", "--user", ALICE["email"]), CART_SESSION_URL=url)
            assert (failed.code, failed.out) == (1, "")
            done, problem = failed.err.splitlines()
            assert done.startswith(f"{ALICE['email']} is logged out everywhere")
            assert "store" in problem or "session" in problem
            assert (await client.get("/dashboard")).status_code == 303
    (line,) = Path("data/audit.log").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["logged_out"], entry["ended"], entry["completed"]) == (True, 0, False)


@pytest.mark.parametrize(
    "command", [["users", "logout"], ["sessions", "list", "--user"], ["sessions", "purge", "--yes", "--user"]]
)
def test_an_unknown_address_fails(command: list[str]) -> None:
    assert run_cart("db", "upgrade").code == 0
    Path("data/sessions").mkdir(0o700)
    failed = run_cart(*command, "bob@example.com")
    assert (failed.code, failed.out, failed.err) == (1, "", "There is no user bob@example.com.\n")


def test_an_address_needs_a_database() -> None:
    Path("data/sessions").mkdir(0o700, parents=True)
    failed = run_cart("sessions", "purge", "--yes", "--user", "bob@example.com")
    assert (failed.code, failed.err.count("\n")) == (1, 1)
    assert failed.err.startswith("DATABASE_URL: ")
