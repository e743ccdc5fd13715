"""The `file` backend."""

from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote

from ...errors import InvalidStoreURL
from ..backend import Backend, StoreOptions, URLParts
from ..base import Store


def _open(url: SplitResult, options: StoreOptions) -> Store:
    """`file:///absolute/path`."""
    from .store import FileStore

    path = unquote(url.path)
    is_absolute = url.netloc in ("", "localhost") and path.startswith("/") and "\0" not in path
    if not is_absolute or url.query or url.fragment:
        raise InvalidStoreURL("A file store's URL is file:/// and an absolute path.")
    return FileStore(path, clock=options.clock, timeout=options.timeout)


def _build_url(parts: URLParts) -> str:
    return Path(parts.path).expanduser().absolute().as_uri()


FILE: Final = Backend(
    "file",
    ("file",),
    _open,
    _build_url,
    size_limits={"file": 1_000_000},  # a record holds 1 MiB, see `shard.MAX_RECORD`
    local_schemes=("file",),
)
