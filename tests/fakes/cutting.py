"""A vendor that answers everything with the same bytes in very small pieces, at little cost.

A recording that is cut at every byte is thousands of writes, and each must reach the
reader on its own: this server does nothing else, so that all of them can be tried.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import cast

from tests.fakes.answers import PLANTED, Answer

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class CuttingVendor:
    """A server on 127.0.0.1; it must run on the loop of those that read from it.

    Attributes:
        answer: what every request gets from now on; its steps are bytes only, and it ends
            in good order.
        requests: how many were answered.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.answer = Answer()
        self.requests = 0
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> CuttingVendor:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._open):
            connection.drop()
        await self._server.wait_closed()

    def _accept(self) -> _Connection:
        return _Connection(self, self._open)


class _Connection(asyncio.Protocol):
    """One connection: reads a request, plays the answer, reads the next."""

    def __init__(self, vendor: CuttingVendor, siblings: set[_Connection]) -> None:
        self._vendor = vendor
        self._siblings = siblings
        self._loop = asyncio.get_running_loop()
        self._got = bytearray()
        self._pieces: Iterator[bytes] = iter(())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._siblings.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._siblings.discard(self)
        self._pieces = iter(())

    def drop(self) -> None:
        """Close at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = bytes(self._got).partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length.group(1)) if length else 0):
            return
        self._got.clear()
        self._vendor.requests += 1
        self._pieces = _framed(self._vendor.answer)
        self._write()

    def _write(self) -> None:
        piece = next(self._pieces, None)
        if piece is not None:
            self._transport.write(piece)
            # Two turns of the loop: the reader gets the piece on its own.
            self._loop.call_soon(self._wait)

    def _wait(self) -> None:
        self._loop.call_soon(self._write)


def _framed(answer: Answer) -> Iterator[bytes]:
    """Write an answer as HTTP: the head, then each step on its own."""
    steps = [step for step in answer.steps if isinstance(step, bytes)]
    headers = {**PLANTED, **answer.headers, "content-type": answer.content_type or ""}
    if answer.sized:
        headers["content-length"] = str(sum(map(len, steps)))
    else:
        headers["transfer-encoding"] = "chunked"
    lines = [f"HTTP/1.1 {answer.status} Said", *(f"{k}: {v}" for k, v in headers.items())]
    yield "\r\n".join([*lines, "", ""]).encode("latin-1")
    if answer.sized:
        yield from steps
        return
    for step in steps:
        yield b"%x\r\n%b\r\n" % (len(step), step)
    yield b"0\r\n\r\n"
