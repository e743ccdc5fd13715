"""The observable history of a run: the responses in real time, and the final store contents."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cartapp.session.admin.sessions import SessionInfo, Sessions
from cartapp.session.policy import TOMBSTONE_LIFETIME
from cartapp.session.record import key_from_id
from tests.session.explorer.requests import Request, Response, shown
from tests.session.explorer.run import Run

DEAD = "dead"
MOVED = "moved to "
UNNAMED = "moved"
"""A tombstone without a successor."""


@dataclass(frozen=True)
class Operation:
    """One request of a run; `before` names the requests that had responded when it was invoked."""

    request: Request
    cookie: str
    response: Response | None
    before: frozenset[str]

    @property
    def is_unknown(self) -> bool:
        """Whether it is unknown if the request took effect."""
        return self.response is None or self.response.is_unknown


@dataclass(frozen=True)
class Final:
    """The final contents of the store.

    `ids` maps the names of IDs that clients have to data and user of a session, `MOVED` with those of the
    successor, or `DEAD`. `others` are the sessions with an ID that no client has, and `later` those that
    remain after a tombstone's lifetime without use. `faults` are sentences.
    """

    ids: tuple[tuple[str, str], ...]
    others: tuple[str, ...]
    later: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """A complete run; runs with the same observable history are equal."""

    operations: tuple[Operation, ...]
    final: Final
    is_undisturbed: bool


def observe(run: Run) -> History:
    """Return the history of a finished run; advances its clock."""
    served = {name: run.served(name) for name in run.tracks}
    operations = tuple(
        Operation(track.request, run.cookie_name(track.request), served[name].response, _before(run, name))
        for name, track in run.tracks.items()
    )
    cookies = {name: each.new_cookie for name, each in served.items() if each.new_cookie is not None}
    keys = {name: key_from_id(cookie) for name, cookie in {**run.start.cookies, **cookies}.items()}
    final = run.loop.complete(_Look(run).final(keys))
    return History(operations, final, run.is_undisturbed)


def _before(run: Run, name: str) -> frozenset[str]:
    invoked = run.tracks[name].invoked
    return frozenset(
        other
        for other, track in run.tracks.items()
        if track.responded is not None and track.responded < invoked
    )


class _Look:
    """Reads the store of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._sessions = Sessions(run.store, clock=run.clock)

    async def final(self, keys: dict[str, str]) -> Final:
        live = await self._live()
        ids = {name: await self._what(key, live) for name, key in keys.items()}
        faults = [f"{name} has a keep-alive that was not stored" for name in self._stale(keys, live)]
        self._run.clock.now += TOMBSTONE_LIFETIME + 1000
        left = await self._live()
        faults += [
            f"{name} is gone a minute later" for name, key in keys.items() if key in live and key not in left
        ]
        known = set(keys.values())
        return Final(tuple(ids.items()), _others(live, known), _others(left, known), tuple(faults))

    async def _live(self) -> dict[str, SessionInfo]:
        found = [info.handle async for info in self._sessions.find()]
        infos = [await self._sessions.get(handle) for handle in found]
        return {info.handle: info for info in infos if info is not None}

    async def _what(self, key: str, live: dict[str, SessionInfo]) -> str:
        if key in live:
            return _text(live[key])
        record = await self._run.store.load(key)
        if record is None:
            return DEAD
        while record is not None and record.is_tombstone:
            if record.successor is None:
                return UNNAMED
            key = record.successor
            record = await self._run.store.load(key)
        return MOVED + _text(live[key]) if key in live else DEAD

    def _stale(self, keys: dict[str, str], live: dict[str, SessionInfo]) -> list[str]:
        """Return the IDs with a last use other than now, although a keep-alive was due."""
        now = datetime.fromtimestamp(self._run.start.now / 1000, UTC)
        if not self._run.is_undisturbed or not self._run.is_keep_alive_due:
            return []
        return [name for name, key in keys.items() if key in live and live[key].last_seen != now]


def _others(live: dict[str, SessionInfo], known: set[str]) -> tuple[str, ...]:
    return tuple(sorted(_text(info) for key, info in live.items() if key not in known))


def _text(info: SessionInfo) -> str:
    return shown(info.data, info.user)
