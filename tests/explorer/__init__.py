"""Every interleaving of a few concurrent requests on one session, checked against a specification.

Requests run through the session layer itself, as one process or two, over a memory store. A scheduler decides
when each store call takes effect and when its result arrives, so a run is deterministic and can be repeated.
The search goes through all orders that differ; at most one store call may fail, and one request may be
cancelled at any point. Each history is checked for an order of the requests that respects real time and in
which they could have run one after the other (linearizability).

One scenario, all its runs; the shortest that fails is printed:

    python -m tests.explorer --requests modify@1 set_dark@2 set_light@1
    python -m tests.explorer --requests rotate end --faults 1

One run of it, with the schedule that was printed:

    python -m tests.explorer --requests rotate end --schedule "B B A A A A A A B B"

All of `make test`, or of `make soak`:

    python -m tests.explorer --suite quick
    python -m tests.explorer --suite soak

A request is KIND[.old][@PROCESS]; A, B and C name the requests in a schedule. A letter lets a request go on:
to its next store call, to that call's effect, or to its result. `A!drop`, `A!lost` and `A!late` let its store
call fail, `A!cancel` and `A!cancel-late` cancel it, each in its own way (see `Step`).

Modules, in the order in which to read them: `spec` (what is promised), `requests`, `scenario`, `store` and
`loop` (what makes a run deterministic), `run`, `search`, `history`, `check`, `shortest`, `report`, `explore`,
`suites`.
"""
