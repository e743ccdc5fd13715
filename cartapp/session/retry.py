"""Backoff between the attempts at a compare-and-set."""

import asyncio
import random
from collections.abc import AsyncIterator

from .errors import SessionBusy

_FIRST, _LONGEST = 0.001, 0.05  # seconds


async def backoff(timeout: float) -> AsyncIterator[None]:
    """Yield after growing pauses with jitter. Raises `SessionBusy` after `timeout` seconds.

    Allows one more attempt then, since a blocked event loop may have delayed the last one.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pause = _FIRST
    late = False
    while not late:
        late = loop.time() >= deadline
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
        pause = min(pause * 2, _LONGEST)
        yield
    raise SessionBusy
