"""The faults by name: what the table calls each, and where it is tried."""

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
"""Each fault, as the table names it; the last one leaves a place with another server."""

_OF_SERVERS = ("killed", "hangs", "closed", "swallowed", "exhausted", "paused")
_OF_REDIS = (*_OF_SERVERS, "read-only", "full", "no rights", "moved")
_OF_DISKS = ("hangs", "paused", "full", "no table")

FAULTS_OF = {
    "file": _OF_DISKS,
    "database-sqlite": _OF_DISKS,
    "redis": _OF_REDIS,
    "valkey": _OF_REDIS,
    "memcached": _OF_SERVERS,
    "mongodb": _OF_SERVERS,
    "database-postgresql": (*_OF_SERVERS, "read-only", "no table", "pooler", "moved"),
    "database-mariadb": (*_OF_SERVERS, "read-only", "no table", "moved"),
    "database-firebird": _OF_SERVERS,
}
"""The faults that are tried at each place."""

RESTING = ("closed", "swallowed")
"""Faults that happen while no request comes."""
