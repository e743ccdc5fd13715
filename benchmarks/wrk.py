"""Load from wrk: one thread, a few connections, prepared requests."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("requests.lua")


class BenchmarkError(Exception):
    """What keeps the benchmark from being run, or its figures from being true; one sentence."""


@dataclass(frozen=True)
class Measured:
    """One run of one endpoint."""

    count: int
    """Requests that were answered well."""
    failed: int
    """Requests that were not."""
    rate: float
    """Those answered well, a second."""
    p50: float
    p99: float
    """Milliseconds."""


def version() -> str:
    """wrk's own version. Raises `BenchmarkError` when there is no wrk."""
    if not shutil.which("wrk"):
        raise BenchmarkError("wrk is needed for the benchmark; on Debian: apt-get install wrk")
    answer = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.split(" [")[0]


def run(url: str, requests: list[bytes], seconds: int, folder: Path) -> Measured:
    """Send the requests round and round. Raises `BenchmarkError` when all of them fail."""
    prepared = folder / "requests"
    prepared.write_bytes(b"\0".join(requests))
    load = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
    answer = subprocess.run(
        [*load, "--script", str(SCRIPT), url, "--", str(prepared)],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
    )
    line = next((line for line in answer.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchmarkError(f"wrk gave no result: {answer.stdout} {answer.stderr}")
    count, microseconds, failed, p50, p99 = (int(figure) for figure in line.split()[1:])
    good = count - failed
    if good <= 0:
        raise BenchmarkError(f"{failed} of {count} requests to {url} failed")
    return Measured(good, failed, good / microseconds * 1e6, p50 / 1000, p99 / 1000)
