"""Describe errors of Redis and Valkey briefly, without data that a client sent."""

import os
import ssl
from typing import Final

from redis import exceptions as driver
from redis.asyncio.sentinel import MasterNotFoundError

# The first match wins, so subclasses come before their bases.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (driver.NoPermissionError, "its user may not run a command that is needed"),
    (driver.AuthenticationError, "it refuses the user name or password"),
    (driver.BusyLoadingError, "it is still loading its data"),
    (driver.ReadOnlyError, "it is a read-only replica"),
    (driver.OutOfMemoryError, "it is out of memory"),
    (driver.MasterDownError, "it is a replica that has lost its master"),
    (driver.ClusterDownError, "the cluster is down"),
    (driver.SlotNotCoveredError, "no node of the cluster has this key"),
    (MasterNotFoundError, "no sentinel that answers knows the master"),
    (driver.MaxConnectionsError, "all connections are in use"),
    (driver.InvalidResponse, "it does not speak the Redis protocol"),
)

_NO_PRIMARY: Final = (driver.ReadOnlyError, driver.MasterDownError)

_READ_ONLY: Final = ": -READONLY "
"""Part of the ERR response to a script in Redis before 7.0."""


def is_no_primary(error: object) -> bool:
    """Whether the server refused a command without effect because it is a replica."""
    if not isinstance(error, driver.ResponseError):
        return False
    return isinstance(error, _NO_PRIMARY) or _READ_ONLY in str(error)


def is_timeout(error: Exception, *, is_cluster: bool) -> bool:
    """Whether no server responded in time.

    A single node of a cluster does not count, since the others may respond. redis-py names the errors of the
    sentinels in its message only.
    """
    if isinstance(error, MasterNotFoundError):
        return driver.TimeoutError.__name__ in str(error)
    if isinstance(error, driver.RedisClusterException):  # no node that is known responded
        return isinstance(error.__cause__, driver.TimeoutError)
    return isinstance(error, TimeoutError) or (not is_cluster and isinstance(error, driver.TimeoutError))


def reason_of(error: Exception) -> str:
    """Return why a command failed, as the end of a sentence."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, driver.RedisClusterException) and isinstance(error.__cause__, Exception):
        return reason_of(error.__cause__)  # of the last node tried
    if isinstance(error, driver.ResponseError):
        return _error_response(str(error))
    if isinstance(error, TimeoutError | driver.TimeoutError):
        return "it did not respond in time"
    return _connection_failure(error)


def _error_response(message: str) -> str:
    if _READ_ONLY in message:
        return "it is a read-only replica"
    if message.startswith("MISCONF"):
        return "it cannot save to its disk and so takes no writes"
    # After a comma may follow arguments of the command, which must not be shown.
    return f"it returned {message.partition(',')[0][:100]!r}"


def _connection_failure(error: BaseException) -> str:
    """Describe why a connection failed."""
    origin = error
    while not isinstance(origin, OSError):
        deeper = origin.__cause__ or origin.__context__
        if deeper is None:
            return _lower(str(error) or type(error).__name__)
        origin = deeper
    if isinstance(origin, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({origin.verify_message})"
    number = origin.errno or 0
    return _lower(os.strerror(number) if number > 0 else origin.strerror or str(origin))


def _lower(text: str) -> str:
    line = text.partition("\n")[0][:200].rstrip(".")
    return line[:1].lower() + line[1:]
