"""The streamed answer, encoded: neutral events in, chunks for a client out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Finish,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_chat.vocabulary import (
    FINISH_WORDS,
    SealCarrier,
    write_citation,
    write_usage,
)
from kurolproxy.protocols.openai_errors import encode_error
from kurolproxy.tokens import Usage

DONE = b"data: [DONE]\n\n"


class ChatEncoder:
    """Neutral events in, frames of a Chat stream out.

    One chunk with the role; chunks of reasoning, text, refusal and calls; one chunk with
    the finish reason; the usage chunk when the client asked for it; ``[DONE]``.
    """

    __slots__ = (
        "_answer",
        "_base",
        "_carrier",
        "_chars",
        "_cited",
        "_foot",
        "_head",
        "_kind",
        "_legacy",
        "_notes",
        "_piece",
        "_refused",
        "_said",
        "_tool",
        "_tools",
        "_top",
        "_usage",
    )

    def __init__(self, answer: AnswerContext) -> None:
        self._answer = answer
        self._legacy = answer.request.legacy_functions
        self._top = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (wire.quote(answer.new_id("chatcmpl-")), answer.created, wire.quote(answer.model))
        )
        # Around a delta, and around the text of a delta of the open block; no piece: the
        # block's text is not written as it comes.
        self._head = self._top + b'{"index":0,"delta":'
        self._foot = b',"finish_reason":null}]}\n\n'
        self._piece: tuple[bytes, bytes] | None = None
        self._kind: BlockKind = "text"
        self._tool: ToolHead | None = None
        self._tools = 0
        # Characters of the open block, and of the text blocks before it: citations point
        # into the whole message here, into their block in the neutral form.
        self._chars = 0
        self._base = 0
        self._cited: list[Citation] = []
        self._notes: list[dict[str, Any]] = []
        # Texts of the open block, kept only where its end needs them.
        self._said: list[str] | None = None
        self._carrier = SealCarrier()
        self._refused = False
        self._usage: Usage | None = None

    def encode(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames for ``events``; a ``Failure`` has none, ``error`` writes it."""
        out: list[bytes] = []
        for event in events:
            if type(event) is Delta:
                out.append(self._delta(event.text))
                continue
            match event:
                case BlockStart():
                    out.append(self._block_start(event))
                case BlockEnd():
                    out.append(self._block_end())
                case Start():
                    out.append(self._chunk(b'{"role":"assistant","content":""}'))
                case Sealed():
                    self._carrier.hold(event.seal, "".join(self._said or ()))
                case Cited():
                    self._cited.append(event.citation)
                case UsageSeen():
                    self._usage = event.usage
                case Finish():
                    out.append(self._finish(event))
        return b"".join(out)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the in-band form of an error; nothing, no ``[DONE]`` either, comes behind it."""
        return b"data: %b\n\n" % encode_error(error, request_id)

    def _chunk(self, delta: bytes) -> bytes:
        return self._head + delta + self._foot

    def _delta(self, text: str) -> bytes:
        self._chars += len(text)
        if self._said is not None:
            self._said.append(text)
        piece = self._piece
        return piece[0] + wire.quote(text) + piece[1] if piece is not None else b""

    def _block_start(self, event: BlockStart) -> bytes:
        self._kind, self._tool = event.kind, event.tool
        self._chars = 0
        self._said = None
        if event.tool is not None:
            return self._tool_start(event.tool)
        field = _FIELDS[event.kind]
        self._piece = (self._head + b'{"%b":' % field, b"}" + self._foot)
        if event.kind == "reasoning":
            self._said = []
        elif event.kind == "text":
            self._carrier.text_began()
        else:
            self._refused = True
        return b""

    def _tool_start(self, tool: ToolHead) -> bytes:
        self._piece = None
        if self._legacy:
            # The deprecated form has room for one call.
            return b"" if self._tools else self._legacy_start(tool)
        if tool.kind == "custom":
            # One delta at the end: no client knows fragments of free text.
            self._said = []
            return b""
        self._piece = (
            self._head + b'{"tool_calls":[{"index":%d,"function":{"arguments":' % self._tools,
            b"}}]}" + self._foot,
        )
        function = b'"function":{"name":%b,"arguments":""}' % wire.quote(_name(tool))
        return self._call(tool, b'"type":"function",' + function)

    def _legacy_start(self, tool: ToolHead) -> bytes:
        self._piece = (self._head + b'{"function_call":{"arguments":', b"}}" + self._foot)
        name = wire.quote(_name(tool))
        return self._chunk(b'{"function_call":{"name":%b,"arguments":""}}' % name)

    def _call(self, tool: ToolHead, body: bytes) -> bytes:
        """Write the first delta of a call, with the seal that waits for one."""
        call_id = wire.quote(tool.id or self._answer.new_id("call_"))
        seal = self._carrier.take()
        extra = b""
        if seal:
            extra = b',"extra_content":{"google":{"thought_signature":%b}}' % wire.quote(seal)
        return self._chunk(
            b'{"tool_calls":[{"index":%d,"id":%b,%b%b}]}' % (self._tools, call_id, body, extra)
        )

    def _block_end(self) -> bytes:
        out = b""
        if self._kind == "text":
            notes = (write_citation(each, self._base, self._chars) for each in self._cited)
            self._notes += notes
            self._cited.clear()
            self._base += self._chars
        elif self._tool is not None:
            out = self._tool_end(self._tool)
            self._tools += 1
        return out

    def _tool_end(self, tool: ToolHead) -> bytes:
        if self._piece is not None:
            # A call without arguments: clients parse the text, so it has to be JSON.
            return b"" if self._chars else self._piece[0] + b'"{}"' + self._piece[1]
        if self._said is None:
            return b""
        custom = b'"type":"custom","custom":{"name":%b,"input":%b}' % (
            wire.quote(_name(tool)),
            wire.quote("".join(self._said)),
        )
        return self._call(tool, custom)

    def _finish(self, event: Finish) -> bytes:
        out: list[bytes] = []
        if event.detail and not self._refused:
            out.append(self._chunk(b'{"refusal":%b}' % wire.quote(event.detail)))
        if self._notes:
            out.append(self._chunk(b'{"annotations":%b}' % wire.dumps(self._notes)))
        word = FINISH_WORDS[event.reason]
        if self._legacy and word == "tool_calls":
            word = "function_call"
        out.append(self._head + b'{},"finish_reason":%b}]}\n\n' % wire.quote(word))
        if self._answer.request.include_usage and self._usage is not None:
            usage = wire.dumps(write_usage(self._usage))
            out.append(self._top + b'],"usage":%b}\n\n' % usage)
        out.append(DONE)
        return b"".join(out)


_FIELDS: dict[BlockKind, bytes] = {
    "text": b"content",
    "reasoning": b"reasoning_content",
    "refusal": b"refusal",
}


def _name(tool: ToolHead) -> str:
    return f"{tool.ns}__{tool.name}" if tool.ns else tool.name
