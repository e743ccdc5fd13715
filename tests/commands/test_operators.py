"""Commands at many sessions: what the backend is asked for, batches, and progress on a terminal."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from cartapp.session.record import Record
from cartapp.session.stores import Store, open_store
from tests.support.commands import CartCommand, make_session, store_sessions
from tests.support.servers.memcached import MemcachedServer
from tests.support.servers.redis import RedisServer
from tests.support.stores import with_prefix
from tests.support.terminal import run_on_terminal

pytestmark = pytest.mark.usefixtures("folder")

QUERIES = (["list"], ["list", "--sort", "size"], ["list", "--user", "ann"], ["show", "s00007"], ["stats"])


def many(number: int) -> list[Record]:
    return [
        make_session(f"s{one:05}", user="ann" if one % 10 == 0 else None, idle=one % 20)
        for one in range(number)
    ]


def fill(url: str, records: list[Record]) -> None:
    async def run(store: Store) -> None:
        for record in records:
            assert await store.create(record) is not None
        await store.close()

    asyncio.run(run(open_store(url)))


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """Count the statements that SQLAlchemy executes."""
    statements: list[str] = []

    def record(*args: object) -> None:
        statements.append(str(args[2]))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield lambda: len(statements)
    finally:
        event.remove(Engine, "before_cursor_execute", record)


def test_o1_sql_answers_queries_itself(cart: CartCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of statements does not depend on that of the sessions; a scan reads 1,000 in one."""
    url = f"sqlite:///{Path.cwd()}/sessions.db"
    monkeypatch.setenv("CART_SESSION_URL", url)
    numbers: list[int] = []
    for records in (many(600), many(2600)[600:]):
        fill(url, records)
        with counted() as statements:
            for query in QUERIES:
                assert cart("sessions", *query, "--json").code == 0
            numbers.append(statements())
    assert numbers[0] == numbers[1]


def test_o1_redis_returns_headers_only(
    cart: CartCommand, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = with_prefix(redis_server.url)
    monkeypatch.setenv("CART_SESSION_URL", url)
    fill(url, many(60))
    redis_server.execute("CONFIG", "RESETSTAT")
    for query in (["list"], ["list", "--sort", "size"], ["stats"]):
        assert cart("sessions", *query, "--json").code == 0
    assert {"get", "mget"}.isdisjoint(redis_server.commands())


def test_o2_sessions_end_in_batches(cart: CartCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{Path.cwd()}/sessions.db"
    monkeypatch.setenv("CART_SESSION_URL", url)
    fill(url, many(1000))
    with counted() as statements:
        ended = cart("sessions", "purge", "--idle", "10h", "--yes")
        assert ended.out == "Ended 450 sessions.\n"
        assert statements() < 40


def test_o2_copy_writes_in_batches(
    cart: CartCommand, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = with_prefix(redis_server.url)
    fill(source, many(500))
    with counted() as statements:
        copied = cart("backends", "copy", source, f"sqlite:///{Path.cwd()}/copy.db")
        assert copied.out == "Sessions: 500 copied, 0 updated, 0 unchanged, 0 ended.\n"
        assert statements() < 500


def test_o3_progress_has_a_total_and_a_rate() -> None:
    store_sessions(many(300))
    code, shown = run_on_terminal("sessions", "purge", "--all", "--limit-rate", "200", typed="y\n")
    assert code == 0
    assert "Ended 300 sessions." in shown
    assert re.search(r"300 of about 300, \d+/s", shown)


def test_a_purge_without_a_question_has_a_total_too() -> None:
    store_sessions(many(300))
    code, shown = run_on_terminal("sessions", "purge", "--all", "--yes", "--limit-rate", "200")
    assert (code, "Ended 300 sessions." in shown) == (0, True)
    assert re.search(r"\d+ of about \d+, \d+/s", shown)


def test_sql_counts_the_selected_sessions_for_the_total(folder: Path) -> None:
    url = f"sqlite:///{folder}/sessions.db"
    fill(url, many(300))
    idle = ("--idle", "10h", "--yes", "--limit-rate", "200")
    code, shown = run_on_terminal("sessions", "purge", *idle, CART_SESSION_URL=url)
    assert code == 0
    assert re.search(r"135 of about 135, \d+/s", shown)


def test_a_scan_of_memcached_has_a_total(memcached_server: MemcachedServer) -> None:
    fill(memcached_server.url, many(300))
    code, shown = run_on_terminal("sessions", "stats", CART_SESSION_URL=memcached_server.url)
    assert code == 0
    totals = re.findall(r"of about ([\d,]+)", shown)
    assert totals
    assert int(totals[-1].replace(",", "")) >= 300  # the server also counts the items of other tests


def test_o12_loading_a_large_catalogue_shows_its_progress() -> None:
    products = [{"id": one, "name": f"Product {one}", "price": 9.99} for one in range(1, 3001)]
    Path("products.json").write_text(json.dumps(products))
    code, shown = run_on_terminal("catalogue", "load", "products.json", typed="")
    assert code == 0
    assert "3,000 of about 3,000" in shown
    assert "Loaded 3000 products" in shown
