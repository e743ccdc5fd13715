"""A request's headers, read where they stand: every layer wants one or two of a handful."""

from starlette.types import Scope


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """The values of all headers of this name, which is in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def header_of(scope: Scope, name: bytes) -> str:
    """The first of them; empty when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""
