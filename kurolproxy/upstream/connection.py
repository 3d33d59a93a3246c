"""One connection to an upstream: httptools reads, what it says goes straight on.

A request at a time. While an answer comes, each read of the socket is one piece: it is
handed to whoever pipes the answer in the same call, or kept until it is asked for. No
task, no queue and no future per piece; who does not keep up makes us stop reading.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from kurolproxy.errors import UpstreamError
from kurolproxy.upstream import faults
from kurolproxy.upstream.address import Origin
from kurolproxy.upstream.answer import StreamedAnswer
from kurolproxy.upstream.client import LARGE, MAX_FIELDS, STEP

_MAX_HEAD = 65_536
_MAX_TAIL = 65_536
_FLOOD = 131_072  # bytes of one read: there is more where they came from
_SWITCHING = 101
_EMPTY_STATUS = (204, 304)
_KEPT = {
    b"content-type": "content-type",
    b"content-length": "content-length",
    b"content-encoding": "content-encoding",
    b"transfer-encoding": "transfer-encoding",
    b"retry-after": "retry-after",
    b"date": "date",
}


class StaleConnection(UpstreamError):
    """The connection was kept from an earlier request and ended before any byte came."""


class Owner(Protocol):
    """Who keeps the connections."""

    def opened(self, connection: Connection) -> None:
        """Know of a connection from its first request on."""
        ...

    def free(self, connection: Connection) -> None:
        """Take back a connection that can serve another request."""
        ...

    def linger(self, connection: Connection) -> None:
        """Give a connection a moment to come to the end of its answer."""
        ...

    def lost(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        ...


class Connection(asyncio.Protocol):
    """One connection, one request at a time.

    Args:
        owner: keeps it between requests.
        origin: where it goes to.

    Attributes:
        used: it has served a request before.
        since: when it was given back, on the loop's clock.
    """

    def __init__(self, owner: Owner, origin: Origin) -> None:
        self._owner = owner
        self.origin = origin
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: StreamedAnswer | None = None
        self._pieces: list[bytes] = []
        self._heard = False
        self._head_bytes = 0
        self._fields = 0
        self._in_head = False
        self._framed = False
        self._keep = False
        self._sending = False
        self._left = False
        self._tail = 0
        self._writable: asyncio.Future[None] | None = None
        self._writing_paused = False
        self.used = False
        self.since = 0.0

    # --- one request --------------------------------------------------------------

    async def ask(self, head: bytes, body: bytes) -> StreamedAnswer:
        """Send a request and wait for the head of its answer.

        Raises:
            StaleConnection: it was closed meanwhile by the other side.
            UpstreamError: no valid head came.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise self._unasked()
        # Not before: of a dial that is cancelled uvloop tells the beginning but not the end.
        self._owner.opened(self)
        answer = self._answer = StreamedAnswer(self, self._loop)
        self._heard = self._left = False
        self._head_bytes = self._fields = self._tail = 0
        try:
            if len(body) <= LARGE:
                # A small one goes out in one segment with its head.
                if len(body) < 16_384:
                    transport.write(head + body)
                else:
                    transport.writelines((head, body))
            else:
                transport.write(head)
                await self._send(transport, answer, body)
            await answer.head()
        except BaseException:
            self.give_up(answer)
            raise
        return answer

    async def _send(
        self, transport: asyncio.Transport, answer: StreamedAnswer, body: bytes
    ) -> None:
        """Write a large body in steps; an answer that comes before its end ends it."""
        self._sending = True
        view = memoryview(body)
        for at in range(0, len(view), STEP):
            if answer.status or answer.error is not None:
                return
            transport.write(view[at : at + STEP])
            if self._writing_paused:
                self._writable = self._loop.create_future()
                await self._writable
            else:
                await asyncio.sleep(0)
        self._sending = False

    def give_up(self, answer: StreamedAnswer) -> None:
        """End the connection unless this answer has left it already."""
        if self._answer is answer and not self._left:
            self.abort()

    def leave(self, answer: StreamedAnswer) -> None:
        """Wait for the end of an answer that nobody reads any more."""
        if self._answer is answer and not self._left:
            self._left = True
            self._owner.linger(self)
            self.go_on(answer)

    def go_on(self, answer: StreamedAnswer) -> None:
        """Read on after a pause."""
        if self._answer is answer and self.is_open():
            assert self._transport is not None
            self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def is_open(self) -> bool:
        """Return whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    # --- asyncio.Protocol ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        answer = self._answer
        if answer is None:
            # Nobody asked: whatever it is, it would be taken for the next answer.
            self.abort()
            return
        self._heard = True
        if not answer.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end(faults.not_http())
            return
        if not answer.status:
            if self._head_bytes > _MAX_HEAD:
                self._end(faults.not_http())
            return
        self._hand_on(answer)

    def _hand_on(self, answer: StreamedAnswer) -> None:
        pieces = self._pieces
        if not pieces:
            # The head, or the end, is news of its own.
            answer.wake()
        elif self._left:
            self._tail += sum(map(len, pieces))
            pieces.clear()
            if self._tail > _MAX_TAIL:
                self.abort()
        else:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if not answer.add(piece) and self._transport is not None and not answer.whole:
                self._transport.pause_reading()
            elif answer.whole:
                answer.wake()
            elif len(piece) >= _FLOOD and self.is_open():
                # The loop would read on, up to 8 MiB in one turn, and nobody else be served.
                assert self._transport is not None
                self._transport.pause_reading()
                self._loop.call_soon(self._read_on, answer)
        if answer.whole:
            self._give_back()

    def _read_on(self, answer: StreamedAnswer) -> None:
        if not answer.behind:
            self.go_on(answer)

    def eof_received(self) -> None:
        """The other side sends nothing more; ``connection_lost`` follows."""

    def connection_lost(self, error: Exception | None) -> None:
        """End what still waits."""
        self._transport = None
        self.resume_writing()
        answer = self._answer
        if answer is not None:
            self._answer = None
            if not answer.status:
                answer.fail(faults.no_answer() if self._heard else self._unasked())
            elif error is None and not self._framed:
                # HTTP/1.0's way: the end of the connection is the end of the body.
                answer.whole = True
                answer.wake()
            else:
                answer.fail(faults.broken_off())
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """The other side does not take what we send."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """It takes more."""
        self._writing_paused = False
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # --- httptools ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A head begins, perhaps behind one of the kind 1xx."""
        self._in_head = True
        self._framed = False
        if self._answer is not None and not self._answer.status:
            self._answer.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what we look at."""
        if not self._in_head or self._answer is None or self._answer.whole:
            return
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise faults.not_http()
        kept = _KEPT.get(name.lower())
        if kept is not None:
            said, headers = value.decode("latin-1"), self._answer.headers
            # One that stands there twice is a list: no coding hides behind another.
            headers[kept] = f"{headers[kept]}, {said}" if kept in headers else said

    def on_headers_complete(self) -> None:
        """Judge the head."""
        self._in_head = False
        status: int = self._parser.get_status_code()
        answer = self._answer
        if answer is None or answer.whole or (status < 200 and status != _SWITCHING):
            return
        headers = answer.headers
        encoding = headers.get("transfer-encoding", "chunked")
        if status == _SWITCHING or encoding.strip().lower() != "chunked":
            # Another protocol, or a coding that we would have to undo: neither was asked for.
            raise faults.not_http()
        self._framed = (
            "transfer-encoding" in headers or "content-length" in headers or status in _EMPTY_STATUS
        )
        answer.status = status
        # Who answers early may read no more of the request.
        self._wake_writer()

    def on_body(self, data: bytes) -> None:
        """Collect the pieces of one read."""
        if self._answer is not None and not self._answer.whole:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it only was one of the kind 1xx."""
        answer = self._answer
        if answer is None or not answer.status:
            return
        if answer.whole:
            # A second answer that nobody asked for.
            self._keep = False
            return
        answer.whole = True
        self._keep = self._parser.should_keep_alive()

    # --- ends ---------------------------------------------------------------------

    def _give_back(self) -> None:
        self._answer = None
        self._pieces.clear()
        if self._keep and not self._in_head and not self._sending and self.is_open():
            self.used = True
            assert self._transport is not None
            if not self._transport.is_reading():
                self._transport.resume_reading()
            self._owner.free(self)
        else:
            self.abort()

    def _unasked(self) -> UpstreamError:
        """Return the error of a connection that ended before any byte of an answer."""
        if self.used:
            return StaleConnection("The upstream closed the connection.")
        return faults.no_answer()

    def _end(self, error: UpstreamError) -> None:
        """Break off because of what the other side sent."""
        answer, self._answer = self._answer, None
        if answer is not None:
            if self._pieces:
                answer.add(b"".join(self._pieces))
                self._pieces.clear()
            answer.fail(error)
        self.abort()
