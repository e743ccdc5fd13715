"""Password rules (ASVS 5.0, 6.2) and hashing (OWASP Password Storage Cheat Sheet)."""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from cartapp.messages import _

from .errors import WeakPassword

MIN_CHARACTERS = 8
MAX_BYTES = 1024
"""Limit of the UTF-8 encoding. argon2 has none; this bounds its work."""

SHOP_WORDS = ("cartapp", "shopping", "cart", "shop")
"""Context-specific words that are easy to guess (ASVS 6.1.2)."""

_MIN_OTHERS = 4  # characters of a password besides words that are easy to guess
_MIN_WORD = 3  # characters; shorter words are ignored

# The minimum of the cheat sheet. After an increase, each log-in replaces an outdated hash.
_hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, type=Type.ID)

MAX_CONCURRENT_HASHES = 2
"""Per process. Each hash takes 19 MiB and a core."""

_NICENESS = 10
"""Of a thread for attempts from unknown networks: a tenth of the processor if other threads need it too."""


def _lower_priority() -> None:
    """Lower the priority of this thread (`sched(7)`); other systems have one for the whole process."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may deny the call; then the thread keeps its priority
            os.nice(_NICENESS)


# Guesses must delay neither the event loops of the workers nor the log-ins of returning users.
_known = ThreadPoolExecutor(MAX_CONCURRENT_HASHES, thread_name_prefix="argon2")
_unknown = ThreadPoolExecutor(
    MAX_CONCURRENT_HASHES - 1, thread_name_prefix="argon2-unknown", initializer=_lower_priority
)


class Passwords:
    """Hash and verify passwords in threads. `HashingQueue` decides the order.

    `is_known`: whether the attempt comes from a network known to the account; others have a lower priority.
    `checks` counts verifications, including those for unknown users.
    """

    def __init__(self, hasher: PasswordHasher = _hasher) -> None:
        self._hasher = hasher
        self.checks = 0
        _common_passwords()
        _dummy_hash(hasher)

    async def hash(self, password: str, *, is_known: bool = True) -> str:
        """Return the argon2id hash in the PHC string format."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_known if is_known else _unknown, self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str, *, is_known: bool = True) -> bool:
        """Return whether the password matches the hash. None takes the same time and never matches."""
        self.checks += 1
        loop = asyncio.get_running_loop()
        compared = password_hash or _dummy_hash(self._hasher)
        threads = _known if is_known else _unknown
        matches = await loop.run_in_executor(threads, self._matches, compared, password)
        return matches and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash has other parameters than the present ones."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


def check_strength(password: str, *, words: Iterable[str] = ()) -> None:
    """Check a new password. `words`: words of the user, such as the name. Raises `WeakPassword`.

    No kind of character is required (ASVS 6.2.5), and all are allowed except line breaks: HTML password
    fields remove them, so that the user could not log in with a browser.
    """
    if len(password) < MIN_CHARACTERS:
        raise WeakPassword(_("The password must have at least {limit} characters"), limit=MIN_CHARACTERS)
    if len(password.encode()) > MAX_BYTES:
        raise WeakPassword(_("The password must have at most {limit} bytes"), limit=MAX_BYTES)
    if "\n" in password or "\r" in password:
        raise WeakPassword(_("The password must not contain line breaks"))
    if password.lower() in _common_passwords():
        raise WeakPassword(_("This password is too common; choose another"))
    if len(_remove_words(password.lower(), (*SHOP_WORDS, *words))) < _MIN_OTHERS:
        raise WeakPassword(
            _("This password is too similar to your name, your email or the shop's name; choose another")
        )


def personal_words(email: str, name: str) -> list[str]:
    """Return the words of a user that are easy to guess."""
    return [email, email.partition("@")[0], name, *re.split(r"\W+", name)]


def _remove_words(password: str, words: Iterable[str]) -> str:
    for word in sorted({word.lower() for word in words if len(word) >= _MIN_WORD}, key=len, reverse=True):
        password = password.replace(word, "")
    return password


@cache
def _common_passwords() -> frozenset[str]:
    text = Path(__file__).with_name("common_passwords.txt").read_text(encoding="ascii")
    return frozenset(text.partition("\n\n")[2].split("\n"))


@cache
def _dummy_hash(hasher: PasswordHasher) -> str:
    """Return a hash that no password matches, to verify against for unknown users."""
    return hasher.hash(secrets.token_bytes(32))
