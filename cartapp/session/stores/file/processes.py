"""Read the headers of many files in several processes, since Python threads would share one processor.

Each process is a fresh interpreter that reads some shards and writes an overview of each to its standard
output: the length in four bytes, and MessagePack.
"""

import asyncio
import os
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Final, cast

import msgspec

from ...errors import StoreUnavailable
from ...record import Summary
from ..overview import Extent, Overview
from ..queries import Query, Totals
from .headers import Headers

_FEW: Final = 20_000  # files that one process reads before another one would have started
_MAX_PROCESSES: Final = 8
_READER: Final = (
    "import sys; sys.path[:] = sys.argv[1:]; from cartapp.session.stores.file.reader import main; main()"
)
LENGTH: Final = 4
"""Bytes of a part's length."""


class Request(msgspec.Struct, frozen=True):
    """What one process reads."""

    base: str
    shards: Sequence[str]
    query: Query
    extent: Extent
    now: int


class Part(msgspec.Struct):
    """The overview of one shard; of the headers only the unreadable ones."""

    overview: Overview
    headers: Headers


def reader_processes(files: int) -> int:
    """Return the number of processes that read this number of files fastest."""
    if files < _FEW or not sys.executable:
        return 1
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return min(len(allowed), _MAX_PROCESSES)


async def read_overviews(request: Request, processes: int) -> AsyncGenerator[Part, None]:
    """Yield the overview of each shard. Raises `StoreUnavailable`."""
    parts: asyncio.Queue[Part | Exception | None] = asyncio.Queue()
    shares = [request.shards[number::processes] for number in range(processes)]
    readers = [
        asyncio.create_task(_read_share(msgspec.structs.replace(request, shards=share), parts))
        for share in shares
    ]
    try:
        running = len(readers)
        while running:
            part = await parts.get()
            if isinstance(part, Exception):
                raise part
            if part is None:
                running -= 1
            else:
                yield part
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read_share(request: Request, parts: asyncio.Queue[Part | Exception | None]) -> None:
    """Queue the parts of one process, then None, or the error."""
    try:
        # A session of its own: Ctrl-C on the terminal is for the parent, which ends this process.
        program = sys.executable, "-P", "-c", _READER, *(path or "." for path in sys.path)
        process = await asyncio.create_subprocess_exec(
            *program, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        try:
            await _read_parts(process, request, parts)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    except Exception as error:  # noqa: BLE001 - raised by the reader of the queue
        parts.put_nowait(error)
    else:
        parts.put_nowait(None)


async def _read_parts(
    process: Process, request: Request, parts: asyncio.Queue[Part | Exception | None]
) -> None:
    stdin, stdout = cast(StreamWriter, process.stdin), cast(StreamReader, process.stdout)
    stdin.write(msgspec.msgpack.encode(request))
    stdin.close()
    for _ in request.shards:
        try:
            length = int.from_bytes(await stdout.readexactly(LENGTH))
            parts.put_nowait(_decode(await stdout.readexactly(length), request.extent))
        except asyncio.IncompleteReadError as error:
            raise StoreUnavailable(
                f"The session folder {request.base} cannot be listed: a process that reads it ended."
            ) from error
    await process.wait()


def _decode(encoded: bytes, extent: Extent) -> Part:
    """Decode a part; msgspec does not decode the types of a version."""
    part = msgspec.msgpack.decode(encoded)
    found = part["overview"]
    overview = Overview(
        extent,
        found["sessions"],
        [Summary(**one) for one in found["first"]],
        Totals(**found["totals"]),
        set(found["users"]),
        found["created"],
    )
    return Part(
        overview, Headers(unreadable=[(key, reason) for key, reason in part["headers"]["unreadable"]])
    )
