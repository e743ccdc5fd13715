"""Static files: cached for a year under a URL with a fingerprint, else revalidated by ETag."""

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
    """Return the path of a static file within the shop, with its fingerprint. Raises `FileNotFoundError`."""
    file = os.path.join(FOLDER, path)  # noqa: PTH118 - a page has many of them
    return f"/static/{path}?v={_fingerprint(file, os.stat(file).st_mtime_ns)}"  # noqa: PTH116 - as above


@lru_cache(maxsize=1000)
def _fingerprint(path: str, _modified: int) -> str:
    """Return twelve characters of a hash of the content, cached until the file is modified."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


class CachedStaticFiles(StaticFiles):
    """The static folder with `Cache-Control`."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    def get_path(self, scope: Scope) -> str:
        """Return the path inside the folder. Raises `HTTPException` if it is too long.

        Joining segments takes quadratic time.
        """
        if len(scope["path"]) > _MAX_PATH:
            raise HTTPException(404)
        return super().get_path({**scope, "path": scope["path_params"]["path"], "root_path": ""})

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the file, or 304 if the browser has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        asked = QueryParams(scope.get("query_string", b"")).get("v")
        current = asked is not None and asked == _fingerprint(str(full_path), stat_result.st_mtime_ns)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable" if current else "no-cache"
        return response
