"""One run of a scenario: the possible next steps and their effects.

A request starts with the effect of its first store call. Each call has two steps, effect and delivery;
a delivery runs the request, and those that it unblocks, to their next store calls or responses. A response
is sent immediately, since a later one would only allow more outcomes.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, NamedTuple

from cartapp.session.admin.sessions import Sessions
from cartapp.session.record import Clock, key_from_id
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.session.explorer.loop import new_loop
from tests.session.explorer.requests import END, LOCKING, Request, Served, end, serve
from tests.session.explorer.scenario import POLICY, Scenario, prepare
from tests.session.explorer.store import Call, GatedStore, request_name
from tests.support.session_layer import SessionLayer


class Step(NamedTuple):
    """A choice of the scheduler: one request and its action.

    go: the effect of its store call, or the delivery of the result. drop: the call fails without an effect.
    lost: the call takes effect and fails. late: the call fails, and takes effect later. cancel:
    the request is cancelled, its call has no effect. cancel-late: the same, with a later effect.
    effect: a later effect takes place.
    """

    request: str
    action: str = "go"

    def __str__(self) -> str:
        return self.request if self.action == "go" else f"{self.request}!{self.action}"

    @classmethod
    def parse(cls, text: str) -> "Step":
        """Parse the text of a step."""
        request, _, action = text.partition("!")
        return cls(request, action or "go")


class Footprint(NamedTuple):
    """The keys that a step read and wrote. Steps without a conflict can be swapped.

    A step is private if it can be swapped with every step that other requests may do before it.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    invoked: bool = False
    responded: bool = False
    is_private: bool = False

    def conflicts(self, other: "Footprint") -> bool:
        """Return whether the order of two steps can matter; real time orders responses and invocations."""
        if (self.invoked and other.responded) or (self.responded and other.invoked):
            return True
        return not (
            self.writes.isdisjoint(other.writes)
            and self.writes.isdisjoint(other.reads)
            and self.reads.isdisjoint(other.writes)
        )


@dataclass
class Track:
    """One request in a run. `invoked` and `responded` are numbers of steps."""

    request: Request
    task: asyncio.Task[Served] | None = None
    invoked: int = -1
    responded: int | None = None


@dataclass(frozen=True)
class Event:
    """One step of a run; `served` names the requests that responded in it."""

    step: Step
    call: Call | None
    was_sent: bool
    served: tuple[str, ...]


StoreMaker = Callable[[Clock], MemoryStore]


def memory_store(clock: Clock) -> MemoryStore:
    """The store of a run; tests of the explorer use faulty ones."""
    return MemoryStore(clock=clock)


class Run:
    """A scenario, run step by step."""

    def __init__(self, scenario: Scenario, make_store: StoreMaker = memory_store) -> None:
        random.seed(0)  # jitter of the backoff
        self.scenario = scenario
        self.start = prepare(scenario.start)
        self.loop = new_loop()
        self.clock = ManualClock(self.start.now)
        self.store = make_store(self.clock)
        for record in self.start.records:
            self.loop.complete(self.store.create(record))
        self._gated = GatedStore(self.store)
        self._layers: dict[str, SessionLayer] = {}
        self.tracks = {request.name: Track(request) for request in scenario.requests}
        self.roles = {key_from_id(cookie): name for name, cookie in self.start.cookies.items()}
        self.events: list[Event] = []
        self._late: list[Call] = []  # pending effects of failed calls
        self._faults, self._cancels = scenario.faults, scenario.cancels
        self.is_undisturbed = True
        self.is_keep_alive_due = scenario.start == "idle"

    # -- choices ------------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """Return the possible next steps: the request of the last step first, disturbances last."""
        names = list(self.tracks)
        if self.events:
            last = names.index(self.events[-1].step.request)
            names = names[last:] + names[:last]
        found = [step for name in names for step in self._progress(name)]
        if self._faults or self._cancels:
            found += [step for name in names for step in self._disturbances(name)]
        return found

    def _progress(self, name: str) -> Iterator[Step]:
        if self.tracks[name].task is None or self._call(name):
            yield Step(name)
        if any(call.request == name for call in self._late):
            yield Step(name, "effect")

    def _disturbances(self, name: str) -> Iterator[Step]:
        call = self._call(name)
        task = self.tracks[name].task
        if call and call.sent and not call.wrote:
            return  # losing this result is the same as losing the call
        late = self.scenario.late and call is not None and not call.sent and call.name != "load"
        if self._faults and call:
            yield Step(name, "lost" if call.sent else "drop")
            if late:
                yield Step(name, "late")
        if self._cancels and task and not task.done():
            yield Step(name, "cancel")
            if late:
                yield Step(name, "cancel-late")

    def _call(self, name: str) -> Call | None:
        return next((call for call in self._gated.calls if call.request == name), None)

    # -- steps --------------------------------------------------------------------------------------------

    def do(self, step: Step) -> Footprint:
        """Do a step and return its footprint."""
        name, action = step
        if action == "effect":
            call = next(call for call in self._late if call.request == name)
            self._late.remove(call)
            return self._send(step, call)
        if self.tracks[name].task is None:
            return self._begin(step)
        pending = self._call(name)
        if action == "go" and pending and not pending.sent:
            return self._send(step, pending)
        return self._proceed(step, pending)

    def _begin(self, step: Step) -> Footprint:
        track = self.tracks[step.request]
        track.invoked = len(self.events)
        context = copy_context()
        context.run(request_name.set, step.request)
        track.task = self.loop.create_task(self._serve(track.request), context=context)
        self.loop.settle()
        call = self._call(step.request)
        assert call is not None, "A request starts with a store call."
        return self._send(step, call)._replace(invoked=True, is_private=False)

    def _serve(self, request: Request) -> Coroutine[Any, Any, Served]:
        cookie = self.start.cookies[self.cookie_name(request)]
        if request.kind == END:
            return end(Sessions(self._gated, clock=self.clock), key_from_id(cookie))
        layer = self._layers.get(request.process)
        if layer is None:
            layer = self._layers[request.process] = SessionLayer(self._gated, self.clock, POLICY)
        return serve(layer, request, cookie)

    def _send(self, step: Step, call: Call) -> Footprint:
        call.send()
        is_new = call.key not in self.roles
        if is_new:
            made = sum(role[0] == call.request for role in self.roles.values())
            self.roles[call.key] = f"{call.request}{made + 1}"
        self.events.append(Event(step, call, False, ()))
        touched = frozenset({self.roles[call.key]})
        if call.wrote:
            return Footprint(writes=touched, is_private=is_new)  # no other request knows this key
        return Footprint(reads=touched)

    def _proceed(self, step: Step, call: Call | None) -> Footprint:
        """Deliver the result of a call, or disturb it; run until every request waits."""
        was_sent = call is not None and call.sent
        if call is not None:
            self._gated.calls.remove(call)
        request = self.tracks[step.request].request
        touched = {f"process {request.process}" if request.kind in LOCKING else request.name}
        is_alone = not any(self._shares(request, other) for other in self.tracks.values())
        if step.action != "go":
            touched.add(self._disturb(step, call))
        elif call is not None:
            call.deliver()
        self.loop.settle()
        served = self._note_responses()
        self.events.append(Event(step, call, was_sent, served))
        is_in_time = not served or all(track.task is not None for track in self.tracks.values())
        return Footprint(
            writes=frozenset(touched), responded=bool(served), is_private=is_alone and is_in_time
        )

    def _shares(self, request: Request, other: Track) -> bool:
        """Return whether another request may still use the shared state of its process."""
        if other.request is request or other.responded is not None:
            return False
        kinds = {request.kind, other.request.kind}
        return kinds <= LOCKING and other.request.process == request.process

    def _disturb(self, step: Step, call: Call | None) -> str:
        self.is_undisturbed = False
        if call is not None and step.action in ("late", "cancel-late"):
            self._late.append(call)
        task = self.tracks[step.request].task
        if step.action in ("cancel", "cancel-late"):
            self._cancels -= 1
            assert task is not None
            task.cancel()
            return "cancels"
        self._faults -= 1
        assert call is not None
        call.fail()
        return "faults"

    def _note_responses(self) -> tuple[str, ...]:
        served = []
        for name, track in self.tracks.items():
            if track.responded is None and track.task is not None and track.task.done():
                track.responded = len(self.events)
                served.append(name)
        return tuple(served)

    # -- results ------------------------------------------------------------------------------------------

    @property
    def schedule(self) -> tuple[Step, ...]:
        """The steps so far."""
        return tuple(event.step for event in self.events)

    def cookie_name(self, request: Request) -> str:
        """Return the name of the ID in the cookie of a request."""
        return "S" if request.old_cookie else self.start.current

    def served(self, name: str) -> Served:
        """Return the result of a finished request."""
        task = self.tracks[name].task
        assert task is not None
        return task.result()

    def abandon(self) -> None:
        """Cancel the running requests, so that the run leaves nothing behind."""
        self._gated.closed = True
        while self._gated.calls:
            self._gated.calls.pop().fail()
            self.loop.settle()
