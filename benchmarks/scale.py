"""Measure `cart` and requests on stores with many sessions: `python -m benchmarks.scale`.

Half of the sessions have expired where the backend keeps expired ones. Every tenth live session has a user,
and every second one was last used ten days ago. The stores are filled by bulk statements. A command that
takes longer than 45 seconds is interrupted, and its rate is that of what it has done.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from resource import struct_rusage
from signal import SIGINT, default_int_handler, signal
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from threading import Timer
from time import perf_counter, sleep

from msgspec.structs import replace
from sqlalchemy import Connection

from benchmarks.curve import draw
from cartapp.session.record import Record, key_from_id, now, pack
from cartapp.session.stores import Store, open_store
from cartapp.session.stores.file.store import FileStore
from cartapp.session.stores.redis.client import Command
from cartapp.session.stores.redis.store import RedisStore
from cartapp.session.stores.sql.store import TABLE, SqlStore
from tests.support.environment import clean_environment
from tests.support.servers import mariadb, postgresql
from tests.support.servers import redis as redis_servers

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "docs" / "performance.md"
MARKS = "<!-- scale -->\n", "<!-- /scale -->\n"
RESULTS = ROOT / "docs" / "performance-scale.json"
CURVE = ROOT / "docs" / "performance-scale.svg"
HOUR = 3_600_000
DATA = b'{"cart":{"lines":[{"id":1,"name":"Wireless Keyboard","price":7999,"quantity":2}]},"visit_count":%d}'
STEP = 5000
COLUMNS = ("version", "created", "last_used", "expires", "epoch", "user_id", "size", "data")
REQUESTS = 2000
FEW = 1000
LONGEST = 45.0
"""Seconds after which a long command is interrupted."""
FILLERS = 4
"""Processes that create files."""
INTERRUPTED = 130
MEMORY = "--innodb-buffer-pool-size=2G"
"""MariaDB's option for a server with this much data."""


BACKENDS = ("Redis", "PostgreSQL", "MariaDB", "SQLite", "files")


@dataclass
class Run:
    """One command: seconds, CPU seconds and MiB at its peak."""

    wall: float
    cpu: float
    peak: float
    out: str


@dataclass
class Costs:
    """Milliseconds of a load, a save and a create."""

    load: float
    save: float
    create: float

    def over(self, few: "Costs") -> "Costs":
        """Return these costs as multiples of others."""
        return Costs(self.load / few.load, self.save / few.save, self.create / few.create)


@dataclass
class Figures:
    """What was measured on one backend."""

    name: str
    commands: dict[str, Run] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    """Milliseconds: p99 of loads when idle and during each long command."""
    costs: dict[int, Costs] = field(default_factory=dict)
    """Milliseconds of each operation, by the number of sessions."""
    growth: dict[int, Costs] = field(default_factory=dict)
    """The same as multiples of those on a store with few sessions, measured in turn with it."""
    bytes: dict[int, int] = field(default_factory=dict)
    """Size of the store, by the number of sessions."""


def session(number: int, *, at: int, expired: bool) -> Record:
    last_used = at - (240 * HOUR if number % 2 else number % HOUR)
    return Record(
        key_from_id(f"{expired} {number}"),
        at - 300 * HOUR,
        last_used,
        at - 1000 if expired else at + 100 * HOUR,
        DATA % number,
        f"user{number // 10:028d}" if number % 10 == 0 else None,
        version=1,
    )


async def fill(store: Store, first: int, last: int, *, expired: bool) -> None:
    """Create sessions by the backend's fastest way."""
    at = now()
    for start in range(first, last, STEP):
        records = [session(n, at=at, expired=expired) for n in range(start, min(start + STEP, last))]
        if isinstance(store, SqlStore):
            rows = [{"skey": one.key, **{name: getattr(one, name) for name in COLUMNS}} for one in records]
            await store._database.run(partial(insert, rows), bulk=True)
        elif isinstance(store, RedisStore):
            await asyncio.gather(*(put(store, one, at) for one in records))
        else:
            for one in records:
                await store.create(one)


async def fill_files(url: str, first: int, last: int, *, expired: bool) -> None:
    """Create session files in several processes."""
    step = -(-(last - first) // FILLERS)
    code = (
        "import asyncio, sys; from benchmarks import scale; "
        "asyncio.run(scale.fill_url(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == 'True'))"
    )
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, url, str(at), str(min(at + step, last)), str(expired), cwd=ROOT
        )
        for at in range(first, last, max(step, 1))
    ]
    if any([await process.wait() for process in running]):
        raise SystemExit("A process that creates files failed.")


async def fill_url(url: str, first: int, last: int, expired: bool) -> None:
    """Create sessions in the store of a URL."""
    store = open_store(url, timeout=60)
    await fill(store, first, last, expired=expired)
    await store.close()


def insert(rows: list[dict[str, object]], connection: Connection) -> None:
    connection.execute(TABLE.insert(), rows)


async def put(store: RedisStore, one: Record, at: int) -> None:
    if one.user_id is not None:
        await store.create(one)
        return
    words = ("SET", store._redis_key(one.key), pack(one, 1), "PX", one.expires - at)
    await store._commands.submit(Command(words))


class Cart:
    """Runs `cart` on a store."""

    def __init__(self, url: str, folder: Path) -> None:
        self._environment = clean_environment(CART_SESSION_URL=url, CART_SESSION_TIMEOUT="60")
        self._folder = folder

    def __call__(self, *arguments: str) -> Run:
        out, errors = self._folder / "out", self._folder / "errors"
        began = perf_counter()
        with out.open("w") as printed, errors.open("w") as failed:
            running = subprocess.Popen(
                [sys.executable, str(ROOT / "cli.py"), *arguments],
                cwd=self._folder,
                env=self._environment,
                stdout=printed,
                stderr=failed,
            )
            stop = Timer(LONGEST, running.send_signal, [SIGINT])
            stop.start()
            status, usage, peak = wait(running.pid)
            stop.cancel()
        running.returncode = os.waitstatus_to_exitcode(status)
        wall = perf_counter() - began
        text = out.read_text()
        if running.returncode == INTERRUPTED and wall >= LONGEST:
            text = errors.read_text()  # has the numbers so far
        elif running.returncode:
            raise SystemExit(f"cart {' '.join(arguments)} failed: {errors.read_text()}")
        return Run(wall, usage.ru_utime + usage.ru_stime, peak, text)


def wait(pid: int) -> tuple[int, struct_rusage, float]:
    """Wait for a child; return its status, its resource usage and its peak memory in MiB.

    `ru_maxrss` starts with the memory of the parent (getrusage(2): it is kept across execve), so the mark
    of the kernel is read until the process ends.
    """
    peak = 0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, usage, peak / 1024
        with suppress(OSError):
            found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
            peak = int(found[1]) if found else peak
        sleep(0.01)


@asynccontextmanager
async def loads(store: Store, keys: Sequence[str]) -> AsyncIterator[list[float]]:
    """Load a session every 5 ms during the block; the list gets the milliseconds of each."""
    times: list[float] = []

    async def run() -> None:
        for number in range(1_000_000_000):
            began = perf_counter()
            await store.load(keys[number % len(keys)])
            times.append((perf_counter() - began) * 1000)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(run())
    try:
        yield times
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def p99(times: Sequence[float]) -> float:
    return quantiles(times, n=100)[98] if len(times) > 1 else 0.0


async def one_request(store: Store, key: str, turn: int) -> Costs:
    """Return the milliseconds of a load, a save and a create."""
    began = perf_counter()
    record = await store.load(key)
    loaded = perf_counter()
    if record is None:
        raise SystemExit(f"The session {key} is missing.")
    used = replace(record, last_used=record.last_used + 1, expires=record.expires + 1000 + turn)
    await store.save(used, expected=record.version)
    saved = perf_counter()
    new = session(-1 - turn, at=now(), expired=False)
    creating = perf_counter()
    await store.create(new)
    created = perf_counter()
    await store.delete(new.key)
    return Costs(*(1000 * seconds for seconds in (loaded - began, saved - loaded, created - creating)))


async def request_costs(few: Store, many: Store, live: int) -> tuple[Costs, Costs]:
    """Return the median costs on a store with few and on one with many live sessions, measured in turns."""
    stores = ((few, live_of(few, FEW)), (many, live))
    found: list[list[Costs]] = [[], []]
    for turn in range(REQUESTS):
        for (store, number), costs in zip(stores, found, strict=True):
            costs.append(await one_request(store, key_from_id(f"False {turn * 7919 % number}"), turn))
    return median_of(found[0]), median_of(found[1])


def median_of(costs: Iterable[Costs]) -> Costs:
    return Costs(*(median(times) for times in zip(*map(astuple, costs), strict=True)))


@dataclass(frozen=True)
class Target:
    """The URLs of a store, of one that stays small, and of a copy's target."""

    url: str
    few: str
    copy_to: str


async def measure(name: str, target: Target, number: int, folder: Path) -> Figures:
    figures, cart = Figures(name), Cart(target.url, folder)
    store, few = open_store(target.url, timeout=60), open_store(target.few, timeout=60)
    await create_table(store)
    await create_table(few)
    await add(few, target.few, 0, FEW)
    full = 0
    for size in sizes(number):
        await add(store, target.url, full, size)
        full = size
        await settle(store)
        _, figures.costs[size] = costs = await request_costs(few, store, live_of(store, size))
        figures.growth[size] = costs[1].over(costs[0])
        figures.bytes[size] = await size_in_bytes(store)
        log(f"{name}: {size:,} sessions, {figures.growth[size]}, {figures.bytes[size] / 2**20:.0f} MiB")
        if size == FEW:
            figures.commands["list of 1,000"] = await asyncio.to_thread(cart, "sessions", "list", "--json")
    await few.close()
    await run_queries(figures, cart)
    await run_long_commands(figures, cart, store, target, live_of(store, number))
    await store.close()
    return figures


def live_of(store: Store, size: int) -> int:
    """Return how many sessions of a full store are live; Redis keeps no expired ones."""
    return size if isinstance(store, RedisStore) else size // 2


async def create_table(store: Store) -> None:
    if isinstance(store, SqlStore):
        await store.create_table()


async def add(store: Store, url: str, full: int, size: int) -> None:
    """Fill a store that has `full` sessions up to `size`."""
    live, more = live_of(store, full), live_of(store, size)
    for first, last, expired in ((live, more, False), (full - live, size - more, True)):
        if isinstance(store, FileStore):
            await fill_files(url, first, last, expired=expired)
        else:
            await fill(store, first, last, expired=expired)


async def run_queries(figures: Figures, cart: Cart) -> None:
    """Run the commands that answer an operator's questions."""
    one = session(10, at=now(), expired=False)
    commands: dict[str, tuple[str, ...]] = {
        "list": ("list",),
        "list --user": ("list", "--user", str(one.user_id)),
        "list --sort size": ("list", "--sort", "size"),
        "show PREFIX": ("show", one.key[:10]),
        "stats": ("stats",),
    }
    for label, arguments in commands.items():
        figures.commands[label] = await asyncio.to_thread(cart, "sessions", *arguments, "--json")
        log(f"{figures.name}: {label} {figures.commands[label].wall:.2f} s")


async def run_long_commands(figures: Figures, cart: Cart, store: Store, target: Target, live: int) -> None:
    """Run the commands that touch many sessions, while a client loads sessions."""
    keys = [key_from_id(f"False {n}") for n in range(0, live, max(1, live // 500))]
    async with loads(store, keys) as times:
        await asyncio.sleep(3)
    figures.latency["idle"] = p99(times)
    commands: list[tuple[str, tuple[str, ...]]] = [
        ("copy", ("backends", "copy", target.url, target.copy_to)),
        ("purge --expired", ("sessions", "purge", "--expired")),
        ("purge --idle", ("sessions", "purge", "--idle", "7d", "--yes")),
    ]
    if isinstance(store, RedisStore):
        del commands[1]  # Redis removes expired sessions itself
    for label, arguments in commands:
        async with loads(store, keys) as times:
            run = await asyncio.to_thread(cart, *arguments)
        figures.latency[label] = p99(times)
        done = int((re.findall(r"\d+", run.out) or ["0"])[0])
        figures.rates[label] = done / run.wall
        log(f"{figures.name}: {label} {done} in {run.wall:.1f} s, p99 {figures.latency[label]:.1f} ms")


def sizes(number: int) -> list[int]:
    """Return the numbers of sessions at which a request is measured."""
    return [size for size in (FEW, 10_000, 100_000) if size < number] + [number]


async def settle(store: Store) -> None:
    """Update the planner's statistics, as the server does some time after an import."""
    if not isinstance(store, SqlStore):
        return
    engine = store._database.dialect.url.get_backend_name()
    if engine == "sqlite":
        return
    statement = "ANALYZE TABLE cart_session" if engine in ("mysql", "mariadb") else "ANALYZE cart_session"
    await store._database.run(partial(analyze, statement), unbounded=True)


def analyze(statement: str, connection: Connection) -> None:
    connection.exec_driver_sql(statement).close()


async def size_in_bytes(store: Store) -> int:
    """Return the memory of a Redis server, or the size on disk of a table or of files."""
    if isinstance(store, RedisStore):
        info = str(await store._commands.execute("INFO", "memory"), "ascii")
        return int(info.partition("used_memory:")[2].partition("\r")[0])
    if isinstance(store, FileStore):
        some = list(store._base.glob("0[0-7]/*"))
        return sum(file.stat().st_blocks for file in some) * 512 * (256 // 8)
    if not isinstance(store, SqlStore):
        return 0
    query = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        "postgresql": "SELECT pg_total_relation_size('cart_session')",
    }.get(
        store._database.dialect.url.get_backend_name(),
        "SELECT data_length + index_length FROM information_schema.tables WHERE table_name = 'cart_session'",
    )
    return await store._database.read(lambda connection: int(connection.exec_driver_sql(query).scalar_one()))


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def targets(folder: Path) -> Iterator[dict[str, Callable[[], Target]]]:
    """Yield for each backend a function that starts what it needs."""
    with ExitStack() as stack:

        def redis() -> str:
            binary = redis_servers.redis_binary()
            return stack.enter_context(redis_servers.running(binary)).url

        def copied() -> str:
            return f"{redis()}/0?prefix=copy:"

        def postgres() -> str:
            return stack.enter_context(postgresql.running()).url

        def maria() -> str:
            return stack.enter_context(mariadb.running(MEMORY)).url

        def sqlite(name: str) -> str:
            return f"sqlite:///{folder}/{name}.db"

        yield {
            "Redis": lambda: Target(redis(), redis(), sqlite("copy")),
            "PostgreSQL": lambda: Target(postgres(), postgres(), copied()),
            "MariaDB": lambda: Target(maria(), maria(), copied()),
            "SQLite": lambda: Target(sqlite("sessions"), sqlite("few"), copied()),
            "files": lambda: Target(f"file://{folder}/sessions", f"file://{folder}/few", copied()),
        }


def table(all_figures: Sequence[Figures], number: int) -> str:
    """Return the section of the report."""
    commands = list(all_figures[0].commands)
    rates = list(dict.fromkeys(label for figures in all_figures for label in figures.rates))
    lines = [
        f"{number:,} sessions, {datetime.now(UTC):%Y-%m-%d}, on {os.cpu_count()} cores.",
        "Wall seconds, CPU seconds of the command, and MiB at its peak:",
        "",
        f"| | {' | '.join(commands)} |",
        f"|---|{'---|' * len(commands)}",
    ]
    for figures in all_figures:
        runs = (figures.commands[label] for label in commands)
        cells = " | ".join(f"{run.wall:.2f} s, {run.cpu:.2f}, {run.peak:.0f}" for run in runs)
        lines.append(f"| {figures.name} | {cells} |")
    lines += [
        "",
        f"![A request at more sessions]({CURVE.name})",
        "",
        f"Milliseconds of one operation, and its multiple of that with {FEW:,} sessions, measured in turns:",
        "",
        "| | load | save | create |",
        "|---|---|---|---|",
    ]
    for figures in all_figures:
        costs, growth = astuple(figures.costs[number]), astuple(figures.growth[number])
        cells = " | ".join(f"{cost:.2f}, {times:.2f}" for cost, times in zip(costs, growth, strict=True))
        lines.append(f"| {figures.name} | {cells} |")
    lines += [
        "",
        "Sessions per second, and the p99 of a concurrent load in ms (when idle):",
        "",
        f"| | {' | '.join(rates)} |",
        f"|---|{'---|' * len(rates)}",
    ]
    for figures in all_figures:
        cells = " | ".join(_rate(figures, label) for label in rates)
        lines.append(f"| {figures.name} | {cells} |")
    return "\n".join(lines) + "\n"


def growth_of_save(figures: Figures) -> dict[int, float]:
    """Return the cost of a save as multiples, by the number of sessions."""
    return {size: growth.save for size, growth in figures.growth.items()}


def _rate(figures: Figures, label: str) -> str:
    if label not in figures.rates:
        return "-"
    rate, latency = figures.rates[label], figures.latency
    return f"{rate:,.0f}, {latency[label]:.1f} ({latency['idle']:.1f})"


def results(all_figures: Sequence[Figures], number: int) -> dict[str, object]:
    """Return the figures for JSON."""
    backends = {figures.name: asdict(figures) for figures in all_figures}
    for found in backends.values():
        for run in found["commands"].values():
            del run["out"]
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "sessions": number, "cores": os.cpu_count(), **backends}


def write(section: str) -> None:
    """Replace the section of the report."""
    text = REPORT.read_text()
    head, rest = text.split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    REPORT.write_text(f"{head}{MARKS[0]}\n{section}\n{MARKS[1]}{tail}")


def main() -> None:
    """Measure and write the section; with `--only` print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument(
        "--sessions", type=int, default=1_000_000, help="number of sessions (default: a million)"
    )
    parser.add_argument(
        "--only", action="append", choices=BACKENDS, default=[], help="one backend; print only"
    )
    chosen = parser.parse_args()
    signal(SIGINT, default_int_handler)  # a background job of a shell ignores it, and so would the commands
    measured = []
    for name in BACKENDS if not chosen.only else chosen.only:
        # Servers and files of one backend at a time, for memory and disk.
        with TemporaryDirectory() as folder, targets(Path(folder)) as found:
            measured.append(asyncio.run(measure(name, found[name](), chosen.sessions, Path(folder))))
    section = table(measured, chosen.sessions)
    if not chosen.only:
        write(section)
        RESULTS.write_text(json.dumps(results(measured, chosen.sessions), indent=1) + "\n")
        CURVE.write_text(draw({figures.name: growth_of_save(figures) for figures in measured}))
    print(section, end="")


if __name__ == "__main__":
    main()
