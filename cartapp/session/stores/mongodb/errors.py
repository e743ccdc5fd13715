"""Describe errors of MongoDB briefly, without data that a client sent."""

import re
from typing import Final

from bson.errors import BSONError
from pymongo import errors as driver

NO_ANSWER: Final = "it did not respond in time"

# The first match wins, so subclasses come before their bases.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (driver.WaitQueueTimeoutError, "all connections are in use"),
    (driver.NetworkTimeout, NO_ANSWER),
    (driver.ExecutionTimeout, NO_ANSWER),
    (driver.WTimeoutError, "a write was not confirmed by a majority in time"),
    (driver.NotPrimaryError, "it has no primary at the moment"),
    (driver.DocumentTooLarge, "the session is larger than a document may be"),
)

# https://www.mongodb.com/docs/manual/reference/error-codes/
_CODES: Final = {
    13: "its user may not do what is needed",
    18: "it refuses the user name or password",
    8000: "it refuses the user name or password",
}

# Settings, state and error numbers that the driver appends.
_ASIDES: Final = re.compile(r" \(configured [^)]*\)|, Timeout: .*|, full error: .*|\[Errno -?\d+\] ")

DRIVER_ERRORS: Final = (driver.PyMongoError, BSONError, OSError)
"""Errors that the driver raises for a failed operation."""


def reason_of(error: Exception) -> str:
    """Return why an operation failed, as the end of a sentence."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, driver.OperationFailure) and error.code in _CODES:
        return _CODES[error.code]
    message = _ASIDES.sub("", str(error).partition("\n")[0])
    return message[:200].rstrip(".") or type(error).__name__
