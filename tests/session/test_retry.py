"""Backoff while the event loop is blocked."""

import time

import pytest

from cartapp.session.errors import SessionBusy
from cartapp.session.retry import backoff
from tests.conftest import ON_BOTH_LOOPS

pytestmark = [pytest.mark.anyio, ON_BOTH_LOOPS]

TIMEOUT = 0.05


async def test_a_blocked_event_loop_does_not_use_up_the_last_attempt() -> None:
    attempts = backoff(TIMEOUT)
    await anext(attempts)
    time.sleep(2 * TIMEOUT)  # noqa: ASYNC251 - the fault
    await anext(attempts)
    with pytest.raises(SessionBusy):
        await anext(attempts)
