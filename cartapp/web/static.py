"""Static files: kept by browsers for a year when asked for by fingerprint, else checked by ETag each time."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = (Path(__file__).parent / "static").resolve()
_MAX_PATH = 1000  # characters
_YEAR = 365 * 24 * 60 * 60  # seconds


def static_url(path: str) -> str:
    """The address of a file in the static folder, with its fingerprint. Raises `FileNotFoundError`."""
    file = os.path.join(FOLDER, path)  # noqa: PTH118 - a page has many of them
    return f"/static/{path}?v={_fingerprint(file, os.stat(file).st_mtime_ns)}"  # noqa: PTH116 - as above


@lru_cache(maxsize=1000)
def _fingerprint(path: str, _modified: int) -> str:
    """Twelve characters that change with the file's content; read again when it was modified."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


class CachedStaticFiles(StaticFiles):
    """The static folder with `Cache-Control`."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    def get_path(self, scope: Scope) -> str:
        """The path inside the folder. Raises `HTTPException` for one that is too long to be there.

        Joining its segments takes quadratic time.
        """
        if len(scope["path"]) > _MAX_PATH:
            raise HTTPException(404)
        return super().get_path(scope)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304 when the browser has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        asked = QueryParams(scope.get("query_string", b"")).get("v")
        current = asked is not None and asked == _fingerprint(str(full_path), stat_result.st_mtime_ns)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable" if current else "no-cache"
        return response
