"""What aiohttp's server does by itself, and what we let it do instead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import BaseRequest, RequestHandler, StreamResponse

from kurolproxy.protocols import wire
from kurolproxy.server.reply import whole

MAX_HEADERS = 100
MAX_FIELD_BYTES = 8_190
READ_BUFFER = 65_536
_LINGER_S = 2.0

_log = logging.getLogger("kurolproxy.http")


class GatewayProtocol(RequestHandler):
    """One client connection; answers a malformed request without quoting it."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Return a fixed text: aiohttp's own holds the raw request, its key included."""
        if isinstance(exc, LineTooLong):
            status = 431
        code, text = _TEXTS.get(status, _TEXTS[500])
        _log.debug("refused a request: %s", type(exc).__name__)
        body = {"error": {"message": text, "type": code[0], "param": None, "code": code[1]}}
        headers = [("content-type", "application/json"), ("x-should-retry", "false")]
        return whole(request, status, headers, wire.dumps(body), close=True)


_TEXTS: dict[int, tuple[tuple[str, str | None], str]] = {
    400: (("invalid_request_error", None), "The request is not valid HTTP."),
    431: (("invalid_request_error", "headers_too_large"), "The request's headers are too large."),
    500: (("server_error", "internal_error"), "The gateway failed."),
}

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]


class GatewayServer(web.Server):
    """aiohttp's low-level server with our connections and limits.

    Args:
        keepalive_timeout_s: how long an idle connection may wait for its next request.
    """

    def __init__(self, handler: Handler, *, keepalive_timeout_s: float = 75.0) -> None:
        super().__init__(handler, handler_cancellation=True)
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
