"""Answers written by hand to the client's transport: the cheapest way aiohttp leaves us."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest

Headers = list[tuple[str, str]]

_REASONS = {each.value: each.phrase for each in HTTPStatus}


class Written(web.StreamResponse):
    """An answer that went out already; aiohttp has nothing left to send."""

    def __init__(self, status: int, *, keep_alive: bool) -> None:
        super().__init__(status=status)
        self._reusable = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection serves another request."""
        return self._reusable

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Wait while the client takes nothing: what he asks next must not be heaped up, too."""
        protocol = request.protocol
        if protocol is not None and protocol.writing_paused:
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes | bytearray | memoryview = b"") -> None:
        """Do nothing: the body is out."""


class Dismissal(Written):
    """An answer behind which the connection is closed at once: who took too long has no more."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Close the connection behind what is written."""
        request.protocol.force_close()
        return None


def head_bytes(status: int, headers: Headers) -> bytes:
    """Return a response head; the values hold no CR or LF (they are all ours)."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
    lines.extend(f"{name}: {value}" for name, value in headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def whole(
    request: BaseRequest, status: int, headers: Headers, body: bytes, *, close: bool = False
) -> Written:
    """Write one whole answer.

    Args:
        headers: without the framing, which stands here.
        close: end the connection behind it.
    """
    keep = request.keep_alive and not close
    # No Content is said by the status alone: RFC 9110, section 8.6.
    framing = [("content-length", str(len(body)))] if status != HTTPStatus.NO_CONTENT else []
    if not keep:
        framing.append(("connection", "close"))
    elif request.version < (1, 1):
        framing.append(("connection", "keep-alive"))
    transport = request.transport
    if transport is not None and not transport.is_closing():
        head = head_bytes(status, headers + framing)
        if request.method == "HEAD" or len(body) == 0:
            transport.write(head)
        elif len(body) < 16_384:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return Dismissal(status, keep_alive=False)
    return Written(status, keep_alive=keep)


def hang_up(request: BaseRequest) -> Written:
    """Drop the connection of a client that does not read."""
    if request.transport is not None:
        request.transport.abort()
    return Written(499, keep_alive=False)


class ClientStream:
    """A streamed answer to one client: head, pieces, end.

    Args:
        request: whose transport is written to.
        headers: makes those of the answer, without the framing, when the head goes out: of
            several attempts the one that answers has its own.

    Attributes:
        started: the head is out.
        shown: events of the answer are out, not only signs of life.
    """

    __slots__ = ("_chunked", "_headers", "_keep", "_request", "_transport", "shown", "started")

    def __init__(self, request: BaseRequest, headers: Callable[[], Headers]) -> None:
        self._request = request
        self._transport = request.transport
        self._headers = headers
        self._chunked = request.version >= (1, 1)
        self._keep = request.keep_alive and self._chunked
        self.started = False
        self.shown = False

    def write(self, piece: bytes) -> None:
        """Write one piece; the first takes the head with it, in one segment."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self.started:
            self.started = True
            self._start(piece)
        elif not self._chunked:
            transport.write(piece)
        elif piece:
            # The piece stays the object that was read: no copy before the socket.
            transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))

    def _start(self, piece: bytes) -> None:
        framing = [("transfer-encoding", "chunked")] if self._chunked else []
        if not self._keep:
            framing.append(("connection", "close"))
        parts = [head_bytes(200, self._headers() + framing)]
        # They belong to the call, which holds us: in a ring both would wait for the collector.
        self._headers = list
        if piece and self._chunked:
            parts += [b"%x\r\n" % len(piece), piece, b"\r\n"]
        elif piece:
            parts.append(piece)
        if self._transport is not None:
            self._transport.writelines(parts)

    async def drain(self) -> None:
        """Wait while the client does not take what was written.

        Raises:
            ConnectionError: the client is gone.
        """
        await self._request.writer.drain()

    def paused(self) -> bool:
        """Return whether the client has not taken what was written."""
        return self._request.protocol.writing_paused

    def end(self) -> Written:
        """Write the end of the body."""
        transport = self._transport
        if self._chunked and transport is not None and not transport.is_closing():
            transport.write(b"0\r\n\r\n")
        return Written(200, keep_alive=self._keep)
