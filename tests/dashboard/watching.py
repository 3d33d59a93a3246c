"""A viewer of the live feed: reads its stream of events and notes when each came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

OWN = "/dashboard/live"
ALL = "/dashboard/admin/live"


@dataclass(slots=True)
class Heard:
    """What a viewer was told.

    Attributes:
        updates: each with its id and when it came, in the loop's time.
        comments: how many came.
        ended: the stream is over.
    """

    status: int
    headers: Any
    updates: list[tuple[str, float, dict[str, Any]]] = field(default_factory=list)
    comments: int = 0
    ended: bool = False

    @property
    def last(self) -> dict[str, Any]:
        """The last update."""
        return self.updates[-1][2]

    @property
    def finished(self) -> list[dict[str, Any]]:
        """All calls that ended, as they were told."""
        return [row for _, _, update in self.updates for row in update["finished"]]

    @property
    def running(self) -> list[dict[str, Any]]:
        """All that was told of calls that run."""
        return [row for _, _, update in self.updates for row in update["running"]]

    async def until(self, check: Callable[[], bool], within_s: float = 10.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(within_s):
            while not check():  # noqa: ASYNC110  # what is waited for has no event
                await asyncio.sleep(0.005)

    def take(self, event: bytes, at: float) -> None:
        """Take note of one event, without its blank line."""
        fields = dict(line.split(": ", 1) for line in event.decode().split("\n") if ": " in line)
        if event.startswith(b":"):
            self.comments += 1
        elif fields.get("event") == "update":
            self.updates.append((fields["id"], at, json.loads(fields["data"])))


@asynccontextmanager
async def watching(
    http: aiohttp.ClientSession, base_url: str, token: str, path: str = OWN, **headers: str
) -> AsyncIterator[Heard]:
    """Open a stream and read it in the background."""
    headers["cookie"] = f"kurol={token}"
    timeout = aiohttp.ClientTimeout(total=None)
    async with http.get(
        base_url + path, headers=headers, allow_redirects=False, timeout=timeout
    ) as answer:
        heard = Heard(answer.status, answer.headers)
        reader = asyncio.create_task(_read(answer, heard))
        try:
            yield heard
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader


async def _read(answer: aiohttp.ClientResponse, heard: Heard) -> None:
    loop, rest = asyncio.get_running_loop(), b""
    with suppress(aiohttp.ClientError):
        async for piece in answer.content.iter_any():
            rest += piece
            *events, rest = rest.split(b"\n\n")
            for each in events:
                heard.take(each, loop.time())
    heard.ended = True
