"""What aiohttp's server does by itself, and what we let it do instead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import BaseRequest, RequestHandler, StreamResponse

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import wire
from kurolproxy.server.deadlines import STOOD_STILL_S
from kurolproxy.server.headers import id_headers
from kurolproxy.server.reply import Headers, Written, whole

MAX_HEADERS = 100
MAX_FIELD_BYTES = 8_190
READ_BUFFER = 65_536
_LINGER_S = 2.0
# Of the wait for who does not read, the part between two looks at what he took; at most 5 s.
_LOOKS = 4
_LOOK_S = 5.0
_TOO_MANY = "Too many headers received"
"""aiohttp has no class for it; a test holds the text against the installed version."""

_log = logging.getLogger("kurolproxy.http")

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]
Refused = Callable[[BaseRequest, int], str]
"""Books a request that never came to a handler, with its status; returns its id."""


def check_framing(request: BaseRequest) -> None:
    """Refuse what another server on the way may have read differently from ours.

    Raises:
        BadRequest: a version or a transfer encoding that we do not speak. The connection
            has to be closed behind the answer.
    """
    if request.version not in (HttpVersion11, HttpVersion10):
        raise BadRequest("Speak HTTP/1.1.")
    # The version before had no chunks: a server on the way may have passed them on as a body
    # that lasts to the end of the connection.
    if request.version == HttpVersion10 and "transfer-encoding" in request.headers:
        raise BadRequest("Transfer-Encoding needs HTTP/1.1.")
    # Repeated, or beside a length, the parser itself refuses it.
    if request.headers.get("transfer-encoding", "chunked") != "chunked":
        raise BadRequest("Transfer-Encoding must be absent or chunked.")


class _Few(list[Any]):
    """Where a connection keeps its requests: a deque takes 0.6 KB more, also while it idles."""

    __slots__ = ()

    def popleft(self) -> Any:
        """Take out the first."""
        return self.pop(0)


class GatewayProtocol(RequestHandler):
    """One client connection.

    It answers a malformed request without quoting it, reads nothing behind it, and is
    closed when a head takes too long. States, as far as heads go: *waiting* (a new
    connection, or some bytes of a further head: it stands in the server's ``heads``),
    *serving* (a body is open, or nothing has come), *broken* (whatever comes is dropped).
    """

    __slots__ = ("_body", "_broken", "_server")

    def __init__(self, server: GatewayServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._messages = _Few()  # type: ignore[assignment]
        self._server = server
        self._body: StreamReader | None = None
        self._broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._server.heads[self] = self._loop.time()
        highest = self._server.highest_descriptor
        if highest is not None and transport.get_extra_info("socket").fileno() > highest:
            # The last descriptors are for the calls that run.
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait for nothing any more."""
        self._server.heads.pop(self, None)
        self._body = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and notice whether it leaves a head unfinished."""
        if self._broken:
            return
        seen = self._request_count
        super().data_received(data)
        if self._request_count != seen:
            self._server.heads.pop(self, None)
            self._look_at(*self._messages[-1])
        elif self._body is not None:
            if self._body.is_eof():
                self._body = None
        elif data and not self._upgraded and not self._buffer_paused:
            self._server.heads.setdefault(self, self._loop.time())

    def give_up(self) -> None:
        """Close the connection; a request that runs is answered first."""
        if self._request_in_progress or self._messages:
            self.close()
        else:
            self.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Return a fixed text: aiohttp's own holds the raw request, its key included."""
        if isinstance(exc, LineTooLong) or getattr(exc, "message", "") == _TOO_MANY:
            status = 431
        kind, code, text = _TEXTS.get(status, _TEXTS[500])
        if status == 500:
            _log.error("a request failed: %s", type(exc).__name__)
        body = {"error": {"message": text, "type": kind, "param": None, "code": code}}
        named = id_headers(None, self._server.refused(request, status))
        headers: Headers = [*named, ("content-type", "application/json")]
        if status != 500:
            headers.append(("x-should-retry", "false"))
        whole(request, status, headers, wire.dumps(body), close=True)
        return _Farewell(status, keep_alive=False)

    def _look_at(self, message: object, payload: StreamReader) -> None:
        """Take note of the last request that came: its body, or that it is malformed."""
        if getattr(message, "exc", None) is None:
            self._body = None if payload.is_eof() else payload
            return
        self._broken = True
        if self._body is not None and self._request_in_progress:
            # What broke is the body that a handler is reading: that one says so, once.
            self._messages.pop()
            self._body.set_exception(web.RequestPayloadError("The framing of the body is wrong."))
        self._body = None


class _Farewell(Written):
    """The answer to a malformed request, which may still be coming.

    Closed at once, the connection would be reset by the bytes that nobody read, and the
    client never see the answer: ours is ended, the rest of his is read for a while.
    """

    async def prepare(self, request: BaseRequest) -> None:
        """End our half; wait until the client ends his, which cancels us."""
        transport = request.transport
        if transport is not None and not transport.is_closing():
            transport.write_eof()
            await asyncio.sleep(_LINGER_S)


_TEXTS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is not valid HTTP."),
    431: ("invalid_request_error", "headers_too_large", "The request's headers are too large."),
    500: ("server_error", "internal_error", "The gateway failed."),
}


class GatewayServer(web.Server):
    """aiohttp's low-level server with our connections and limits; made inside the running loop.

    Args:
        refused: books a request that never comes to the handler.
        stalled_after_s: returns how long a client may take nothing of what was written.
        keepalive_timeout_s: how long an idle connection may wait for its next request.
        header_timeout_s: how long a head may take, on a new connection from its begin.
        highest_descriptor: a new connection with a higher one is closed at once.

    Attributes:
        heads: the connections that wait for the rest of a head, and since when, the
            oldest first.
        header_timeout_s: as above; a reload may change it.
    """

    def __init__(
        self,
        handler: Handler,
        refused: Refused,
        *,
        stalled_after_s: Callable[[], float] = lambda: 120.0,
        keepalive_timeout_s: float = 75.0,
        header_timeout_s: float = 10.0,
        highest_descriptor: int | None = None,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.refused = refused
        self.header_timeout_s = header_timeout_s
        self.highest_descriptor = highest_descriptor
        self.heads: dict[GatewayProtocol, float] = {}
        self._swept = asyncio.get_running_loop().time()
        self._stalled_after_s = stalled_after_s
        # Who has not taken all that was written: how much that is, and since when.
        self._untaken: dict[RequestHandler, tuple[int, float]] = {}
        self._looks_at = 0.0
        self._options: dict[str, Any] = {
            "keepalive_timeout": keepalive_timeout_s,
            "access_log": None,
            "auto_decompress": False,
            "max_headers": MAX_HEADERS,
            "max_line_size": MAX_FIELD_BYTES,
            "max_field_size": MAX_FIELD_BYTES,
            "read_bufsize": READ_BUFFER,
            "lingering_time": _LINGER_S,
            "logger": _log,
        }

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return GatewayProtocol(self, loop=asyncio.get_running_loop(), **self._options)

    def sweep(self, now: float) -> None:
        """Give up the connections whose head takes too long, or whose client takes nothing.

        Args:
            now: the loop's time; called at each sweep.
        """
        late = now - self._swept
        self._swept = now
        if late > STOOD_STILL_S:
            # It was us who stood still.
            self.heads = {each: since + late for each, since in self.heads.items()}
        if now >= self._looks_at:
            self._end_stalled(now, late)
        while self.heads:
            protocol = next(iter(self.heads))
            if now - self.heads[protocol] < self.header_timeout_s:
                return
            del self.heads[protocol]
            protocol.give_up()

    def _end_stalled(self, now: float, late: float) -> None:
        """End the connections whose client takes nothing, also when they are closed by us.

        A connection is closed only when all is taken that was written: without this, one
        whose client does not read would stay for ever.
        """
        limit = self._stalled_after_s()
        self._looks_at = now + min(_LOOK_S, limit / _LOOKS)
        before, self._untaken = self._untaken, {}
        late = late if late > STOOD_STILL_S else 0.0
        for each, transport in list(self._connections.items()):
            size = transport.get_write_buffer_size()
            if not size:
                continue
            known, since = before.get(each, (0, now))
            since = since + late if known == size else now
            self._untaken[each] = (size, since)
            if now - since >= limit:
                transport.abort()
