"""A request's headers, read where they stand: every layer wants one or two of a handful."""

from starlette.types import Scope


def header_of(scope: Scope, name: bytes) -> str:
    """The first value of this header, whose name is in lower case; empty when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""
