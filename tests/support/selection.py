"""Deselect tests, for plugins that run a part of the suite."""

from collections.abc import Callable

import pytest


def deselect_others(
    config: pytest.Config, items: list[pytest.Item], is_chosen: Callable[[pytest.Item], object]
) -> None:
    """Keep the chosen tests, and report the others as deselected."""
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        (chosen if is_chosen(item) else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = chosen
