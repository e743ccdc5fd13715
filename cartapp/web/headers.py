"""Request headers, read from the scope: a `Headers` object for each middleware costs more."""

from starlette.types import Scope


def get_header(scope: Scope, name: bytes) -> str:
    """Return the first value of a header, or an empty string. `name` is in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""
