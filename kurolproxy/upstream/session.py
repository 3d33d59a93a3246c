"""The upstream client on aiohttp's ``ClientSession``, for upstreams behind an HTTP proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from kurolproxy.errors import UpstreamError, UpstreamTimeout
from kurolproxy.upstream import faults, retrying
from kurolproxy.upstream.client import KEEPALIVE_S, LARGE, LINGER_S, STEP, Answer, Call
from kurolproxy.upstream.pieces import collect, pipe

_READ_BUFFER = 65_536
_DNS_CACHE_S = 60


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


class SessionClient:
    """The upstream client on one aiohttp ``ClientSession``.

    Redirects are not followed, cookies not kept, environment proxies not read, bodies
    not decompressed; there is no limit of connections and no timeout but for connecting:
    the server's own deadlines rule.
    """

    def __init__(self) -> None:
        # Must be made inside the running loop.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=_DNS_CACHE_S, keepalive_timeout=KEEPALIVE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            read_bufsize=_READ_BUFFER,
        )
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def send(self, call: Call) -> Answer:
        """Send one request and wait for the head of the answer."""
        try:
            response = await self._session.request(
                "POST",
                call.address.url,
                data=call.body if len(call.body) <= LARGE else _LargeBody(call.body),
                headers=call.headers,
                allow_redirects=False,
                proxy=call.proxy,
                timeout=self._timeout(call.connect_timeout_s),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreached(error) from None
        return _SessionAnswer(response)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def _timeout(self, connect_s: float) -> aiohttp.ClientTimeout:
        found = self._timeouts.get(connect_s)
        if found is None:
            found = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=None)
            self._timeouts[connect_s] = found
        return found


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
