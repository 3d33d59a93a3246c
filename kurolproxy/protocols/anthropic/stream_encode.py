"""Neutral events -> Anthropic Messages streams, as the client reads them.

States: before ``Start``; between blocks; a block announced but not written (nothing has
come of it yet); a block written. A block of which nothing comes is never written, so that
indexes have no gap and no client gets an empty text block, which the vendor would refuse
when it came back. A proof without a thought, behind something that was said, waits for the
block after it and goes with the answer's end: Claude Code prints what the last block says
(Gemini proves its text there, tests/clients).

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.anthropic.answer import (
    citation,
    dump,
    seal_token,
    shows_reasoning,
    stop_fields,
    tool_id,
    tool_name,
)
from kurolproxy.protocols.anthropic.blocks_encode import tool_input
from kurolproxy.protocols.anthropic.error import encode_error
from kurolproxy.protocols.anthropic.usage import encode_usage
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.tokens import Usage

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""Keeps a stream alive that has begun."""

PING_EARLY = b": ping\n\n"
"""Before ``message_start`` an event would be out of place, a comment is not."""

_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_TEXT_START = b'{"type":"text","text":""}'
_THINKING_START = b'{"type":"thinking","thinking":"","signature":""}'

# Kind of block -> what its deltas say before their text.
_DELTAS: Mapping[BlockKind, bytes] = {
    "text": b'"text_delta","text":',
    "refusal": b'"text_delta","text":',
    "reasoning": b'"thinking_delta","thinking":',
    "tool": b'"input_json_delta","partial_json":',
}


class MessagesEncoder:
    """Write one streamed answer."""

    def __init__(self, answer: AnswerContext) -> None:
        self._answer = answer
        self._shows = shows_reasoning(answer)
        self._index = 0
        self._kind: BlockKind | None = None
        self._written = False
        # What stands before the text of a delta; None while none may be written.
        self._head: bytes | None = None
        self._hidden: list[str] = []
        # A block that only proves something, until another one follows it.
        self._late = b""
        # The bare input of a custom tool: it goes out wrapped, in one piece.
        self._bare: list[str] | None = None
        self._usage: Usage | None = None

    def encode(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames for ``events``."""
        out: list[bytes] = []
        for event in events:
            # The hot path: more text of a block that is written.
            if type(event) is Delta and self._head is not None:
                out.append(self._head + wire.quote(event.text) + b"}}\n\n")
            else:
                out.append(_WRITERS[type(event)](self, event))
        return b"".join(out)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the event of an error; nothing that looks like an end follows it."""
        return b"event: error\ndata: " + encode_error(error, request_id) + b"\n\n"

    # --- the message --------------------------------------------------------------------

    def _start(self, _event: Start) -> bytes:
        message: dict[str, Any] = {
            "id": self._answer.new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": self._answer.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # The true figures are known at the end; clients put them in the place of these.
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _frame("message_start", {"message": message})

    def _usage_seen(self, event: UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _finish(self, event: Finish) -> bytes:
        self._late = b""
        fields = {"delta": stop_fields(event), "usage": encode_usage(self._usage)}
        return _frame("message_delta", fields) + _MESSAGE_STOP

    # --- blocks -------------------------------------------------------------------------

    def _block_start(self, event: BlockStart) -> bytes:
        self._kind = event.kind
        self._written = False
        self._head = None
        self._hidden = []
        if event.tool is None:
            return b""
        self._bare = [] if event.tool.kind == "custom" else None
        return self._write_start(_tool_start(event.tool, self._answer))

    def _write_start(self, content: bytes) -> bytes:
        self._written = True
        late, self._late = self._late, b""
        if self._kind is not None and not self._hides and self._bare is None:
            self._head = self._delta_head(_DELTAS[self._kind])
        return late + (
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,'
            b'"content_block":%b}\n\n' % (self._index, content)
        )

    def _opened(self) -> bytes:
        """Return the start of a block that was only announced, and note that it is out."""
        if self._written:
            return b""
        return self._write_start(_THINKING_START if self._kind == "reasoning" else _TEXT_START)

    @property
    def _hides(self) -> bool:
        return self._kind == "reasoning" and not self._shows

    def _delta_head(self, kind: bytes) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":%b' % (self._index, kind)
        )

    def _delta(self, event: Delta) -> bytes:
        if self._hides:
            self._hidden.append(event.text)
            return b""
        if self._bare is not None:
            self._bare.append(event.text)
            return b""
        start = self._opened()
        return start + (self._head or b"") + wire.quote(event.text) + b"}}\n\n"

    def _sealed(self, event: Sealed) -> bytes:
        # This protocol carries proofs of thoughts, and of nothing else.
        if self._kind != "reasoning":
            return b""
        token = seal_token(event.seal, "".join(self._hidden))
        waits = not self._written and self._index > 0
        start = self._opened()
        head = self._delta_head(b'"signature_delta","signature":')
        frames = start + head + wire.quote(token) + b"}}\n\n"
        if not waits:
            return frames
        self._late = frames
        return b""

    def _cited(self, event: Cited) -> bytes:
        start = self._opened()
        head = self._delta_head(b'"citations_delta","citation":')
        return start + head + dump(citation(event.citation)) + b"}}\n\n"

    def _block_end(self, _event: BlockEnd) -> bytes:
        written, index = self._written, self._index
        self._kind = None
        self._written = False
        self._head = None
        if not written:
            return b""
        rest = self._bare_input()
        self._index += 1
        stop = (
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index
        )
        if self._late:
            self._late += stop
            return b""
        return rest + stop

    def _bare_input(self) -> bytes:
        if self._bare is None:
            return b""
        given = dump(tool_input("".join(self._bare), custom=True)).decode()
        self._bare = None
        return self._delta_head(_DELTAS["tool"]) + wire.quote(given) + b"}}\n\n"


# Of the class, not of each object: it would hold itself, and its texts, until collected.
_WRITERS: Mapping[type, Callable[[MessagesEncoder, Any], bytes]] = {
    Start: MessagesEncoder._start,
    BlockStart: MessagesEncoder._block_start,
    Delta: MessagesEncoder._delta,
    Sealed: MessagesEncoder._sealed,
    Cited: MessagesEncoder._cited,
    BlockEnd: MessagesEncoder._block_end,
    UsageSeen: MessagesEncoder._usage_seen,
    Finish: MessagesEncoder._finish,
    # The caller says it by ``error``, in words that are fit to be seen.
    Failure: lambda _self, _event: b"",
}


def _frame(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dump({"type": name, **fields}))


def _tool_start(head: ToolHead, answer: AnswerContext) -> bytes:
    return b'{"type":"tool_use","id":%b,"name":%b,"input":{}}' % (
        wire.quote(tool_id(head, answer)),
        wire.quote(tool_name(head)),
    )
