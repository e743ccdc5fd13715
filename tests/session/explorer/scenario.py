"""A scenario: the initial state, the concurrent requests, and the allowed disturbances."""

from dataclasses import dataclass
from functools import lru_cache

from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, key_from_id
from cartapp.session.request_session import RequestSession
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.session.explorer.loop import new_loop
from tests.session.explorer.requests import LOG_INS, Request, parse
from tests.session.explorer.spec import Live, Moved, State
from tests.support.session_layer import SessionLayer

POLICY = SessionPolicy(timeout=3600)
"""With a timeout beyond any run: the scheduler decides how long a call takes."""

DATA = {"theme": "light", "_flash": {"note": [["saved", None]]}}
"""The data of the session at the start. The cart line `count` is missing."""

USER = LOG_INS["log_in"]
STARTS = ("guest", "user", "idle", "rotated", "logged_in")
"""A guest's session, a user's, one with a keep-alive due, one just rotated, one just logged in."""


@dataclass(frozen=True)
class Scenario:
    """The parameters of one exploration.

    `faults` and `cancels` bound how many store calls fail, and how many requests are cancelled, in one run.
    With `late`, a failed or cancelled call may also take effect afterwards.
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
    """Return the scenario with these requests."""
    return Scenario(parse(texts), start, faults, cancels, late)


@dataclass(frozen=True)
class Start:
    """The records, cookies and state before the requests, and the time in milliseconds.

    S is the first session ID, T the one that replaced it, if any.
    """

    records: tuple[Record, ...]
    cookies: dict[str, str]
    state: State
    now: int

    @property
    def current(self) -> str:
        """The name of the ID in the current cookie."""
        return "T" if "T" in self.cookies else "S"


@lru_cache
def prepare(start: str) -> Start:
    """Create the records of a start, through the session layer itself."""
    return new_loop().complete(_prepare(start))


async def _prepare(start: str) -> Start:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    layer = SessionLayer(store, clock, POLICY)
    session, request_session = await layer.load()
    session.set("theme", DATA["theme"])
    session.flash("note", "saved")
    if start == "user":
        session.log_in(USER)
    await session.save()
    cookies = {"S": _cookie_of(request_session)}
    state: State = {"S": Live(DATA, session.user_id)}
    if start == "idle":
        clock.advance(POLICY.touch_interval / 1000 + 1)
    if start in ("rotated", "logged_in"):
        session, request_session = await layer.load(cookies["S"])
        session.regenerate() if start == "rotated" else session.log_in(USER)
        await session.save()
        cookies["T"] = _cookie_of(request_session)
        moved = Moved("T", kept_user=start == "rotated", by="start")
        state = {"S": moved, "T": Live(DATA, session.user_id)}
    records = [await store.load(key_from_id(cookie)) for cookie in cookies.values()]
    return Start(tuple(record for record in records if record is not None), cookies, state, clock.now)


def _cookie_of(request_session: RequestSession) -> str:
    cookie = request_session.cookie()
    assert cookie is not None
    return cookie
