"""What went wrong with MongoDB, in words for people: short, and without what a client had sent."""

import re
from typing import Final

from bson.errors import BSONError
from pymongo import errors as driver

NO_ANSWER: Final = "it did not answer in time"

# The first that fits counts, so the special ones stand before those they derive from.
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

# What the driver adds of its own settings and state, and the numbers of errors.
_ASIDES: Final = re.compile(r" \(configured [^)]*\)|, Timeout: .*|, full error: .*|\[Errno -?\d+\] ")

Failure: Final = (driver.PyMongoError, BSONError, OSError)
"""What the driver raises when an operation fails."""


def reason_of(error: Exception) -> str:
    """Why an operation failed, as the end of a sentence."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, driver.OperationFailure) and error.code in _CODES:
        return _CODES[error.code]
    told = _ASIDES.sub("", str(error).partition("\n")[0])
    return told[:200].rstrip(".") or type(error).__name__
