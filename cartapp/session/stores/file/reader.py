"""The program of a process that reads some shards; see `processes`."""

import sys
from contextlib import suppress

import msgspec

from ..overview import Overview
from .headers import Headers, read_headers
from .processes import LENGTH, Part, Request
from .shard import Shard


def main() -> None:
    """Read a request from standard input, and write a part for each shard."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    try:
        for name in request.shards:
            encoded = msgspec.msgpack.encode(_read(request, name))
            sys.stdout.buffer.write(len(encoded).to_bytes(LENGTH) + encoded)
            sys.stdout.buffer.flush()
    except OSError as error:
        sys.exit(error.strerror)


def _read(request: Request, name: str) -> Part:
    overview, found = Overview(request.extent), Headers()
    with suppress(FileNotFoundError), Shard(f"{request.base}/{name}") as folder:
        found = read_headers(folder, folder.file_names(), request.now)
    overview.add(list(filter(request.query.matches, found.summaries)))
    return Part(overview, Headers(unreadable=found.unreadable))
