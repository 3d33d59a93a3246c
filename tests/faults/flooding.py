"""Streams as large as the network takes them, and clients that read them or do not."""

from __future__ import annotations

import asyncio
import socket
from typing import cast
from urllib.parse import urlsplit

from tests.faults.load import Kind
from tests.faults.pacing import LAST
from tests.faults.vendor import END, STREAM_HEAD, chunked

_EVENTS = {
    "openai-chat": (
        b"",
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n',
        LAST,
    ),
    "anthropic": (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message",'
        b'"role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":9,'
        b'"output_tokens":1}}}\n\nevent: content_block_start\ndata: {"type":"content_block_start",'
        b'"index":0,"content_block":{"type":"text","text":""}}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"text_delta","text":"%b"}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
}
_MARK = b'"content":'
_AT_ONCE = 32
_SMALL = 65_536


class FloodVendor:
    """A vendor on 127.0.0.1 that sends each stream as fast as it is taken.

    Args:
        events: of each stream.
        size: bytes of text of each event.
        protocol: what it speaks.

    Attributes:
        sent: how many events each stream has sent so far, in the order they were asked for.
    """

    def __init__(self, events: int, size: int, protocol: str = "openai-chat") -> None:
        first, event, last = _EVENTS[protocol]
        self.base_url = ""
        self.events = events
        self.head = STREAM_HEAD + (chunked(first) if first else b"")
        self.piece = chunked(event % (b"x" * size))
        self.last = chunked(last) + END
        self.sent: list[int] = []
        self.open: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FloodVendor:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Flood(self), "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for each in list(self.open):
            each.abort()
        await self._server.wait_closed()


class _Flood(asyncio.Protocol):
    def __init__(self, vendor: FloodVendor) -> None:
        self._vendor = vendor
        self._loop = asyncio.get_running_loop()
        self._got = b""
        self._number = -1
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._vendor.open.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._vendor.open.discard(self._transport)
        self._paused = True

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._got.endswith(b"}"):
            self._got = b""
            self._number = len(self._vendor.sent)
            self._vendor.sent.append(0)
            self._transport.write(self._vendor.head)
            self._send()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def _send(self) -> None:
        vendor, number = self._vendor, self._number
        if self._paused or self._transport.is_closing() or number < 0:
            return
        count = min(_AT_ONCE, vendor.events - vendor.sent[number])
        if count:
            vendor.sent[number] += count
            self._transport.write(vendor.piece * count)
            # Others on this loop get their turn, too.
            self._loop.call_soon(self._send)
        else:
            self._number = -1
            self._transport.write(vendor.last)


class Reader(asyncio.Protocol):
    """A client of one stream that may stop reading, and what it has seen.

    Attributes:
        events: how many came.
        whole: the end mark came.
        gone: when the connection ended, on the loop's clock.
    """

    def __init__(self) -> None:
        self.events = 0
        self.whole = False
        self.gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        # An event may be cut anywhere: what its mark began with stands in the tail.
        seen = self._tail + data
        self.events += seen.count(_MARK) - self._tail.count(_MARK)
        self._tail = seen[-64:]
        self.whole = self.whole or b"data: [DONE]" in self._tail

    def connection_lost(self, error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(asyncio.get_running_loop().time())


async def reading(base_url: str, key: str, model: str, *, stalled: bool = False) -> Reader:
    """Ask for a stream.

    Args:
        stalled: read none of it, and let the kernel hold little of it.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(base_url)
    made = socket.socket()
    made.setblocking(False)
    if stalled:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
    await loop.sock_connect(made, (parts.hostname, parts.port))
    _, reader = await loop.create_connection(Reader, sock=made)
    if stalled:
        reader.transport.pause_reading()
    reader.transport.write(Kind("openai-chat", stream=True, model=model).request(key))
    return reader
