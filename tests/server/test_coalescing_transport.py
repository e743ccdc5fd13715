"""CoalescingTransport: one write per turn of the event loop, in the order of the calls."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cartapp.server.coalescing import CoalescingTransport

pytestmark = pytest.mark.anyio


class RecordingTransport(asyncio.Transport):
    """Record the calls that reach the wrapped transport."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def write(self, data: Any) -> None:
        self.calls.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.calls.append("eof")

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def get_write_buffer_size(self) -> int:
        return 100

    def set_protocol(self, protocol: Any) -> None:
        self.calls.append(protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1)}.get(name, default)


@pytest.fixture
def raw() -> RecordingTransport:
    return RecordingTransport()


async def next_turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_writes_of_one_turn_are_sent_as_one(raw: RecordingTransport) -> None:
    transport = CoalescingTransport(raw)
    transport.write(b"head ")
    transport.write(bytearray(b"body "))
    transport.write(memoryview(b"end"))
    assert raw.calls == []
    await next_turn()
    assert raw.calls == [b"head body end"]
    transport.write(b"next")
    await next_turn()
    assert raw.calls == [b"head body end", b"next"]


SENDING: dict[str, tuple[Callable[[Any], None], list[Any]]] = {
    "write": (lambda transport: transport.write(b" body"), [b"head body"]),
    "writelines": (lambda transport: transport.writelines([b" bo", b"dy"]), [b"head body"]),
    "write_eof": (lambda transport: transport.write_eof(), [b"head", "eof"]),
    "close": (lambda transport: transport.close(), [b"head", "close"]),
    "set_protocol": (lambda transport: transport.set_protocol("other"), [b"head", "other"]),
}


@pytest.mark.parametrize("name", SENDING)
async def test_every_sending_method_keeps_the_order_of_the_calls(name: str, raw: RecordingTransport) -> None:
    send, expected = SENDING[name]
    transport = CoalescingTransport(raw)
    transport.write(b"head")
    send(transport)
    await next_turn()
    assert raw.calls == expected


async def test_abort_discards_buffered_data(raw: RecordingTransport) -> None:
    transport = CoalescingTransport(raw)
    transport.write(b"head")
    transport.abort()
    await next_turn()
    assert raw.calls == ["abort"]


async def test_nothing_is_written_to_a_closing_transport(raw: RecordingTransport) -> None:
    transport = CoalescingTransport(raw)
    transport.write(b"head")
    raw.abort()
    await next_turn()
    assert raw.calls == ["abort"]


async def test_large_data_is_written_at_once(raw: RecordingTransport) -> None:
    transport = CoalescingTransport(raw)
    transport.write(b"head")
    transport.write(b"x" * 100_000)
    assert raw.calls == [b"head" + b"x" * 100_000]
    await next_turn()
    assert len(raw.calls) == 1


async def test_buffered_data_counts_as_write_buffer(raw: RecordingTransport) -> None:
    transport = CoalescingTransport(raw)
    transport.write(b"head")
    assert transport.get_write_buffer_size() == 104
    await next_turn()
    assert transport.get_write_buffer_size() == 100


async def test_the_wrapped_transport_is_asked_for_everything_else(raw: RecordingTransport) -> None:
    transport = CoalescingTransport(raw)
    assert transport.get_extra_info("peername") == ("127.0.0.1", 1)
    assert transport.get_extra_info("sslcontext", "none") == "none"
    assert transport.can_write_eof()
    forwarded = {name for name in vars(asyncio.Transport) | vars(asyncio.ReadTransport) if name[0] != "_"}
    forwarded |= {
        name for name in vars(asyncio.WriteTransport) | vars(asyncio.BaseTransport) if name[0] != "_"
    }
    missing = forwarded - set(vars(CoalescingTransport))
    assert not missing  # a method of the base class raises NotImplementedError


async def test_the_close_hook_may_take_the_transport_over(raw: RecordingTransport) -> None:
    taken: list[Any] = []

    def take_over(transport: asyncio.Transport) -> bool:
        taken.append([transport, *raw.calls])
        return True

    transport = CoalescingTransport(raw, on_close=take_over)
    transport.write(b"head")
    transport.close()
    transport.close()
    assert taken == [[raw, b"head"]]
    assert transport.is_closing()
    assert raw.calls == [b"head"]


async def test_without_its_hook_the_transport_closes(raw: RecordingTransport) -> None:
    transport = CoalescingTransport(raw, on_close=lambda _: True)
    transport.remove_close_hook()
    transport.close()
    assert raw.calls == ["close"]
