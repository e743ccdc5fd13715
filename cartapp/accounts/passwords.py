"""Passwords: which are accepted (ASVS 5.0, 6.2), and how they are kept (OWASP's Password Storage sheet)."""

import asyncio
import re
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from .errors import WeakPassword

MIN_CHARACTERS = 8
MAX_BYTES = 1024
"""In UTF-8; argon2 itself cuts nothing off, this only bounds its work."""

SHOP_WORDS = ("cartapp", "shopping", "cart", "shop")
"""Words that anybody would try first on this shop (ASVS 6.1.2)."""

_MIN_OTHERS = 4  # characters that must be left of a password without the words that are easy to guess
_MIN_WORD = 3  # characters of a name below which it is no word worth looking for

# The cheat sheet's minimum. Raising a number is all there is to do: every log-in makes an old hash new.
_hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, type=Type.ID)

THREADS = 2
"""Hashes at a time in a process; each takes 19 MiB and a core."""

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")


class Passwords:
    """Hashes and verifies off the event loop, a few at a time; `Turns` decides which of them come first.

    `checks` counts verifications, those for users that do not exist included.
    """

    def __init__(self, hasher: PasswordHasher = _hasher) -> None:
        self._hasher = hasher
        self.checks = 0
        _common()
        _nobodys(hasher)

    async def hash(self, password: str) -> str:
        """The argon2id hash, in the PHC string format."""
        return await asyncio.get_running_loop().run_in_executor(_threads, self._hasher.hash, password)

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether this is the password of the hash; None costs the same work and is never right."""
        self.checks += 1
        loop = asyncio.get_running_loop()
        known = kept or _nobodys(self._hasher)
        right = await loop.run_in_executor(_threads, self._is_right, known, password)
        return right and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def _is_right(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


def check_new(password: str, *, words: Iterable[str] = ()) -> None:
    """Raises `WeakPassword` for one that nobody should take; `words` are the user's own, such as the name.

    Any characters will do, but for line breaks, and none must be there (ASVS 6.2.5). A password field of HTML
    removes line breaks, so its owner could never log in with a browser.
    """
    if len(password) < MIN_CHARACTERS:
        raise WeakPassword(f"The password must have at least {MIN_CHARACTERS} characters")
    if len(password.encode()) > MAX_BYTES:
        raise WeakPassword(f"The password must have at most {MAX_BYTES} bytes")
    if "\n" in password or "\r" in password:
        raise WeakPassword("The password must be one line: browsers send no line breaks")
    if password.lower() in _common():
        raise WeakPassword("This password is one of the most common ones; choose another")
    if len(_without(password.lower(), (*SHOP_WORDS, *words))) < _MIN_OTHERS:
        raise WeakPassword("This password is easy to guess from your name or the shop's; choose another")


def words_of(email: str, name: str) -> list[str]:
    """What is easy to guess of a user."""
    return [email, email.partition("@")[0], name, *re.split(r"\W+", name)]


def _without(password: str, words: Iterable[str]) -> str:
    for word in sorted({word.lower() for word in words if len(word) >= _MIN_WORD}, key=len, reverse=True):
        password = password.replace(word, "")
    return password


@cache
def _common() -> frozenset[str]:
    text = Path(__file__).with_name("common_passwords.txt").read_text(encoding="ascii")
    return frozenset(text.partition("\n\n")[2].split("\n"))


@cache
def _nobodys(hasher: PasswordHasher) -> str:
    """A hash that no password fits: what is verified when there is no user."""
    return hasher.hash(secrets.token_bytes(32))
