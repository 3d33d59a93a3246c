"""HTTP to the vendors: one small interface over aiohttp's client.

Foreign exceptions end here. Their texts are never passed on: the ``repr`` of a client
error can hold the Authorization header, its ``str`` the URL with a key in the query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from kurolproxy.errors import UpstreamError, UpstreamTimeout

_READ_BUFFER = 65_536
# aiohttp warns of bytes over 1 MiB: written at once they hold up everybody else.
_LARGE = 1_048_576
_STEP = 262_144
_DNS_CACHE_S = 60
_KEEPALIVE_S = 30


@dataclass(slots=True)  # not frozen: one is made for every call
class Call:
    """One request to an upstream.

    Attributes:
        headers: all of them; nothing is added but ``host`` and the framing.
        connect_timeout_s: until the connection stands.
        proxy: URL of an HTTP proxy.
    """

    url: URL
    headers: Mapping[str, str]
    body: bytes
    connect_timeout_s: float = 5.0
    proxy: str | None = None


class Answer(Protocol):
    """The head of an upstream's answer, and its body piece by piece."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def content_type(self) -> str:
        """Media type, lower case, without parameters; "" when there is none."""
        ...

    @property
    def retry_after(self) -> str | None:
        """The ``retry-after`` header as it came."""
        ...

    async def read(self) -> bytes:
        """Return the next piece as it came from the network, ``b""`` at the end.

        Raises:
            UpstreamError: the connection broke, or the framing did.
        """
        ...

    async def body(self, limit: int) -> bytes:
        """Return all of the body.

        Raises:
            UpstreamError: it broke off, or is larger than ``limit`` bytes.
        """
        ...

    def ended(self) -> bool:
        """Return whether the end of the body was read."""
        ...

    def close(self) -> None:
        """Give the connection up, or back to the pool when the body was read to its end."""
        ...


class UpstreamClient(Protocol):
    """Sends requests to upstreams."""

    async def send(self, call: Call) -> Answer:
        """Send one request and wait for the head of the answer.

        Raises:
            UpstreamError: no connection, or no valid head.
            UpstreamTimeout: the connection did not stand in time.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


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
        for at in range(0, len(view), _STEP):
            await writer.write(view[at : at + _STEP])
            await writer.drain()


class _SessionAnswer:
    """An answer that comes through aiohttp."""

    __slots__ = ("_content", "_response")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        value = self._response.headers.get("content-type", "")
        return value.partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> str | None:
        return self._response.headers.get("retry-after")

    async def read(self) -> bytes:
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error) from None

    async def body(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise UpstreamError("The upstream's answer is too large.")
        return b"".join(pieces)

    def ended(self) -> bool:
        return self._content.at_eof()

    def close(self) -> None:
        if self.ended():
            self._response.release()
        else:
            self._response.close()


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
                limit=0, ttl_dns_cache=_DNS_CACHE_S, keepalive_timeout=_KEEPALIVE_S
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
                call.url,
                data=call.body if len(call.body) <= _LARGE else _LargeBody(call.body),
                headers=call.headers,
                allow_redirects=False,
                proxy=call.proxy,
                timeout=self._timeout(call.connect_timeout_s),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreached(error) from None
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding not in ("", "identity"):
            response.close()
            raise UpstreamError("The upstream compressed its answer although we asked it not to.")
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
    """Return our error for a request that got no head; the text names the kind only."""
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream could not be reached in time.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UpstreamError("The upstream's name could not be resolved.")
    if isinstance(error, aiohttp.ClientSSLError):
        return UpstreamError("The TLS connection to the upstream failed.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError("The upstream could not be reached.")
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return UpstreamError("The upstream closed the connection without an answer.")
    return UpstreamError("The upstream's answer is not valid HTTP.")


def _broken(error: Exception) -> UpstreamError | UpstreamTimeout:
    """Return our error for an answer that broke off."""
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream was silent for too long.")
    return UpstreamError("The upstream broke off its answer.")
