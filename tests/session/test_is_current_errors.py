"""An error of `is_current` reaches the handlers that access the session, and no other."""

from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient

from cartapp.session import SessionMiddleware, session_of
from cartapp.session.fastapi import SessionDep


class Accounts:
    """The accounts of an application: `is_current` fails while they cannot be reached."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def is_current(self, _user_id: str, _epoch: int) -> bool:
        if self.error is not None:
            raise self.error
        return True


async def respond_to_outage(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 503)


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


@pytest.fixture
def client(accounts: Accounts) -> TestClient:
    """Return a client that is logged in."""
    app = FastAPI(exception_handlers={ConnectionError: respond_to_outage})
    app.add_middleware(SessionMiddleware, store="memory://", eager=True, is_current=accounts.is_current)

    @app.post("/login")
    async def log_in(session: SessionDep) -> None:
        session.log_in("7")

    @app.get("/healthz")
    async def check() -> str:
        return "ok"

    @app.get("/page")
    async def page() -> Any:
        return JSONResponse("page", media_type="text/html")

    @app.get("/dependency")
    async def dependency(session: SessionDep) -> str | None:
        return session.user_id

    @app.get("/request")
    async def request(request: Request) -> str | None:
        return session_of(request).user_id

    client = TestClient(app, base_url="https://shop.example")
    client.post("/login")
    return client


def test_pages_without_a_session_are_served(
    client: TestClient, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    accounts.error = ConnectionError("The accounts are down.")
    for path in ("/healthz", "/page", "/nowhere"):
        response = client.get(path)
        assert response.status_code == (404 if path == "/nowhere" else 200)
        assert "set-cookie" not in response.headers
    assert "The session was not loaded: ConnectionError: The accounts are down." in caplog.text


@pytest.mark.parametrize("path", ["/dependency", "/request"])
def test_a_handler_that_accesses_the_session_gets_the_error(
    client: TestClient, accounts: Accounts, path: str
) -> None:
    accounts.error = ConnectionError("The accounts are down.")
    response = client.get(path)
    assert (response.status_code, response.json()) == (503, {"error": "The accounts are down."})
    accounts.error = KeyError("7")
    with pytest.raises(KeyError):
        client.get(path)
    accounts.error = None
    assert client.get(path).json() == "7"
