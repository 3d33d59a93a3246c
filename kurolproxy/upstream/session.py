"""The upstream client on aiohttp's ``ClientSession``, for upstreams behind an HTTP proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from kurolproxy.errors import UpstreamError, UpstreamTimeout
from kurolproxy.upstream import faults, retrying
from kurolproxy.upstream.client import (
    KEEPALIVE_S,
    LARGE,
    LINGER_S,
    MAX_FIELDS,
    STEP,
    Answer,
    Call,
)
from kurolproxy.upstream.pieces import collect, pipe

_READ_BUFFER = 65_536
_DNS_CACHE_S = 60
_SWITCHING = 101


class _LargeBody(Payload):
    """A body that goes out in steps, so that other requests get their turn between them."""

    _autoclose = True

    def __init__(self, value: bytes) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body step by step."""
        view = memoryview(self._value)
        for at in range(0, len(view), STEP):
            await writer.write(view[at : at + STEP])
            await writer.drain()


class _SessionAnswer:
    """An answer that comes through aiohttp."""

    __slots__ = ("_content", "_response", "_tail")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self._tail: asyncio.Task[None] | None = None

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        return faults.media_type(self._response.headers.get("content-type", ""))

    @property
    def coding(self) -> str:
        return ", ".join(self._response.headers.getall("content-encoding", ()))

    @property
    def retry_after_s(self) -> float | None:
        headers = self._response.headers
        return retrying.seconds(headers.get("retry-after"), headers.get("date"))

    async def read(self) -> bytes:
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error) from None

    async def body(self, limit: int) -> bytes:
        return await collect(self.read, limit)

    async def pipe(self, take: Callable[[bytes], bool]) -> None:
        await pipe(self.read, take)

    def leave(self) -> None:
        if not self._content.at_eof():
            self._tail = asyncio.create_task(self._read_tail())

    def close(self) -> None:
        if self._content.at_eof():
            self._response.release()
        elif self._tail is None:
            self._response.close()

    async def _read_tail(self) -> None:
        """Read what little may follow, so that the connection can be used again."""
        try:
            async with asyncio.timeout(LINGER_S):
                # One piece may hold the end mark of the framing; anything more is not ours.
                await self.read()
        except (UpstreamError, UpstreamTimeout, TimeoutError):
            pass
        finally:
            self._tail = None
            self.close()


@dataclass(slots=True)
class _Attempt:
    """What became of one request on its way out."""

    reused: bool = False


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """Return a session that does nothing by itself."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None, sock_read=None),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=_READ_BUFFER,
        max_headers=MAX_FIELDS,
        trace_configs=[_noting_reuse()],
    )


def _noting_reuse() -> aiohttp.TraceConfig:
    """Return what notes that a request went out on a kept connection: aiohttp tells no one."""

    async def note(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceConnectionReuseconnParams,
    ) -> None:
        context.trace_request_ctx.reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(note)
    return trace


def _is_framed(response: aiohttp.ClientResponse) -> bool:
    """Return whether the end of a body can be read in one way only."""
    headers = response.headers
    codings = headers.getall("transfer-encoding", [])
    lengths = headers.getall("content-length", [])
    if codings:
        return not lengths and [each.strip().lower() for each in codings] == ["chunked"]
    return len(lengths) <= 1


class SessionClient:
    """The upstream client on one aiohttp ``ClientSession``.

    Redirects are not followed, cookies not kept, environment proxies not read, bodies
    not decompressed; there is no limit of connections and no timeout but for connecting:
    the server's own deadlines rule.
    """

    def __init__(self) -> None:
        # Must be made inside the running loop.
        self._session = _session(
            aiohttp.TCPConnector(limit=0, ttl_dns_cache=_DNS_CACHE_S, keepalive_timeout=KEEPALIVE_S)
        )
        # Made when the first kept connection turns out to be dead.
        self._fresh: aiohttp.ClientSession | None = None
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def send(self, call: Call) -> Answer:
        """Send one request and wait for the head of the answer.

        A kept connection that ends before the first byte is no failure of the upstream:
        the request goes out once more, on a new one.
        """
        attempt = _Attempt()
        try:
            response = await self._send(self._session, call, attempt)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if not (attempt.reused and _is_stale(error)):
                raise _unreached(error) from None
            if self._fresh is None:
                self._fresh = _session(
                    aiohttp.TCPConnector(limit=0, ttl_dns_cache=_DNS_CACHE_S, force_close=True)
                )
            try:
                response = await self._send(self._fresh, call, attempt)
            except (aiohttp.ClientError, OSError, ValueError) as another:
                raise _unreached(another) from None
        if response.status == _SWITCHING or not _is_framed(response):
            response.close()
            raise faults.not_http()
        return _SessionAnswer(response)

    async def _send(
        self, session: aiohttp.ClientSession, call: Call, attempt: _Attempt
    ) -> aiohttp.ClientResponse:
        return await session.request(
            "POST",
            call.address.url,
            data=call.body if len(call.body) <= LARGE else _LargeBody(call.body),
            headers=call.headers,
            allow_redirects=False,
            proxy=call.proxy,
            timeout=self._timeout(call.connect_timeout_s),
            trace_request_ctx=attempt,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        if self._fresh is not None:
            await self._fresh.close()

    def _timeout(self, connect_s: float) -> aiohttp.ClientTimeout:
        found = self._timeouts.get(connect_s)
        if found is None:
            found = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=None)
            self._timeouts[connect_s] = found
        return found


def _is_stale(error: Exception) -> bool:
    """Return whether a connection ended before any byte of an answer."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Otherwise it holds what came of the head.
        return isinstance(error.message, str)
    return isinstance(error, ConnectionError | aiohttp.ClientOSError)


def _unreached(error: Exception) -> UpstreamError | UpstreamTimeout:
    """Return our error for a request that got no head."""
    if isinstance(error, TimeoutError):
        return faults.connect_too_slow()
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return faults.unknown_name()
    if isinstance(error, aiohttp.ClientSSLError):
        return faults.no_tls()
    if isinstance(error, aiohttp.ClientConnectorError):
        return faults.unreachable()
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return faults.no_answer()
    return faults.not_http()


def _broken(error: Exception) -> UpstreamError | UpstreamTimeout:
    """Return our error for an answer that broke off."""
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream was silent for too long.")
    return faults.broken_off()
