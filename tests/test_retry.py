"""The attempts at a compare-and-set, while the event loop is blocked."""

import time

import pytest

from cartapp.session.errors import SessionBusy
from cartapp.session.retry import pauses

from .conftest import ON_BOTH_LOOPS

pytestmark = [pytest.mark.anyio, ON_BOTH_LOOPS]

TIMEOUT = 0.05


async def test_an_attempt_during_which_the_event_loop_was_blocked_is_not_the_last() -> None:
    attempts = pauses(TIMEOUT)
    await anext(attempts)
    time.sleep(2 * TIMEOUT)  # noqa: ASYNC251 - the fault
    await anext(attempts)
    with pytest.raises(SessionBusy):
        await anext(attempts)
