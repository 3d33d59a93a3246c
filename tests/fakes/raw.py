"""A TCP server for tests, for what no HTTP server would say: bad framing, early closes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from tests.fakes.answers import Step, finish, take


@dataclass(frozen=True, slots=True)
class Reading:
    """Read one request, head and body, before going on."""


@dataclass(frozen=True, slots=True)
class Resetting:
    """Reset the connection."""


READ = Reading()
RESET = Resetting()
RawStep = Step | Reading | Resetting

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


def http(
    body: bytes = b"",
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    headers: Sequence[str] = (),
) -> bytes:
    """Write a whole, well-formed answer that ends with its connection, to be spoiled."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class RawUpstream:
    """A scripted TCP server.

    Each connection plays one list of steps and is then closed; the last list serves
    all further connections.

    Attributes:
        received: the bytes of each connection, in order of arrival.
    """

    def __init__(self, *scripts: Sequence[RawStep]) -> None:
        self.base_url = ""
        self.received: list[bytearray] = []
        self.scripts = list(scripts)
        self._gone: asyncio.Queue[int] = asyncio.Queue()
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; ``base_url`` says where."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port)
        self.base_url = f"http://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        tasks = [connection.stop() for connection in self._open]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> RawUpstream:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return len(self.received)

    async def client_gone(self, within_s: float = 5.0) -> int:
        """Wait until the other side closed a connection whose script was still running.

        Returns:
            the number of the connection, from 0.
        """
        return await asyncio.wait_for(self._gone.get(), within_s)

    def _accept(self) -> _Connection:
        number = len(self.received)
        received = bytearray()
        self.received.append(received)
        script = self.scripts[min(number, len(self.scripts) - 1)]
        return _Connection(number, script, received, self._open, self._gone)


class _Connection(asyncio.Protocol):
    """One connection: what arrives is kept, what the script says is sent."""

    def __init__(
        self,
        number: int,
        script: Sequence[RawStep],
        received: bytearray,
        siblings: set[_Connection],
        gone: asyncio.Queue[int],
    ) -> None:
        self._number = number
        self._script = script
        self._received = received
        self._siblings = siblings
        self._gone = gone
        self._taken = 0
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._siblings.add(self)
        self._task = asyncio.get_running_loop().create_task(self._play())

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._more.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._siblings.discard(self)
        if not self._task.done():
            self._gone.put_nowait(self._number)
            self._task.cancel()

    def stop(self) -> asyncio.Task[Any]:
        """Break the script off and close; nobody has gone then."""
        self._task.cancel()
        self._transport.abort()
        return self._task

    async def _play(self) -> None:
        for step in self._script:
            match step:
                case Reading():
                    await self._read_request()
                case Resetting():
                    return finish("reset", self._transport)
                case _:
                    await take(step, self._write)
        self._transport.close()

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()
        self._transport.write(data)

    async def _read_request(self) -> None:
        while (end := self._end_of_request()) is None:
            self._more.clear()
            await self._more.wait()
        self._taken = end

    def _end_of_request(self) -> int | None:
        """Return where the request that starts at ``_taken`` ends, if it does."""
        head_end = self._received.find(b"\r\n\r\n", self._taken)
        if head_end < 0:
            return None
        head = bytes(self._received[self._taken : head_end + 4])
        if b"transfer-encoding" in head.lower():
            last = self._received.find(b"0\r\n\r\n", head_end + 4)
            return None if last < 0 else last + 5
        length = _LENGTH.search(head)
        end = head_end + 4 + (int(length.group(1)) if length else 0)
        return end if len(self._received) >= end else None
