"""The file store with a killed process or an error at each system call of a write."""

import asyncio
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.session.record import Record
from cartapp.session.stores.file.store import FileStore
from tests.support.polling import DEADLINE
from tests.support.requirements import require_program, skip_or_fail
from tests.support.stores import HOUR, files_in, make_record
from tests.support.workers import UNAVAILABLE, answer, one_operation, piped

NOW = 1_800_000_000_000
OLD = make_record(NOW, data=b"old" * 1000, version=1)
SAVED = replace(OLD, data=b"newer" * 600)
GROWN = replace(OLD, data=b"newer" * 2000)  # larger than its file
TOUCHED = replace(OLD, last_used=NOW + 5, expires=NOW + HOUR + 5)

WRITES: dict[str, tuple[Record | None, Record, Record | None]] = {
    # the record before, the argument of the operation, and the record after
    "create": (None, OLD, OLD),
    "save": (OLD, SAVED, replace(SAVED, version=2)),
    "grow": (OLD, GROWN, replace(GROWN, version=2)),
    "touch": (OLD, TOUCHED, TOUCHED),
    "delete": (OLD, OLD, None),
}

ERRORS = {"openat": "EMFILE", "mkdir": "EACCES", "write": "ENOSPC", "pwrite64": "ENOSPC", "renameat": "EROFS"}
"""Error of each system call; EIO for all others."""


# Calls of the store's thread without a file: memory, and waking the event loop.
NO_FILES = {"mmap", "munmap", "sendto"}


@dataclass(frozen=True)
class Traced:
    """A process that ran one operation: its exit status and the system calls of the store's thread."""

    exitcode: int | None
    calls: list[str]

    def each_call(self) -> Iterator[tuple[str, int]]:
        """Number the calls of each name, as strace counts them in one thread."""
        counts: Counter[str] = Counter()
        for call in self.calls:
            counts[call] += 1
            yield call, counts[call]


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    require_program("strace", "apt-get install strace")


@contextmanager
def watched(pid: int, log: Path, *options: str) -> Iterator[None]:
    """Attach strace to a process until it exits."""
    command = ["strace", "-f", "-p", str(pid), "-o", str(log), "-e", "trace=%file,%desc", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        if not (said := tracer.stderr.readline()).endswith("attached\n"):
            os.kill(pid, signal.SIGKILL)
            skip_or_fail("strace", f"strace may not watch other processes here: {said.strip()}")
        yield


def run(folder: Path, operation: str, *options: str) -> Traced:
    """Run an operation on a store in a new process, under strace with these options."""
    before, given, _ = WRITES[operation]
    if before is not None:
        asyncio.run(created(folder, before))
    worker, pipe = piped(one_operation, folder, operation, given, NOW)
    assert answer(pipe) == "ready"
    assert worker.pid is not None
    log = folder.with_suffix(".log")
    with watched(worker.pid, log, *options):
        os.kill(worker.pid, signal.SIGUSR1)
        worker.join(DEADLINE)
    made = re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE)
    calls = [call for thread, call in made if int(thread) != worker.pid and call not in NO_FILES]
    return Traced(worker.exitcode, calls)


async def created(folder: Path, record: Record) -> None:
    store = FileStore(folder, clock=lambda: NOW)
    assert await store.create(record) == record.version
    await store.close()


async def found(folder: Path) -> Record | None:
    """Return the record as a new process reads it; check that the process can write."""
    store = FileStore(folder, clock=lambda: NOW)
    record = await store.load(OLD.key)
    if record is None:
        assert await store.create(OLD) == 1
    else:
        assert await store.save(record, expected=record.version) == int(record.version) + 1
    await store.purge(NOW)
    await store.close()
    return record


@pytest.mark.promise(9, backend="file")
@pytest.mark.parametrize("operation", WRITES)
def test_a_process_killed_at_any_call_leaves_the_old_record_or_the_new(
    tmp_path: Path, operation: str
) -> None:
    before, _, after = WRITES[operation]
    whole = run(tmp_path / "whole", operation)
    assert whole.exitcode == 0
    assert asyncio.run(found(tmp_path / "whole")) == after
    left = []
    for number, (call, nth) in enumerate(whole.each_call()):
        folder = tmp_path / str(number)
        killed = run(folder, operation, f"--inject={call}:signal=SIGKILL:when={nth}")
        assert killed.exitcode == -signal.SIGKILL
        assert killed.calls == whole.calls[: number + 1], "it was killed elsewhere"
        left.append(asyncio.run(found(folder)))
        assert left[-1] in (before, after), f"killed at {call} number {nth}"
        assert len(files_in(folder)) == 1, "the next purge did not clean up"
    assert left[0] == before
    assert left[-1] == after


@pytest.mark.promise(9, backend="file")
@pytest.mark.parametrize("operation", WRITES)
def test_an_error_of_any_call_is_an_outage_without_leftovers(tmp_path: Path, operation: str) -> None:
    before, _, after = WRITES[operation]
    whole = run(tmp_path / "whole", operation)
    unavailable = 0
    for number, (call, nth) in enumerate(whole.each_call()):
        folder = tmp_path / str(number)
        failed = run(folder, operation, f"--inject={call}:error={ERRORS.get(call, 'EIO')}:when={nth}")
        assert len(files_in(folder)) <= 1, f"{call} number {nth} failed"
        left = asyncio.run(found(folder))
        assert failed.exitcode in (0, UNAVAILABLE), f"{call} number {nth} failed"
        assert left in ([after] if failed.exitcode == 0 else [before, after]), f"{call} number {nth} failed"
        unavailable += failed.exitcode == UNAVAILABLE
    assert unavailable >= len(whole.calls) - 1  # an error is harmless only for a folder that exists already
