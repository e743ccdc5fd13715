"""CPU affinity, memory and CPU time of processes."""

import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

START = 30.0
"""Timeout in seconds for a server to start, and to stop."""

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
PINNED = len(CORES) > 1
"""Whether load and servers each get a core of their own; not possible on macOS."""

_TICK = os.sysconf("SC_CLK_TCK")


def pin(process: int, core: int) -> None:
    """Pin a process (0: this one) and its future children to the first or second core."""
    if PINNED:
        os.sched_setaffinity(process, {CORES[core]})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds that a process has used; 0 without /proc."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def process_tree(process: int) -> list[int]:
    """Return a process and all its descendants; empty without /proc."""
    children = Path(f"/proc/{process}/task/{process}/children")
    if not children.exists():
        return []
    return [process, *(each for child in children.read_text().split() for each in process_tree(int(child)))]


def resident(process: int) -> int:
    """Return the resident bytes of a process and its descendants; 0 without /proc."""
    pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in process_tree(process)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class OtherLoadMeter:
    """Measure the share of the machine that other processes use from now on."""

    begin: float = field(default_factory=time.monotonic)
    others: float = field(default_factory=lambda: _others())

    def share(self) -> float:
        """Return the share of all cores, between 0 and 1; 0 without /proc."""
        elapsed = time.monotonic() - self.begin
        return max(0.0, _others() - self.others) / elapsed / (os.cpu_count() or 1)


def _others() -> float:
    """Return the CPU seconds that other processes have used since boot, including steal time."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    ended = os.times()
    ours = (
        sum(cpu_seconds(each) for each in process_tree(os.getpid()))
        + ended.children_user
        + ended.children_system
    )
    return (user + nice + system + irq + softirq + steal) / _TICK - ours
