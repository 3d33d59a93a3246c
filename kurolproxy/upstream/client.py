"""What the server sees of an upstream: a call, its answer, and the client that sends calls.

Foreign exceptions end behind this interface. Their texts are never passed on: the ``repr``
of a client error can hold the Authorization header, its ``str`` the URL with a key in the
query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kurolproxy.upstream.address import Address

LARGE = 1_048_576
"""A request body over this size goes out in steps, so that others get their turn."""

STEP = 262_144
"""Bytes of such a step."""

KEEPALIVE_S = 30
"""How long a connection without a request is kept."""

LINGER_S = 0.25
"""How long the end of a body is awaited that nobody needs, for the connection's sake."""


MAX_FIELDS = 256
"""Header fields of an answer."""


@dataclass(slots=True)  # not frozen: one is made for every call
class Call:
    """One request to an upstream.

    Attributes:
        headers: all of them; nothing is added but ``host`` and the framing.
        connect_timeout_s: until the connection stands.
        proxy: URL of an HTTP proxy.
    """

    address: Address
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
    def coding(self) -> str:
        """The ``content-encoding`` as it came; "" when there is none."""
        ...

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the ``retry-after`` header asks for, whichever way it says so."""
        ...

    async def read(self) -> bytes:
        """Return the next piece as it came from the network, ``b""`` at the end.

        Raises:
            UpstreamError: the connection broke, or the framing did.
        """
        ...

    async def pipe(self, take: Callable[[bytes], bool]) -> None:
        """Hand each piece to ``take`` as it comes, and ``b""`` at the end, until it says False.

        Nothing is awaited between the network and ``take``.

        Raises:
            UpstreamError: as ``read``; and whatever ``take`` raises.
        """
        ...

    async def body(self, limit: int) -> bytes:
        """Return all of the body.

        Raises:
            UpstreamError: it broke off, or is larger than ``limit`` bytes.
        """
        ...

    def leave(self) -> None:
        """Nothing more of the body is needed: its end is awaited for the connection's sake."""
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
