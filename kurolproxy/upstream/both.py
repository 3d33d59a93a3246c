"""Which client sends a call, and its answer in the clear.

Our own client, or aiohttp's where a proxy stands between.
"""

from __future__ import annotations

from kurolproxy.upstream.client import Answer, Call
from kurolproxy.upstream.direct import DirectClient
from kurolproxy.upstream.encoding import opened
from kurolproxy.upstream.session import SessionClient


class Upstreams:
    """Sends requests to upstreams; must be made inside the running loop."""

    def __init__(self) -> None:
        self._direct = DirectClient()
        # Made when the first proxy is met: most gateways have none.
        self._proxied: SessionClient | None = None

    async def send(self, call: Call) -> Answer:
        """Send one request and wait for the head of the answer."""
        if call.proxy is None:
            return opened(await self._direct.send(call))
        if self._proxied is None:
            self._proxied = SessionClient()
        return opened(await self._proxied.send(call))

    async def close(self) -> None:
        """Close every connection."""
        await self._direct.close()
        if self._proxied is not None:
            await self._proxied.close()

    def sweep(self, now: float) -> None:
        """End connections that nobody needs; called by the server's one timer."""
        self._direct.sweep(now)
