"""Streams whose events say when they were sent, so that a client sees how long each took."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from tests.faults.load import Kind
from tests.faults.vendor import END, STREAM_HEAD, chunked

_EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"%.6f;"},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,'
    b'"completion_tokens":2,"total_tokens":11}}\n\ndata: [DONE]\n\n'
)
_SENT = re.compile(rb'"content":"([0-9.]+);"')


class PacedVendor:
    """A vendor on 127.0.0.1 that sends all its streams an event at a time.

    Args:
        pause_s: between two events.
    """

    def __init__(self, pause_s: float = 0.04) -> None:
        self.base_url = ""
        self.open: set[asyncio.Transport] = set()
        self._pause_s = pause_s
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> PacedVendor:
        self._server = await self._loop.create_server(lambda: _Stream(self), "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._tick()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._timer is not None
        self._timer.cancel()
        self._server.close()
        for each in list(self.open):
            each.abort()
        await self._server.wait_closed()

    def end(self) -> None:
        """End all streams as they should."""
        for each in self.open:
            each.write(chunked(LAST) + END)
        self.open.clear()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._pause_s, self._tick)
        for each in self.open:
            each.write(chunked(_EVENT % self._loop.time()))


class _Stream(asyncio.Protocol):
    def __init__(self, vendor: PacedVendor) -> None:
        self._vendor = vendor
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._got.endswith(b"}"):
            self._got = b""
            self._transport.write(STREAM_HEAD)
            self._vendor.open.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._vendor.open.discard(self._transport)


@dataclass(slots=True)
class Watching:
    """Clients of paced streams.

    Attributes:
        slowest_s: the longest that any event took since ``forget``.
        events: how many came since then.
        ended: streams that came to their end mark.
    """

    base_url: str
    key: str
    model: str = "timed"
    slowest_s: float = 0.0
    events: int = 0
    ended: int = 0
    _open: list[asyncio.Transport] = field(default_factory=list)

    async def start(self, count: int) -> None:
        """Open some streams."""
        loop = asyncio.get_running_loop()
        parts = urlsplit(self.base_url)
        for _ in range(count):
            made, _ = await loop.create_connection(
                lambda: _Client(self), str(parts.hostname), parts.port
            )
            transport = cast("asyncio.Transport", made)
            transport.write(Kind("openai-chat", stream=True, model=self.model).request(self.key))
            self._open.append(transport)

    def forget(self) -> tuple[float, int]:
        """Begin to measure anew; return what was measured so far."""
        seen = self.slowest_s, self.events
        self.slowest_s, self.events = 0.0, 0
        return seen

    async def over(self, seconds: float) -> float:
        """Return the longest that an event takes in some seconds."""
        self.forget()
        await asyncio.sleep(seconds)
        return self.forget()[0]

    def close(self) -> None:
        """Hang up."""
        for each in self._open:
            each.abort()


class _Client(asyncio.Protocol):
    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        watching, now = self._watching, self._loop.time()
        for sent in _SENT.findall(data):
            watching.events += 1
            watching.slowest_s = max(watching.slowest_s, now - float(sent))
        watching.ended += data.count(b"data: [DONE]")


def model(name: str, base_url: str, protocols: tuple[str, ...]) -> str:
    """Return the configuration of a model that is reached at a vendor's, by its own upstream."""
    return f"""
[[upstreams]]
name = "{name}"
base_url = "{base_url}"
protocols = {json.dumps(protocols)}
api_keys = ["vendor-key"]

[[models]]
id = "{name}"
targets = [{{ upstream = "{name}", model = "m" }}]
"""
