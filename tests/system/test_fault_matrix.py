"""Every fault on every kind of server, with two processes of the whole application.

No response is false, no data kept by the server is lost, and the shop recovers by itself. The figures go into
the table of docs/backends.md.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

import pytest

from tests.system.fault_matrix.measure import measure
from tests.system.fault_matrix.names import ENDS_SERVER, FAULTS, FAULTS_OF
from tests.system.fault_matrix.places import PLACES, SPECIAL, Places

pytestmark = pytest.mark.anyio

ALWAYS = {
    "file": ("full", "no table"),
    "redis": FAULTS_OF["redis"],
    "database-postgresql": ("read-only", "full", "no rights", "no table", "pooler", "moved"),
}
"""Cells tested by `make test`: each fault on one backend, and the faults of an engine there.

`make table` and `make soak` test all; `test_outages.py` stops and suspends every server.
"""

CELLS = [
    pytest.param(
        place,
        fault,
        id=f"{place}-{fault}",
        marks=() if fault in ALWAYS.get(place, ()) else pytest.mark.soak,
    )
    for place in PLACES
    for fault in sorted(FAULTS, key=lambda fault: (place, fault) in SPECIAL)
    if fault in FAULTS_OF[place]
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module: a backend's proxy runs through all faults."""
    return "asyncio"


@pytest.fixture(scope="module")
async def places(request: pytest.FixtureRequest) -> AsyncIterator[Places]:
    """All cells of a backend run on one server: only `moved`, the last one, leaves it with another."""
    places = Places(request)
    yield places
    await places.close()


@pytest.mark.promise(6)
@pytest.mark.parametrize(("backend", "fault"), CELLS)
async def test_fault(
    places: Places, backend: str, fault: str, record_property: Callable[[str, object], None]
) -> None:
    async with places.use(backend, fault) as place:
        figures = await measure(place, fault)
        record_property("fault", [place.name, fault, asdict(figures)])
        assert figures.lost == 0 or (place.keeps == "nothing" and fault in ENDS_SERVER)
