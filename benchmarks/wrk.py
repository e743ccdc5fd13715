"""Load from wrk: one thread, a fixed number of connections, prepared requests."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("requests.lua")


class BenchmarkError(Exception):
    """The benchmark cannot run, or its figures are invalid. The message is one sentence."""


@dataclass(frozen=True)
class Measurement:
    """Result of one run of one endpoint."""

    count: int
    """Successful requests."""
    failed: int
    """Failed requests."""
    rate: float
    """Successful requests per second."""
    p50: float
    p99: float
    """Milliseconds."""


def version() -> str:
    """Return the version of wrk. Raises `BenchmarkError` if it is not installed."""
    if not shutil.which("wrk"):
        raise BenchmarkError("wrk is not installed. On Debian: apt-get install wrk")
    result = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return result.stdout.split(" [")[0]


def run(url: str, requests: list[bytes], seconds: int, folder: Path) -> Measurement:
    """Send the requests in a loop. Raises `BenchmarkError` if all of them fail."""
    prepared = folder / "requests"
    prepared.write_bytes(b"\0".join(requests))
    load = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
    result = subprocess.run(
        [*load, "--script", str(SCRIPT), url, "--", str(prepared)],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
    )
    line = next((line for line in result.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchmarkError(f"wrk printed no result: {result.stdout} {result.stderr}")
    count, microseconds, failed, p50, p99 = (int(figure) for figure in line.split()[1:])
    good = count - failed
    if good <= 0:
        raise BenchmarkError(f"{failed} of {count} requests to {url} failed")
    return Measurement(good, failed, good / microseconds * 1e6, p50 / 1000, p99 / 1000)
