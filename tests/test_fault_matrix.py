"""Every fault at every kind of server, with the whole application and two processes of it.

No answer is false, nothing that the server kept is lost, and the shop recovers by itself. The figures go into
the table of docs/backends.md.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from .fault_matrix.measure import measured
from .fault_matrix.names import FAULTS, FAULTS_OF
from .fault_matrix.places import PLACES, Place, opened

pytestmark = pytest.mark.anyio

ALWAYS = ("file", "redis", "database-postgresql")
"""Places that `make test` tries; `make table` and `make soak` try all."""

CELLS = [
    pytest.param(place, fault, id=f"{place}-{fault}", marks=() if place in ALWAYS else pytest.mark.soak)
    for place in PLACES
    for fault in FAULTS
    if fault in FAULTS_OF[place]
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The event loop, on which a place's proxy runs through all faults."""
    return "asyncio"


@pytest.fixture(scope="module")
async def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    folder: Path = tmp_path_factory.mktemp("shop")
    async with opened(request.param, request, folder) as found:
        yield found


@pytest.mark.promise(6)
@pytest.mark.parametrize(("place", "fault"), CELLS, indirect=["place"])
async def test_fault(place: Place, fault: str, record_property: Callable[[str, object], None]) -> None:
    figures = await measured(place, fault)
    record_property("fault", [place.name, fault, asdict(figures)])
    assert figures.lost == 0 or (place.keeps == "nothing" and fault == "killed")
