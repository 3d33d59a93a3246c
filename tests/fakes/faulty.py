"""A vendor that fails: the model of a request names the way.

``FaultyUpstream`` is a TCP server on loopback that speaks all four upstream protocols, and
can be used as an HTTP proxy in front of itself. What it does is a script (``faulty_modes.py``):
bytes, pauses, and how the connection ends. ``Thief`` only counts who comes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlsplit

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import finish
from tests.faults.vendor import Asked, Break, quick

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model"\s*:\s*"([^"]*)"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_GEMINI = re.compile(r"/models/([^/:]+):(streamGenerateContent|generateContent)")
_PATHS: Mapping[str, ProtocolName] = {
    "/v1/chat/completions": "openai-chat",
    "/v1/responses": "openai-responses",
    "/v1/messages": "anthropic",
}

Step = bytes | float | Break
"""Bytes to write, seconds to wait, or the end of the connection."""
Script = Callable[[Asked], Iterable[Step]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived.

    Attributes:
        headers: names in lower case, in order.
        connection: a number for each TCP connection, from 0.
    """

    asked: Asked
    headers: tuple[tuple[str, str], ...]
    connection: int


class FaultyUpstream:
    """A vendor whose models are the ways to fail.

    Args:
        modes: model -> what it does; any other model answers well.

    Attributes:
        requests: everything received, in order.
        open: the numbers of the connections that stand.
    """

    def __init__(self, modes: Mapping[str, Script]) -> None:
        self.base_url = ""
        self.requests: list[Seen] = []
        self.open: set[int] = set()
        self._modes = modes
        self._connections = count()
        self._numbers = count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FaultyUpstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4_096)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for each in list(self._tasks):
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def of(self, model: str) -> list[Seen]:
        """Return the requests for one model."""
        return [each for each in self.requests if each.asked.model == model]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._connections)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open.add(number)
        try:
            while await self._answer(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            self.open.discard(number)
            writer.transport.abort()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        """Play the answer to one request; False: the connection is over."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        asked = self._asked(head, body)
        self.requests.append(Seen(asked, tuple(_headers(head)), number))
        for step in self._modes.get(asked.model, quick)(asked):
            match step:
                case Break():
                    finish(step.value, writer.transport)
                    return False
                case float():
                    # Whoever asked may leave meanwhile.
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1), step)
                        return False
                case _:
                    writer.write(step)
                    await writer.drain()
        return True

    def _asked(self, head: bytes, body: bytes) -> Asked:
        target = head.split(b" ", 2)[1].decode()
        path = urlsplit(target).path
        number = next(self._numbers)
        named = _GEMINI.search(path)
        if named is not None:
            return Asked("gemini", named[1], named[2].startswith("stream"), number)
        model = _MODEL.search(body)
        assert model is not None, body[:200]
        return Asked(_PATHS[path], model[1].decode(), _STREAM.search(body) is not None, number)


def _headers(head: bytes) -> Iterable[tuple[str, str]]:
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        yield name.lower(), value.strip()


class Thief:
    """A server that waits for those who follow a redirect.

    Attributes:
        caught: how many connections came.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.caught = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Thief:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.caught += 1
        writer.close()
