"""Faults of a server or of its connections under session load."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from cartapp.session.record import Record, now
from cartapp.session.stores.base import Store
from tests.support.servers.process import Server
from tests.support.servers.proxy import Proxy
from tests.support.session_layer import SessionLayer
from tests.support.session_load import SessionLoad, session_load
from tests.support.stores import make_record


async def stop_and_start(
    server: Server, layer: SessionLayer, *, keeps: bool, refused: int = 50
) -> SessionLoad:
    """Stop the server until `refused` requests have failed, then restart it."""
    async with session_load(layer, keeps=keeps) as visitors:
        await visitors.wait_for_increase(visitors.answered, 100)
        await asyncio.to_thread(server.stop)
        await visitors.wait_for_increase(visitors.refused, refused)
        await asyncio.to_thread(server.start)
        await visitors.wait_for_increase(visitors.answered, 100)
    return visitors


async def kill_repeatedly(server: Server, layer: SessionLayer, *, keeps: bool, times: int = 3) -> None:
    """Kill the server under load and restart it, `times` times."""
    async with session_load(layer, keeps=keeps) as visitors:
        for _ in range(times):
            await visitors.wait_for_increase(visitors.answered, 50)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await visitors.wait_for_increase(visitors.answered, 100)


async def freeze(server: Server, layer: SessionLayer, *, refused: int = 50) -> None:
    """Suspend the server process until `refused` requests have failed, then resume it."""
    async with session_load(layer, keeps=True) as visitors:
        await visitors.wait_for_increase(visitors.answered, 100)
        server.pause()
        await visitors.wait_for_increase(visitors.refused, refused)
        server.resume()
        await visitors.wait_for_increase(visitors.answered, 100)


async def cut_connections(proxy: Proxy, layer: SessionLayer, *, times: int, every: int) -> None:
    """Cut all connections after every `every` successful requests, `times` times."""
    async with session_load(layer, keeps=True) as visitors:
        for _ in range(times):
            await visitors.wait_for_increase(visitors.answered, every)
            proxy.cut()
        await visitors.wait_for_increase(visitors.answered, 100)


async def create_record(store: Store, record: Record) -> Record:
    """Create a record and return it with its version."""
    version = await store.create(record)
    assert version is not None
    return replace(record, version=version)


async def cancel_during_responses(store: Store, proxy: Proxy, counts: Iterable[int]) -> None:
    """Cancel half of many loads after each count of response bytes; no load gets another's response."""
    records = [await create_record(store, make_record(now(), data=b"%d" % number)) for number in range(50)]
    for count in counts:
        proxy.answers_for(count, hang=True)
        loads = [asyncio.create_task(store.load(record.key)) for record in records]
        await asyncio.wait(loads, timeout=0.02)
        for load in loads[::2]:
            load.cancel()
        proxy.heal()
        results = await asyncio.gather(*loads, return_exceptions=True)
        for record, result in zip(records, results, strict=True):
            assert isinstance(result, asyncio.CancelledError) or result == record
        assert await asyncio.gather(*(store.load(record.key) for record in records)) == records


@asynccontextmanager
async def http_server() -> AsyncIterator[int]:
    """Yield the port of a server that speaks HTTP instead of the expected protocol."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as web:
        yield web.sockets[0].getsockname()[1]
