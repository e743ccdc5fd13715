"""The threads that hash passwords."""

import os
import subprocess
import sys
from typing import Any

import pytest
from argon2 import PasswordHasher

from cartapp.accounts import InvalidCredentials
from cartapp.accounts.passwords import Passwords
from tests.support.accounts import (
    ELSEWHERE,
    EMAIL,
    HERE,
    NAME,
    PASSWORD,
    AccountsEnvironment,
)
from tests.support.requirements import require_program

pytestmark = pytest.mark.anyio


class NicenessHasher(PasswordHasher):
    """A fast hasher that records the niceness of the thread of each call."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.seen: list[int] = []

    def hash(self, *arguments: Any, **options: Any) -> str:
        self.seen.append(_niceness())
        return super().hash(*arguments, **options)

    def verify(self, *arguments: Any) -> Any:
        self.seen.append(_niceness())
        return super().verify(*arguments)


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)  # of the calling thread (Linux)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_attempts_from_unknown_networks_have_a_lower_priority(env: AccountsEnvironment) -> None:
    hasher = NicenessHasher()
    env.accounts.passwords = Passwords(hasher)
    hasher.seen.clear()
    await env.accounts.register(EMAIL, NAME, PASSWORD, client=HERE)
    with pytest.raises(InvalidCredentials):
        await env.accounts.log_in(EMAIL, "not the right phrase", client=ELSEWHERE, remember=False)
    await env.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=False)
    registration, guess, returning_user = hasher.seen
    assert registration == guess == _niceness() + 10
    assert returning_user == _niceness()


def test_a_sandbox_may_deny_the_lower_priority() -> None:
    deny = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=setpriority", "-e", "inject=setpriority:error=EPERM"]
    code = (
        "import asyncio\n"
        "from cartapp.accounts.passwords import Passwords\n"
        "print(asyncio.run(Passwords().hash('a long phrase of mine', is_known=False)))"
    )
    strace = require_program("strace", "apt-get install strace")
    done = subprocess.run(
        [strace, *deny, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("$argon2id$"), done.stderr
