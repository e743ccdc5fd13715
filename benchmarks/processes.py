"""Processes: their core, their memory, their time."""

import os
import socket
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


def resident(process: int) -> int:
    """Bytes of memory that a process and its children have in RAM; 0 where there is no /proc."""
    statm = Path(f"/proc/{process}/statm")
    if not statm.exists():
        return 0
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return own + sum(resident(int(child)) for child in children)
