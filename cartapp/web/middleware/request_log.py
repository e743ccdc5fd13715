"""Request IDs, and one access line for each response.

The ID comes from `X-Request-ID` if that is well-formed, else from the trace ID of `traceparent` (W3C Trace
Context), else it is random. The response has it as `X-Request-ID`, and each log record of the request as
`request_id`.
"""

import logging
import re
from os import urandom
from typing import Any, Final

from starlette.types import Scope

logger = logging.getLogger("cartapp.access")

_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,64}")
_TRACE: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""The version ff and IDs of zeros are invalid."""


def read_ids(scope: Scope) -> tuple[str, str | None]:
    """Return the request ID, and the trace ID if there is one."""
    given = trace = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            given = value.decode()
        elif name == b"traceparent" and (found := _TRACE.fullmatch(value)):
            trace = found[1].decode()
    return given or trace or urandom(16).hex(), trace


def log_response(scope: Scope, status: int, seconds: float, trace_id: str | None) -> None:
    """Log a response; the status is 0 if the client went away before it."""
    if not logger.isEnabledFor(logging.INFO):
        return
    client = scope.get("client")
    fields: dict[str, Any] = {
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "session": _handle(scope),
        "trace_id": trace_id,
    }
    logger.info(
        '%s "%s %s" %d %.1f ms',
        *(fields["client"] or "-", fields["method"], fields["path"], status, seconds * 1000),
        extra={"fields": {name: value for name, value in fields.items() if value is not None}},
    )


def _handle(scope: Scope) -> str | None:
    """Return the public handle of the session, if the request used one; a log-out has ended it."""
    session = scope.get("session")
    record = getattr(session, "record", None) or getattr(session, "destroyed_record", None)
    return None if record is None else record.key
