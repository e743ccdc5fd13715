"""Other processes of the tests, and what those of the file store run. Imports little: they start fast."""

import asyncio
import ctypes
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record
from cartapp.session.stores.base import Store
from cartapp.session.stores.file import FileStore

from .waiting import DEADLINE

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])

UNAVAILABLE = 75  # EX_TEMPFAIL
_MOST_ATTEMPTS = 100_000


def started(target: Callable[..., None], *args: object) -> BaseProcess:
    """A process that runs this function."""
    worker = processes.Process(target=target, args=args, daemon=True)
    worker.start()
    return worker


def piped(target: Callable[..., None], *args: object) -> tuple[BaseProcess, Connection]:
    """A process that runs this function, with one end of a pipe as its last argument; and the other end."""
    ours, theirs = processes.Pipe()
    worker = started(target, *args, theirs)
    theirs.close()  # or our end would never tell that the process is gone
    return worker, ours


def answer(pipe: Connection) -> Any:
    """What the process at the other end sends next. Raises EOFError when it has ended instead."""
    assert pipe.poll(DEADLINE), "The process neither ended nor answered."
    return pipe.recv()


async def increment(store: Store, key: str) -> None:
    """Add one to the number that is the record's data, by compare-and-set."""
    for _ in range(_MOST_ATTEMPTS):
        seen = await store.load(key)
        assert seen is not None, f"Not found; a second look finds {await store.load(key)}."
        changed = replace(seen, data=b"%d" % (int(seen.data) + 1))
        if await store.save(changed, expected=seen.version) is not None:
            return
    raise AssertionError("The record was never free.")


def numbered(number: int) -> bytes:
    """Data of which no two parts of different writes fit together."""
    return b"%020d" % number * 200


def one_operation(folder: Path, operation: str, record: Record, now: int, ready: Connection) -> None:
    """Do one operation on a store when SIGUSR1 comes; exits with `UNAVAILABLE` after StoreUnavailable.

    The caller injects kills and errors by strace, which counts calls per thread: apart from the store's own
    thread nothing here makes a call on a file after it said that it is ready.
    """
    if sys.platform == "linux":  # a hardened kernel lets only ancestors trace, unless the process agrees
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    runner = asyncio.Runner()
    runner.get_loop()
    store = FileStore(folder, clock=lambda: now)  # which looks at its folder
    store._pace.slow_until = math.inf  # the same steps, but in the store's thread
    ready.send("ready")
    signal.sigwait({signal.SIGUSR1})
    try:
        runner.run(_operate(store, operation, record))
    except StoreUnavailable:
        os._exit(UNAVAILABLE)
    os._exit(0)


async def _operate(store: FileStore, operation: str, record: Record) -> object:
    if operation == "create":
        return await store.create(record)
    if operation in ("save", "grow"):
        return await store.save(record, expected=record.version)
    if operation == "touch":
        times = {"last_used": record.last_used, "expires": record.expires}
        return await store.touch(record.key, expected=record.version, **times)
    return await store.delete(record.key)
