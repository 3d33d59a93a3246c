"""Clients that call all four endpoints at a rate, and note what they were given."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

from kurolproxy.ir import ProtocolName

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)")
_ID = re.compile(rb"\r\nx-request-id: ([^\r]+)")
_PROMPT = re.compile(rb'"(?:prompt_tokens|input_tokens|promptTokenCount)":\s*(\d+)')
_COMPLETION = re.compile(rb'"(?:completion_tokens|output_tokens|candidatesTokenCount)":\s*(\d+)')
# What the last frame of a whole stream holds.
_MARKS: Mapping[ProtocolName, bytes] = {
    "openai-chat": b"data: [DONE]",
    "openai-responses": b'"response.completed"',
    "anthropic": b'"message_stop"',
    "gemini": b'"finishReason"',
}
_TURN = [{"role": "user", "content": "Hi!"}]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to call: an endpoint, streamed or not, and a model."""

    protocol: ProtocolName
    stream: bool
    model: str

    def request(self, key: str, cap: int = 100) -> bytes:
        """Return the request as it goes over the wire."""
        path, body = self._said(cap)
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        return head.encode() + data

    def _said(self, cap: int) -> tuple[str, dict[str, Any]]:
        name = {"model": self.model, "stream": self.stream}
        match self.protocol:
            case "openai-chat":
                options = {"stream_options": {"include_usage": True}} if self.stream else {}
                return "/v1/chat/completions", {
                    **name,
                    **options,
                    "messages": _TURN,
                    "max_completion_tokens": cap,
                }
            case "openai-responses":
                return "/v1/responses", {**name, "input": "Hi!", "max_output_tokens": cap}
            case "anthropic":
                return "/v1/messages", {**name, "messages": _TURN, "max_tokens": cap}
            case "gemini":
                method = "streamGenerateContent?alt=sse" if self.stream else "generateContent"
                config = {"maxOutputTokens": cap}
                contents = [{"role": "user", "parts": [{"text": "Hi!"}]}]
                path = f"/v1beta/models/{self.model}:{method}"
                return path, {"contents": contents, "generationConfig": config}

    def ended(self, body: bytes) -> bool:
        """Return whether a stream came up to the end of its terminal event."""
        at = body.rfind(_MARKS[self.protocol])
        return at >= 0 and body.replace(b"\r\n", b"\n").find(b"\n\n", at) >= 0


def kinds(*models: str) -> list[Kind]:
    """Return every endpoint, streamed and not, with each of some models."""
    return [
        Kind(each, stream, model) for model in models for each in _MARKS for stream in (False, True)
    ]


@dataclass(slots=True)
class Call:
    """One request and what came of it.

    Attributes:
        id: of the answer's head.
        whole: it came up to the end of its terminal event, or all of its JSON.
        body: what came of it.
        error: of the connection, "" when there was none.
        began: in the clock of the loop; ``took`` after that it was over.
    """

    kind: Kind
    began: float
    id: str | None = None
    status: int | None = None
    head: bytes = b""
    body: bytes = b""
    whole: bool = False
    error: str = ""
    took: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it is an answer, and whole."""
        return self.whole and self.status == 200

    @property
    def tokens(self) -> tuple[int, int]:
        """Prompt and completion as the client was told them last."""
        prompts, completions = _PROMPT.findall(self.body), _COMPLETION.findall(self.body)
        return int(prompts[-1]), int(completions[-1])

    @property
    def ended(self) -> float:
        """When it was over, in the clock of the loop."""
        return self.began + self.took


class Connection:
    """One connection of a client, kept open between its calls.

    Args:
        base_url: where the gateway is.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._address = (parts.hostname, parts.port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, kind: Kind, key: str, *, cap: int = 100) -> Call:
        """Make one call; a connection that fails is noted in it."""
        return await self.exchange(kind, kind.request(key, cap))

    async def exchange(self, kind: Kind, request: bytes) -> Call:
        """Send a request that is written already, and read its answer."""
        loop = asyncio.get_running_loop()
        call = Call(kind, loop.time())
        try:
            await self.send(request)
            await self._read(call)
        except (OSError, asyncio.IncompleteReadError) as error:
            call.error = type(error).__name__
            await self.close()
        finally:
            call.took = loop.time() - call.began
        return call

    async def close(self) -> None:
        """Close it; the next call opens another."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def closed(self) -> float:
        """Wait until the other side ends it; return when, in the clock of the loop."""
        assert self._streams is not None
        with suppress(OSError):
            await self._streams[0].read()
        return asyncio.get_running_loop().time()

    async def send(self, request: bytes) -> None:
        """Send a request, or a part of one; nothing is read."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 20)
        self._streams[1].write(request)

    async def _read(self, call: Call) -> None:
        assert self._streams is not None
        reader = self._streams[0]
        call.head = await reader.readuntil(b"\r\n\r\n")
        call.status = int(call.head[9:12])
        found = _ID.search(call.head)
        call.id = found[1].decode() if found else None
        length = _LENGTH.search(call.head)
        if length is not None:
            call.body = await reader.readexactly(int(length[1]))
            call.whole = True
        else:
            await self._stream(call, reader)
        if b"\r\nconnection: close" in call.head:
            await self.close()

    async def _stream(self, call: Call, reader: asyncio.StreamReader) -> None:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            call.body += (await reader.readexactly(size + 2))[:-2]
            # From here on the client has it, whatever becomes of the connection.
            call.whole = call.whole or call.kind.ended(call.body)
        await reader.readexactly(2)


@dataclass(slots=True)
class Load:
    """Clients that call in turn, all together at most at a rate.

    Args:
        key: of the account that calls.
        kinds: what is called, in turn.
        rate: calls a second; the clients share it.
        clients: connections.

    Attributes:
        calls: what was made so far, in the order of their ends.
        open: those that have not ended.
    """

    base_url: str
    key: str
    kinds: list[Kind]
    rate: float = 200.0
    clients: int = 32
    calls: list[Call] = field(default_factory=list)
    open: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _next: float = 0.0
    _stopped: bool = False

    def start(self) -> None:
        """Begin to call."""
        turns = cycle(self.kinds)
        self._next = asyncio.get_running_loop().time()
        self._tasks = [
            asyncio.create_task(self._client(Connection(self.base_url), turns))
            for _ in range(self.clients)
        ]

    async def run(self, seconds: float) -> None:
        """Call for a while; running calls end by themselves."""
        self.start()
        await asyncio.sleep(seconds)
        await self.finish()

    async def finish(self) -> None:
        """Begin no more calls, and wait for those that run."""
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _client(self, connection: Connection, turns: cycle[Kind]) -> None:  # type: ignore[type-arg]
        loop = asyncio.get_running_loop()
        try:
            while True:
                # What was not done in time is made up for, at most of the last 0.1 s.
                self._next = max(self._next, loop.time() - 0.1) + 1 / self.rate
                await asyncio.sleep(self._next - loop.time())
                if self._stopped:
                    return
                self.open += 1
                call = await connection.call(next(turns), self.key)
                self.open -= 1
                self.calls.append(call)
        finally:
            await connection.close()

    @property
    def whole(self) -> list[Call]:
        """The answers that came whole."""
        return [each for each in self.calls if each.ok]

    @property
    def failed(self) -> list[Call]:
        """What was answered otherwise than with a whole 200; broken connections are not it."""
        return [each for each in self.calls if not each.ok and not each.error]
