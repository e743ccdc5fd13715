"""What may happen to a server of any kind, or on the way to it, while visitors come."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from cartapp.session.record import Record, now
from cartapp.session.stores.base import Store

from .layer import Layer
from .servers.process import Server
from .servers.proxy import Proxy
from .stores import make_record
from .traffic import Traffic, traffic


async def stop_and_start(server: Server, layer: Layer, *, keeps: bool, refused: int = 50) -> Traffic:
    """Stop it, until so many were refused, and start it again."""
    async with traffic(layer, keeps=keeps) as visitors:
        await visitors.more(visitors.answered, 100)
        await asyncio.to_thread(server.stop)
        await visitors.more(visitors.refused, refused)
        await asyncio.to_thread(server.start)
        await visitors.more(visitors.answered, 100)
    return visitors


async def kill_again_and_again(server: Server, layer: Layer, *, keeps: bool, times: int = 3) -> None:
    """Kill it amid its work and start it again."""
    async with traffic(layer, keeps=keeps) as visitors:
        for _ in range(times):
            await visitors.more(visitors.answered, 50)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await visitors.more(visitors.answered, 100)


async def freeze(server: Server, layer: Layer, *, refused: int = 50) -> None:
    """Let it hang, until so many were refused, and go on."""
    async with traffic(layer, keeps=True) as visitors:
        await visitors.more(visitors.answered, 100)
        server.pause()
        await visitors.more(visitors.refused, refused)
        server.resume()
        await visitors.more(visitors.answered, 100)


async def cut_connections(proxy: Proxy, layer: Layer, *, times: int, every: int) -> None:
    """Cut all connections each time that so many more were answered."""
    async with traffic(layer, keeps=True) as visitors:
        for _ in range(times):
            await visitors.more(visitors.answered, every)
            proxy.cut()
        await visitors.more(visitors.answered, 100)


async def created(store: Store, record: Record) -> Record:
    """The record as the store has it now."""
    version = await store.create(record)
    assert version is not None
    return replace(record, version=version)


async def cancel_amid_answers(store: Store, proxy: Proxy, counts: Iterable[int]) -> None:
    """Cancel half of many loads when so many bytes of answers have come; nobody gets another one's answer."""
    records = [await created(store, make_record(now(), data=b"%d" % number)) for number in range(50)]
    for count in counts:
        proxy.answers_for(count, hang=True)
        loads = [asyncio.create_task(store.load(record.key)) for record in records]
        await asyncio.wait(loads, timeout=0.02)
        for load in loads[::2]:
            load.cancel()
        proxy.heal()
        answers = await asyncio.gather(*loads, return_exceptions=True)
        for record, answer in zip(records, answers, strict=True):
            assert isinstance(answer, asyncio.CancelledError) or answer == record
        assert await asyncio.gather(*(store.load(record.key) for record in records)) == records


@asynccontextmanager
async def web_server() -> AsyncIterator[int]:
    """The port of somebody who speaks another protocol."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as web:
        yield web.sockets[0].getsockname()[1]
