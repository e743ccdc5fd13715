"""Processes of the file store's tests. Imports little, so that they start fast."""

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

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record
from cartapp.session.stores.file.store import FileStore
from cartapp.session.testing.records import increment as increment
from tests.support.polling import DEADLINE

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])

UNAVAILABLE = 75  # EX_TEMPFAIL


def started(target: Callable[..., None], *args: object) -> BaseProcess:
    """Start a process that runs this function."""
    worker = processes.Process(target=target, args=args, daemon=True)
    worker.start()
    return worker


def piped(target: Callable[..., None], *args: object) -> tuple[BaseProcess, Connection]:
    """Start a process with one end of a pipe as its last argument; return it and the other end."""
    ours, theirs = processes.Pipe()
    worker = started(target, *args, theirs)
    theirs.close()  # otherwise our end would not notice the end of the process
    return worker, ours


def answer(pipe: Connection) -> Any:
    """Return the next message of the process. Raises EOFError if it has exited."""
    assert pipe.poll(DEADLINE), "The process neither ended nor answered."
    return pipe.recv()


def numbered(number: int) -> bytes:
    """Return data that shows a mixture of two writes."""
    return b"%020d" % number * 200


def one_operation(folder: Path, operation: str, record: Record, now: int, ready: Connection) -> None:
    """Run one operation on a store on SIGUSR1; exit with `UNAVAILABLE` after StoreUnavailable.

    The caller injects kills and errors by strace, which counts calls per thread: once the process is ready,
    only the store's own thread makes system calls on files.
    """
    if sys.platform == "linux":  # a hardened kernel lets only ancestors trace a process without its consent
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    runner = asyncio.Runner()
    runner.get_loop()
    store = FileStore(folder, clock=lambda: now)  # checks its folder
    store._latency.slow_until = math.inf  # the same steps, but in the store's thread
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
