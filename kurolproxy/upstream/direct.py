"""The upstream client of the hot path: connections of our own, kept for each origin."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from kurolproxy.errors import UpstreamError
from kurolproxy.upstream.address import Address, Origin
from kurolproxy.upstream.answer import StreamedAnswer
from kurolproxy.upstream.client import KEEPALIVE_S, LINGER_S, Call
from kurolproxy.upstream.connect import Dialler
from kurolproxy.upstream.connection import Connection, StaleConnection

_SWEEP_S = 1.0


class DirectClient:
    """Sends requests over HTTP/1.1 connections that are used again while they last.

    Redirects are not followed, cookies not kept, environment proxies not read, bodies not
    decompressed; there is no limit of connections and no timeout but for connecting: the
    server's own deadlines rule. Must be made inside the running loop.

    Args:
        tls: for ``https``; by default the system's authorities are trusted.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialler = Dialler(tls)
        self._all: set[Connection] = set()
        # The one used last is taken first: the others grow old and go.
        self._free: dict[Origin, list[Connection]] = {}
        self._lingering: dict[Connection, float] = {}
        self._swept = self._loop.time()

    @property
    def connections(self) -> int:
        """How many connections stand."""
        return len(self._all)

    async def send(self, call: Call) -> StreamedAnswer:
        """Send one request and wait for the head of the answer.

        A kept connection that ends before the first byte is no failure of the upstream:
        it is replaced by a new one, once.
        """
        origin = call.address.origin
        head = request_head(call.address, call.headers, len(call.body))
        kept = self._kept(origin)
        if kept is not None:
            try:
                return await kept.ask(head, call.body)
            except StaleConnection:
                pass
        made = await self._dialler.dial(
            origin, lambda: Connection(self, origin), call.connect_timeout_s
        )
        return await made.ask(head, call.body)

    async def close(self) -> None:
        """Close every connection."""
        for connection in list(self._all):
            connection.abort()

    def sweep(self, now: float) -> None:
        """End what lingers or idles for too long; called by the server's one timer.

        Args:
            now: the loop's time.
        """
        for connection, until in list(self._lingering.items()):
            if now >= until:
                connection.abort()
        if now < self._swept + _SWEEP_S:
            return
        self._swept = now
        for waiting in self._free.values():
            for connection in waiting:
                if now < connection.since + KEEPALIVE_S:
                    break
                connection.abort()

    def _kept(self, origin: Origin) -> Connection | None:
        waiting = self._free.get(origin)
        while waiting:
            connection = waiting.pop()
            if connection.is_open():
                return connection
        return None

    # --- for the connections ------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Know of a connection from its first request on."""
        self._all.add(connection)

    def free(self, connection: Connection) -> None:
        """Take back a connection that can serve another request."""
        self._lingering.pop(connection, None)
        connection.since = self._loop.time()
        self._free.setdefault(connection.origin, []).append(connection)

    def linger(self, connection: Connection) -> None:
        """Give a connection a moment to come to the end of its answer."""
        self._lingering[connection] = self._loop.time() + LINGER_S

    def lost(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        self._lingering.pop(connection, None)
        self._all.discard(connection)
        waiting = self._free.get(connection.origin, [])
        if connection in waiting:
            waiting.remove(connection)


def request_head(address: Address, headers: Mapping[str, str], size: int) -> bytes:
    """Return the head of a request.

    Raises:
        UpstreamError: a header holds a line break; it would begin another one.
    """
    lines = [f"POST {address.target} HTTP/1.1\r\nhost: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {size}\r\n\r\n")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) + 2 or head.count("\r") != len(lines) + 2:
        raise UpstreamError("A header of the request holds a line break.")
    # What a client's header held came as bytes, and goes on as the same ones.
    return head.encode("utf-8", "surrogateescape")
