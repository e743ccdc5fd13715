"""Protects cookie parsers against quadratic time.

FastAPI reads `request.cookies` for every request, also where the route has no cookie parameters. The standard
library's unquoting behind it takes quadratic time for escapes on Python before 3.11.10.
"""

from starlette.types import Scope

_MAX_ESCAPES = 64
"""Backslashes accepted in a `Cookie` line: few enough for any parser."""


def limit_cookies(scope: Scope) -> None:
    """Drop the cookies with a backslash from a line with many backslashes.

    RFC 6265 allows no backslashes. The few in values that servers quote are kept.
    """
    for name, line in scope["headers"]:
        if name == b"cookie" and line.count(b"\\") > _MAX_ESCAPES:
            scope["headers"] = [_limited(*header) for header in scope["headers"]]
            return


def _limited(name: bytes, line: bytes) -> tuple[bytes, bytes]:
    if name != b"cookie" or line.count(b"\\") <= _MAX_ESCAPES:
        return name, line
    return name, b";".join(pair for pair in line.split(b";") if b"\\" not in pair)
