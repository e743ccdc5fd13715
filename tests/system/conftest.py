"""The order of tests that share a shop for each backend."""

import pytest

SHARED = {"test_outages.py": "place", "test_backends.py": "shop"}
"""Files, each with the parameter that names the backend."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests of a file by backend.

    pytest groups them by the index of the parameter, which differs between lists of backends: it would start
    some shops twice.
    """
    for file, parameter in SHARED.items():
        places = [number for number, item in enumerate(items) if item.path.name == file]
        names = {number: _backend(items[number], parameter) for number in places}
        first = {name: number for number, name in reversed(names.items())}
        ordered = [items[number] for number in sorted(places, key=lambda number: first[names[number]])]
        for number, item in zip(places, ordered, strict=True):
            items[number] = item


def _backend(item: pytest.Item, parameter: str) -> str:
    assert isinstance(item, pytest.Function)
    return str(item.callspec.params[parameter])
