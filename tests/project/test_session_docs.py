"""Run the examples of docs/sessions.md; those about tests and stores run in `test_wheel`."""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cartapp.session import CookieOptions, SessionManager
from cartapp.session.testing.records import make_record
from tests.support.docs import examples
from tests.support.shop_server import ROOT

PAGE = "docs/sessions.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", (ROOT / PAGE).read_text(), re.MULTILINE | re.DOTALL)
"""All without a title: those with one are files, which `test_wheel` runs."""
HTTPS = "https://shop.example"


def run(heading: str, number: int = 0, **names: object) -> dict[str, Any]:
    """Run one example of a section and return its names."""
    code = compile(examples(PAGE, heading)[number], f"{PAGE}: {heading}", "exec")
    defined: dict[str, Any] = {"__name__": "example", **names}
    exec(code, defined)
    return defined


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_runs_alone(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[number], f"{PAGE}: example {number}", "exec"), {"__name__": "example"})


def test_loading_on_demand() -> None:
    app = run("Loading")["app"]
    with TestClient(app, base_url=HTTPS) as client:
        assert client.get("/cart").json() == {"cart": []}
        assert client.get("/theme").json() == {"theme": "light"}


@pytest.mark.anyio
async def test_sessions_outside_a_request() -> None:
    manager = SessionManager("memory://")
    records = [make_record(manager.clock(), user_id="7") for _ in range(3)]
    for record in records:
        await manager.store.create(record)
    await run("Outside a request")["end_all_but"](manager, "7", records[0].key)
    assert [await manager.store.load(record.key) is None for record in records] == [False, True, True]


@pytest.mark.parametrize(("remember", "has_max_age"), [(False, False), (True, True)])
def test_remember_me(remember: bool, has_max_age: bool) -> None:
    app = run('Lifetimes and "remember me"')["app"]
    with TestClient(app, base_url=HTTPS) as client:
        response = client.post("/login", params={"remember": remember})
    assert ("; Max-Age=2592000" in response.headers["set-cookie"]) is has_max_age


def test_typed_views() -> None:
    app = run("The typed view", 1)["app"]
    with TestClient(app, base_url=HTTPS) as client:
        client.post("/visit")
        assert client.post("/visit").json() == {"items": ["tea", "tea"], "theme": "light", "visits": 2}


def test_synchronous_endpoints() -> None:
    app = run("Synchronous endpoints")["app"]
    with TestClient(app, base_url=HTTPS) as client:
        assert [client.post("/visits").json() for _ in range(3)] == [1, 2, 3]


def test_a_client_of_your_own() -> None:
    names = [run("A client of your own", number)["manager"].store.name for number in range(2)]
    assert names == ["redis", "database"]


def test_prefix_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    defined = run("A client of your own", 2)
    assert [defined[name].name for name in ("blog", "shop")] == ["database", "redis"]


def test_partitioned_cookies() -> None:
    options = CookieOptions(same_site="None", secure=True, partitioned=True)
    assert options.format("v", 1, https=True).endswith("; HttpOnly; SameSite=None; Secure; Partitioned")
    assert 'CookieOptions(same_site="None", secure=True, partitioned=True)' in read_page()


def read_page() -> str:
    return (ROOT / PAGE).read_text()
