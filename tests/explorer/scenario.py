"""A scenario: the state before, the requests that run concurrently, and the disturbances that are allowed."""

from dataclasses import dataclass
from functools import lru_cache

from cartapp.session.manager import Visit
from cartapp.session.policy import Policy
from cartapp.session.record import Record, key_of
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.layer import Layer

from .loop import new_loop
from .requests import LOG_INS, Request, parse
from .spec import Live, Moved, State

POLICY = Policy(timeout=3600)
"""With a timeout that no run reaches: the scheduler decides how slow a call is."""

DATA = {"theme": "light", "_flash": {"note": [["saved", None]]}}
"""The data of the session at the start. The cart line `count` is missing."""

USER = LOG_INS["log_in"]
STARTS = ("guest", "user", "idle", "rotated", "logged_in")
"""A guest's session, a user's, one whose keep-alive is due, one rotated just now, one logged in just now."""


@dataclass(frozen=True)
class Scenario:
    """What one exploration runs through.

    `faults` and `cancels` bound how many store calls fail, and how many requests are cancelled, in one run.
    With `late`, the effect of a call that failed or was cancelled may also take place afterwards.
    """

    requests: tuple[Request, ...]
    start: str = "guest"
    faults: int = 0
    cancels: int = 0
    late: bool = False

    @property
    def title(self) -> str:
        """The scenario as arguments of the command line."""
        parts = ["--requests", *map(str, self.requests), "--start", self.start]
        parts += ["--faults", str(self.faults)] if self.faults else []
        parts += ["--cancels", str(self.cancels)] if self.cancels else []
        return " ".join([*parts, *["--late"] * self.late])


def scenario(
    *texts: str, start: str = "guest", faults: int = 0, cancels: int = 0, late: bool = False
) -> Scenario:
    """The scenario with the requests that these texts name."""
    return Scenario(parse(texts), start, faults, cancels, late)


@dataclass(frozen=True)
class Start:
    """The records, cookies and state before the requests come, and the time in milliseconds.

    S is the first session ID, T the one that replaced it where there is one.
    """

    records: tuple[Record, ...]
    cookies: dict[str, str]
    state: State
    now: int

    @property
    def current(self) -> str:
        """The name of the ID that the current cookie holds."""
        return "T" if "T" in self.cookies else "S"


@lru_cache
def prepare(start: str) -> Start:
    """Make the records of a start, through the session layer itself."""
    return new_loop().complete(_prepare(start))


async def _prepare(start: str) -> Start:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    layer = Layer(store, clock, POLICY)
    session, visit = await layer.visit()
    session.set("theme", DATA["theme"])
    session.flash("note", "saved")
    if start == "user":
        session.log_in(USER)
    await session.save()
    cookies = {"S": _cookie_of(visit)}
    state: State = {"S": Live(DATA, session.user_id)}
    if start == "idle":
        clock.advance(POLICY.step / 1000 + 1)
    if start in ("rotated", "logged_in"):
        session, visit = await layer.visit(cookies["S"])
        session.regenerate() if start == "rotated" else session.log_in(USER)
        await session.save()
        cookies["T"] = _cookie_of(visit)
        moved = Moved("T", kept_user=start == "rotated", by="start")
        state = {"S": moved, "T": Live(DATA, session.user_id)}
    records = [await store.load(key_of(cookie)) for cookie in cookies.values()]
    return Start(tuple(record for record in records if record is not None), cookies, state, clock.now)


def _cookie_of(visit: Visit) -> str:
    cookie = visit.cookie()
    assert cookie is not None
    return cookie
