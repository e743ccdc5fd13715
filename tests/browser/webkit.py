"""The system's WebKit (WebKitGTK) on a virtual display, driven by WebDriver."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from shutil import which
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.polling import DEADLINE, poll_until
from tests.support.servers.process import Server, accepts, free_port

_BROWSERS = ("lib/*/webkit2gtk-4*/MiniBrowser", "libexec/webkit2gtk-4*/MiniBrowser")  # below /usr


class WebKitPage:
    """A tab of MiniBrowser, the browser that comes with WebKitGTK."""

    def __init__(self, session: httpx.AsyncClient) -> None:
        self._session = session

    async def goto(self, url: str) -> None:
        """Open a URL and wait for its `load` event."""
        await self._call("url", url=url)  # may return at the `load` event of the empty first page
        await self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    async def click(self, selector: str) -> None:
        """Click the first element that matches."""
        script = "document.querySelector(arguments[0]).click()"
        await self._call("execute/sync", script=script, args=[selector])

    async def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        script = f"return Boolean({condition})"
        await poll_until(lambda: self._call("execute/sync", script=script, args=[]))

    async def _call(self, command: str, **parameters: Any) -> Any:
        response = await self._session.post(command, json=parameters)
        assert response.status_code == 200, response.text
        return response.json()["value"]


@asynccontextmanager
async def webkit_page(folder: Path) -> AsyncIterator[WebKitPage]:
    """Run WebKit with a new profile; skip the test if it is not installed."""
    programs = which("WebKitWebDriver"), which("Xvfb")
    browser = next((found for one in _BROWSERS for found in Path("/usr").glob(one)), None)
    if None in (*programs, browser):
        pytest.skip("WebKit is not installed: apt-get install webkit2gtk-driver xvfb")  # in CI too
    driver, screen = map(str, programs)
    port = free_port()
    with (
        _display(screen, folder) as display,
        Server(
            [driver, f"--port={port}"],
            folder=folder,
            ready=lambda: accepts(port),
            env={"DISPLAY": display, "HOME": str(folder)},
        ),
    ):
        url = f"http://127.0.0.1:{port}/session"
        async with httpx.AsyncClient(timeout=DEADLINE, trust_env=False) as client:
            options = {"binary": str(browser), "args": ["--automation"]}
            capabilities = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
            started = await client.post(url, json={"capabilities": capabilities})
            assert started.status_code == 200, started.text
            session = f"{url}/{started.json()['value']['sessionId']}"
            client.base_url = httpx.URL(f"{session}/")
            try:
                yield WebKitPage(client)
            finally:
                await client.delete(session)  # closes the browser


@contextmanager
def _display(program: str, folder: Path) -> Iterator[str]:
    """Run a virtual display; yield its name."""
    sockets = Path("/tmp/.X11-unix")
    number = next(one for one in count(90) if not (sockets / f"X{one}").exists())
    command = [program, f":{number}", "-screen", "0", "1280x1000x24", "-nolisten", "tcp"]
    with Server(command, folder=folder, ready=lambda: (sockets / f"X{number}").exists()):
        yield f":{number}"
