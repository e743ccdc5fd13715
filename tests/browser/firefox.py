"""The system's Firefox, driven by WebDriver BiDi, which it speaks without a driver program."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.servers.process import Server, accepts, free_port

_WAIT = """
new Promise((resolve, reject) => {
  const end = performance.now() + 15000;
  const check = () => {
    if (%s) resolve(true);
    else if (performance.now() > end) reject(new Error("Not so within 15 s: " + document.body.innerText));
    else setTimeout(check, 20);
  };
  check();
})
"""


class FirefoxPage:
    """A tab; `errors` are the messages of failed scripts."""

    def __init__(self, socket: ClientConnection) -> None:
        self.errors: list[str] = []
        self._socket = socket
        self._ids = count(1)
        self._context = ""

    async def start(self) -> None:
        """Begin a session."""
        await self._call("session.new", capabilities={})
        await self._call("session.subscribe", events=["log.entryAdded"])
        tree = await self._call("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def goto(self, url: str) -> None:
        """Open a URL and wait for its `load` event."""
        await self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def click(self, selector: str) -> None:
        """Click the first element that matches."""
        await self._evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        await self._evaluate(_WAIT % condition)

    async def _evaluate(self, expression: str) -> None:
        target = {"context": self._context}
        done = await self._call("script.evaluate", expression=expression, target=target, awaitPromise=True)
        assert done["type"] == "success", done.get("exceptionDetails")

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self._socket.recv())
            if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
                self.errors.append(message["params"]["text"])
            if message.get("id") == number:
                assert message["type"] == "success", message
                result: dict[str, Any] = message["result"]
                return result


@asynccontextmanager
async def firefox_page(folder: Path) -> AsyncIterator[FirefoxPage]:
    """Run Firefox with a profile in `folder`; skip the test if it is not installed."""
    program = which("firefox-esr") or which("firefox")
    if program is None:
        pytest.skip("Firefox is not installed: apt-get install firefox-esr")  # in CI too
    port = free_port()
    command = [program, "--headless", "--no-remote", "--profile", str(folder)]
    with Server([*command, "--remote-debugging-port", str(port)], folder=folder, ready=lambda: accepts(port)):
        async with asyncio.timeout(60), connect(f"ws://127.0.0.1:{port}/session", proxy=None) as socket:
            page = FirefoxPage(socket)
            await page.start()
            yield page
