"""Send `raw_inputs` to `cart serve --workers 2` and report the responses to each kind of input.

`python -m tests.support.raw_fuzz --seed 17 --inputs 20000` prints the table of docs/security.md.
"""

import argparse
import asyncio
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

from tests.support.raw_inputs import KINDS, Input, nth_input
from tests.support.shop_server import Shop, running_shop

CONCURRENCY = 24
IDLE_TIMEOUT = 0.5  # seconds without a byte until a client disconnects
CLOSE_TIMEOUT = 45.0  # longer than any limit of the server
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
MIB = 1024 * 1024


@dataclass
class Report:
    """Results by kind of input, with failures and measurements."""

    inputs: Counter[str] = field(default_factory=Counter)
    results: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Longest response time of `/healthz` on its own connection, in seconds."""
    health_checks: int = 0
    memory: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Memory of each worker by process ID, in bytes: after a fifth of the inputs, and at the end."""

    def table(self) -> str:
        """Return the results as a Markdown table."""
        rows = ["| kind of input | inputs | results |", "|---|---|---|"]
        for kind in KINDS:
            seen = ", ".join(
                f"{what} ({count})" for what, count in sorted(self.results.get(kind, Counter()).items())
            )
            rows.append(f"| {kind} | {self.inputs[kind]} | {seen} |")
        return "\n".join(rows)


def workers(shop: Shop) -> list[int]:
    return sorted(shop.server.children("spawn_main"))


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


async def exchange(port: int, one: Input) -> tuple[bytes, str]:
    """Send an input; return the response bytes and how the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        for piece in one.pieces:
            writer.write(piece)
            await writer.drain()
            if len(one.pieces) > 1:
                await asyncio.sleep(0.001)
        timeout = CLOSE_TIMEOUT if one.waits_for_close else IDLE_TIMEOUT
        while data := await asyncio.wait_for(reader.read(65_536), timeout):
            received += data
    except TimeoutError:
        return received, "open"
    except OSError:
        return received, "reset"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return received, "closed"


def judge(report: Report, kind: str, number: int, one: Input, received: bytes, end: str) -> None:
    statuses = [status.decode() for status in STATUS.findall(received)]
    report.inputs[kind] += 1
    seen = report.results.setdefault(kind, Counter())
    seen.update(statuses or [{"open": "nothing yet", "closed": "closed", "reset": "reset"}[end]])
    stated = b"\r\nretry-after: " in received.lower()
    if any(status[0] == "5" and not (status == "503" and stated) for status in statuses):
        report.failures.append(f"input {number}, {kind}: {one.pieces!r:.2000} got {received!r:.500}")
    if one.waits_for_close and end == "open":
        report.failures.append(f"input {number}, {kind}: {one.pieces!r:.2000} was never closed")


@contextmanager
def health_checked(port: int, report: Report) -> Iterator[None]:
    """Request `/healthz` repeatedly in a separate thread."""
    ended = Event()

    def ask() -> None:
        while not ended.wait(0.02):
            begun = time.perf_counter()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                    connection.sendall(HEALTH)
                    received = connection.recv(65_536)
            except OSError as error:
                received = repr(error).encode()
            report.slowest = max(report.slowest, time.perf_counter() - begun)
            report.health_checks += 1
            if not received.startswith(b"HTTP/1.1 200 "):
                report.failures.append(f"/healthz: {received!r}")

    thread = Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def send_all(shop: Shop, port: int, report: Report, *, seed: int, inputs: int, seconds: float) -> None:
    numbers = iter(range(inputs))
    end = time.monotonic() + seconds
    at_first: dict[int, int] = {}

    async def client() -> None:
        for number in numbers:
            if time.monotonic() > end:
                return
            if number == inputs // 5:
                at_first.update({pid: resident(pid) for pid in workers(shop)})
            kind, one = nth_input(seed, number)
            judge(report, kind, number, one, *await exchange(port, one))

    await asyncio.gather(*(client() for _ in range(CONCURRENCY)))
    report.memory = {pid: (before, resident(pid)) for pid, before in at_first.items() if pid in workers(shop)}


def fuzz(folder: Path, *, seed: int, inputs: int, seconds: float) -> Report:
    """Send inputs until the number or the time limit is reached; the report lists failures."""
    report = Report()
    with running_shop(folder, {}, workers=2) as shop:
        port, before = urlsplit(shop.url).port or 0, workers(shop)
        with health_checked(port, report):
            asyncio.run(send_all(shop, port, report, seed=seed, inputs=inputs, seconds=seconds))
        if workers(shop) != before or len(before) != 2:
            report.failures.append(f"the workers were {before} and are {workers(shop)}")
        for pid, (first, last) in report.memory.items():
            if last > 1.3 * first + 20 * MIB:
                report.failures.append(f"worker {pid} grew from {first / MIB:.0f} to {last / MIB:.0f} MiB")
    log = (folder / "output.log").read_text(errors="replace")
    if "Traceback" in log:
        report.failures.append(log[log.index("Traceback") - 500 :][:4000])
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1_800)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(Path(folder), seed=options.seed, inputs=options.inputs, seconds=options.seconds)
    print(report.table())
    print(f"\n/healthz: {report.health_checks} times, {report.slowest * 1000:.0f} ms at most")
    for pid, (first, last) in report.memory.items():
        print(f"worker {pid}: {first / MIB:.1f} MiB, then {last / MIB:.1f} MiB")
    print("\n".join(report.failures) or "no failures")


if __name__ == "__main__":
    main()
