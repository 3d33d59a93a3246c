"""Raw connections to a gateway in a process of its own, for what no decent client says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.faults.serving import Serving

WRONG = "sk-kurol-" + "w" * 43
"""A key of nobody's."""


@dataclass(slots=True)
class Attacker:
    """Raw connections to a gateway.

    Attributes:
        figures: what is told of a case beside its result.
    """

    served: Serving
    key: str
    figures: dict[str, str] = field(default_factory=dict)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        parts = urlsplit(self.served.base_url)
        return await asyncio.open_connection(parts.hostname, parts.port)

    def post(self, *fields: str, key: str | None = None) -> bytes:
        """Return the head of a Chat call."""
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {self.key if key is None else key}",
            *fields,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def talk(self, sent: bytes, within_s: float = 60.0) -> bytes:
        """Send bytes; return all that comes up to the end of the connection."""
        reader, writer = await self.open()
        try:
            async with asyncio.timeout(within_s):
                writer.write(sent)
                return await reader.read()
        finally:
            writer.close()

    async def drip(self, pieces: Iterator[bytes], pause_s: float) -> tuple[bytes, float]:
        """Send pieces until the other side ends; return what it said, and after how long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = await self.open()

        async def send() -> None:
            with suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_s)

        sending = asyncio.create_task(send())
        try:
            got = b""
            with suppress(ConnectionResetError):
                got = await asyncio.wait_for(reader.read(), 600)
            return got, loop.time() - began
        finally:
            sending.cancel()
            writer.close()


def told(got: bytes) -> str:
    """Return the statuses of all answers, in order."""
    statuses = [each[:3].decode() for each in got.split(b"HTTP/1.1 ")[1:]]
    return " ".join(statuses) or "nothing"
