"""A quick vendor of all four protocols: every answer has token counts of its own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import count
from typing import cast

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import finish
from tests.fakes.recordings import Figures
from tests.pairs.vendors import Turn, frames, whole

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model"\s*:\s*"([^"]*)"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_GEMINI = re.compile(r"/models/([^/:]+):(streamGenerateContent|generateContent)")
_PATHS: Mapping[str, ProtocolName] = {
    "/v1/chat/completions": "openai-chat",
    "/v1/responses": "openai-responses",
    "/v1/messages": "anthropic",
}

# Figures that stand in the templates where those of one answer go: no other text has them.
_PROMPT, _COMPLETION = 7_777_777, 8_888_888
_TOTAL = _PROMPT + _COMPLETION
_WORDS = ("Every answer ", "that came whole ", "is in the ledger.")

JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for."""

    protocol: ProtocolName
    model: str
    stream: bool
    number: int


class Break(Enum):
    """How a connection ends before its time."""

    CLOSE = "close"
    RESET = "reset"


Step = bytes | float | Break
"""Bytes to write, seconds to wait, or the end of the connection."""
Script = Callable[[Asked], list[Step]]


def chunked(piece: bytes) -> bytes:
    """Return a piece of a streamed body as HTTP frames it."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@cache
def _template(protocol: ProtocolName, stream: bool) -> tuple[bytes, ...]:
    """Return the frames of an answer, or all of it, with ``%``-places for the figures."""
    turn = Turn(words=_WORDS, usage=Figures(_PROMPT, _COMPLETION))
    made = frames(protocol, turn) if stream else [json.dumps(whole(protocol, turn)).encode()]
    places = {_PROMPT: b"%(prompt)d", _COMPLETION: b"%(completion)d", _TOTAL: b"%(total)d"}
    out = []
    for piece in made:
        piece = piece.replace(b"%", b"%%")
        for figure, place in places.items():
            piece = piece.replace(b"%d" % figure, place)
        out.append(piece)
    return tuple(out)


def pieces(asked: Asked) -> list[bytes]:
    """Return the frames of the answer to a request, or all of it; no two have equal figures."""
    prompt, completion = 10 + asked.number % 89, 1 + asked.number % 97
    figures = {b"prompt": prompt, b"completion": completion, b"total": prompt + completion}
    return [each % figures for each in _template(asked.protocol, asked.stream)]


def quick(asked: Asked) -> list[Step]:
    """Answer at once."""
    made = pieces(asked)
    if not asked.stream:
        return [JSON_HEAD % len(made[0]) + made[0]]
    return [b"".join([STREAM_HEAD, *map(chunked, made), END])]


def paced(pause_s: float) -> Script:
    """Return a script that waits before each frame, and before a whole answer."""

    def script(asked: Asked) -> list[Step]:
        made = pieces(asked)
        if not asked.stream:
            return [pause_s * len(_WORDS), JSON_HEAD % len(made[0]) + made[0]]
        steps: list[Step] = [STREAM_HEAD]
        for each in made:
            steps += [pause_s, chunked(each)]
        return [*steps, END]

    return script


def stalled(pause_s: float) -> Script:
    """Return a script whose streams wait behind their first word, and whole answers too."""

    def script(asked: Asked) -> list[Step]:
        made = pieces(asked)
        if not asked.stream:
            return [pause_s, JSON_HEAD % len(made[0]) + made[0]]
        first = 1 + next(at for at, each in enumerate(made) if _WORDS[0].encode() in each)
        begin, rest = map(chunked, made[:first]), map(chunked, made[first:])
        return [b"".join([STREAM_HEAD, *begin]), pause_s, b"".join([*rest, END])]

    return script


class QuickVendor:
    """A vendor on 127.0.0.1 that answers by a script for each of its models.

    Args:
        scripts: model -> what it answers; any other model answers at once.

    Attributes:
        running: requests that are being answered.
    """

    def __init__(self, scripts: Mapping[str, Script] | None = None) -> None:
        self.base_url = ""
        self.running = 0
        self.scripts = dict(scripts or {})
        self._numbers = count()
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> QuickVendor:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for each in list(self._open):
            each.drop()
        await self._server.wait_closed()

    def opened(self, connection: _Connection) -> None:
        """Remember a connection until it is closed."""
        self._open.add(connection)

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)

    def answer(self, path: str, body: bytes) -> list[Step]:
        """Return what a request is answered."""
        number = next(self._numbers)
        asked = _asked(path, body, number)
        return self.scripts.get(asked.model, quick)(asked)


def _asked(path: str, body: bytes, number: int) -> Asked:
    named = _GEMINI.search(path)
    if named is not None:
        return Asked("gemini", named[1], named[2].startswith("stream"), number)
    model = _MODEL.search(body)
    assert model is not None, body[:200]
    return Asked(_PATHS[path], model[1].decode(), _STREAM.search(body) is not None, number)


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, vendor: QuickVendor) -> None:
        self._vendor = vendor
        self._loop = asyncio.get_running_loop()
        self._got = b""
        self._steps: list[Step] = []
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._vendor.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._vendor.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        self._rest()

    def drop(self) -> None:
        """Close at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._got = b""
        path = head.split(b" ", 2)[1].decode().partition("?")[0]
        self._steps = self._vendor.answer(path, body)
        self._busy = True
        self._vendor.running += 1
        self._play()

    def _rest(self) -> None:
        if self._busy:
            self._busy = False
            self._vendor.running -= 1

    def _play(self) -> None:
        self._timer = None
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, Break):
                return finish(step.value, self._transport)
            if isinstance(step, float):
                self._timer = self._loop.call_later(step, self._play)
                return None
            self._transport.write(step)
        return self._rest()
