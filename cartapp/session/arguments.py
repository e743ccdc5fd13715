"""Checks of arguments at the call, so that an impossible one is the same error with every store."""

import math
from datetime import timedelta
from typing import Any, Final

LONGEST_USER_ID: Final = 255
"""Characters that every store can hold."""


def check_text(name: str, value: object) -> None:
    """Raise TypeError unless the argument is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {value!r}.")


def check_user_id(name: str, value: Any) -> None:
    """Raise TypeError or ValueError unless every store can hold this user ID."""
    check_text(name, value)
    if len(value) > LONGEST_USER_ID:
        raise ValueError(f"{name}: expected at most {LONGEST_USER_ID} characters, got {len(value)}.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name}: expected text that UTF-8 can encode, got {value!r}.")


def check_integer(name: str, value: object) -> None:
    """Raise TypeError or ValueError unless the argument is an integer of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a whole number, got {value!r}.")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{name}: expected a whole number of 64 bits, got {value}.")


def check_count(name: str, value: object) -> None:
    """Raise ValueError unless the argument is an integer above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a whole number above 0, got {value!r}.")


def check_rate(name: str, value: object) -> None:
    """Raise TypeError or ValueError unless the argument is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {value!r}.")
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name}: expected a number above 0, got {value}.")


def check_timedelta(name: str, value: object) -> None:
    """Raise TypeError or ValueError unless the argument is a timedelta that is not negative."""
    if not isinstance(value, timedelta):
        raise TypeError(f"{name}: expected a timedelta, got {value!r}.")
    if value < timedelta(0):
        raise ValueError(f"{name}: expected a timedelta of 0 or more, got {value!r}.")
