"""Durations of the public API: seconds, or a timedelta."""

import math
from datetime import timedelta
from typing import Any

Duration = float | timedelta
"""Seconds, or a timedelta."""

LONGEST = 315_360_000
"""Ten years in seconds; no date computed from it overflows."""


def to_seconds(name: str, value: Any) -> float:
    """Return a duration in seconds. Raises TypeError or ValueError, which names the argument."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number of seconds, got {value!r}.")
    if not math.isfinite(value) or not 0 < value <= LONGEST:
        raise ValueError(f"{name}: expected seconds above 0, at most {LONGEST} (ten years), got {value!r}.")
    return value
