"""Processes: their core, their memory, their time."""

import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

START = 30.0
"""Seconds for the first answer of a server, and for its end."""

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
PINNED = len(CORES) > 1
"""Whether load and servers get a core each; macOS cannot do that."""

_TICK = os.sysconf("SC_CLK_TCK")


def pin(process: int, core: int) -> None:
    """Keep a process (0: this one), and those that it starts from now on, on the first or second core."""
    if PINNED:
        os.sched_setaffinity(process, {CORES[core]})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def cpu_seconds(process: int) -> float:
    """What a process has used so far; 0 where there is no /proc."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def family(process: int) -> list[int]:
    """A process and all below it; nobody where there is no /proc."""
    children = Path(f"/proc/{process}/task/{process}/children")
    if not children.exists():
        return []
    return [process, *(each for child in children.read_text().split() for each in family(int(child)))]


def resident(process: int) -> int:
    """Bytes of memory that a process and those below it have in RAM; 0 where there is no /proc."""
    pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in family(process)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Meter:
    """Tells how much of the machine others than us have used since it was made."""

    begin: float = field(default_factory=time.monotonic)
    others: float = field(default_factory=lambda: _others())

    def share(self) -> float:
        """Between 0 and 1, of all cores; 0 where there is no /proc."""
        elapsed = time.monotonic() - self.begin
        return max(0.0, _others() - self.others) / elapsed / (os.cpu_count() or 1)


def _others() -> float:
    """Seconds of CPU that others have used since the machine started, time stolen from it included."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    ended = os.times()
    ours = (
        sum(cpu_seconds(each) for each in family(os.getpid())) + ended.children_user + ended.children_system
    )
    return (user + nice + system + irq + softirq + steal) / _TICK - ours
