"""Faults by name: their labels in the table, and the backends they apply to."""

FAULTS = {
    "killed": "server killed, started again",
    "hangs": "server hangs",
    "read-only": "server read-only",
    "closed": "idle connections closed by the server",
    "swallowed": "idle connections swallowed by the network",
    "exhausted": "pool exhausted",
    "paused": "application paused",
    "full": "disk or memory full",
    "no rights": "right to write missing",
    "no table": "table missing",
    "pooler": "pooler in transaction mode, put in between under load",
    "moved": "name moved to a new primary",
}
"""Label of each fault in the table; `moved` leaves the backend with another server."""

_OF_SERVERS = ("killed", "hangs", "closed", "swallowed", "exhausted", "paused", "moved")
_OF_SQL = (*_OF_SERVERS, "no rights", "full")
_OF_REPLICATED = (*_OF_SQL, "read-only", "no table")
_OF_REDIS = (*_OF_SERVERS, "read-only", "full", "no rights")
_OF_DISKS = ("hangs", "paused", "full", "no table")

FAULTS_OF = {
    "file": (*_OF_DISKS, "read-only"),
    "database-sqlite": _OF_DISKS,
    "redis": _OF_REDIS,
    "valkey": _OF_REDIS,
    "memcached": _OF_SERVERS,
    "mongodb": _OF_SERVERS,
    "database-postgresql": (*_OF_REPLICATED, "pooler"),
    "database-mariadb": _OF_REPLICATED,
    "database-firebird": _OF_SQL,
}
"""Faults tested on each backend."""

IDLE_FAULTS = ("closed", "swallowed")
"""Faults that occur while no request is in flight."""

ENDS_SERVER = ("killed", "moved")
"""Faults after which a server without storage has nothing."""
