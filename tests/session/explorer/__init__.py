"""Every interleaving of a few concurrent requests on one session, checked against a specification.

Requests run through the session layer itself, as one process or two, over a memory store. A scheduler decides
when each store call takes effect and when its result arrives, so a run is deterministic and can be repeated.
The search covers all distinct orders; at most one store call may fail, and one request may be
cancelled at any point. Each history is checked for an order of the requests that respects real time and in
which they could have run one after the other (linearizability).

All runs of one scenario; prints the shortest that fails:

    python -m tests.session.explorer --requests modify@1 set_dark@2 set_light@1
    python -m tests.session.explorer --requests rotate end --faults 1

One run of it, with the printed schedule:

    python -m tests.session.explorer --requests rotate end --schedule "B B A A A A A A B B"

All of `make test`, or of `make soak`:

    python -m tests.session.explorer --suite quick
    python -m tests.session.explorer --suite soak

A request is KIND[.old][@PROCESS]; A, B and C name the requests in a schedule. A letter resumes a request:
to its next store call, to that call's effect, or to its result. `A!drop`, `A!lost` and `A!late` let its store
call fail, `A!cancel` and `A!cancel-late` cancel it, each in its own way (see `Step`).

Modules in reading order: `spec` (the promises), `requests`, `scenario`, `store` and
`loop` (what makes a run deterministic), `run`, `search`, `history`, `check`, `shortest`, `report`, `explore`,
`suites`.
"""
