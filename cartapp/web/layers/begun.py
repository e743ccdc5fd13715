"""Whether an answer has begun: after its first byte nobody can answer anything else."""

from collections.abc import Awaitable

from starlette.types import Message, Send


class Begun:
    """Passes messages on, and knows whether there were any; in each request's scope as `begun`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.yes = False

    def send(self, message: Message) -> Awaitable[None]:
        """See ASGI; no coroutine itself, since it only passes on."""
        self.yes = True
        return self._send(message)
