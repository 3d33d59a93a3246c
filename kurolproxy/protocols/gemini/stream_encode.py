"""Neutral events -> Gemini streams, as server-sent events or as one JSON array.

A text is written as it comes, a call when it is whole. A proof waits for the part behind
it. The last frame says why the answer ended, its usage and its sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from kurolproxy.errors import GatewayError
from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Citation,
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
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.gemini.answer import (
    Carrier,
    Envelope,
    arguments,
    call_part,
    shows_reasoning,
    wrapped,
)
from kurolproxy.protocols.gemini.error import encode_error
from kurolproxy.protocols.gemini.grounding import SourceWriter
from kurolproxy.tokens import Usage

PING = b"data: {}\n\n"
"""A response that says nothing: the vendor's Python SDK breaks on comments."""

ARRAY_PING = b"\n"
"""White space may stand before the array and between its elements."""


class GeminiEncoder:
    """Write one answer as server-sent events."""

    _OPEN: ClassVar[bytes] = b"data: "
    _SHUT: ClassVar[bytes] = b"\n\n"
    _END: ClassVar[bytes] = b""

    def __init__(self, answer: AnswerContext) -> None:
        self._answer = answer
        self._shows = shows_reasoning(answer)
        self._envelope = Envelope(answer)
        head, foot = self._envelope.around()
        self._head, self._foot = self._OPEN + head, foot + self._SHUT
        self._kind: BlockKind | None = None
        self._tool: ToolHead | None = None
        # What stands around a text of the open block; None: it needs a closer look.
        self._piece: tuple[bytes, bytes] | None = None
        self._texts: list[str] = []
        self._citations: list[Citation] = []
        self._carrier = Carrier()
        # A call that ended with arguments that are no object: cut, if the answer is.
        self._odd: tuple[ToolHead, str] | None = None
        self._sources = SourceWriter()
        self._usage: Usage | None = None

    def encode(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames for ``events``."""
        out: list[bytes] = []
        for event in events:
            # The hot path: more text of a block that needs nothing else.
            if type(event) is Delta and self._piece is not None:
                text = event.text
                self._texts.append(text)
                out.append(self._piece[0] + wire.quote(text) + self._piece[1])
            else:
                out.append(_WRITERS[type(event)](self, event))
        return b"".join(out)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the frame of an error; nothing comes behind it."""
        return self._OPEN + encode_error(error, request_id) + self._SHUT

    def _part(self, part: bytes) -> bytes:
        return self._head + part + self._foot if part else b""

    # --- blocks ---------------------------------------------------------------------------

    def _block_start(self, event: BlockStart) -> bytes:
        self._kind, self._tool = event.kind, event.tool
        before = self._odd_call()
        if event.kind == "reasoning":
            # What comes back before a proof is taken for the thoughts that it proves.
            before += self._part(self._carrier.flush())
            shown = (self._head + b'{"text":', b',"thought":true}' + self._foot)
            self._piece = shown if self._shows else None
        elif event.tool is None and not self._carrier.loaded:
            self._piece = self._plain()
        return before

    def _plain(self) -> tuple[bytes, bytes]:
        return self._head + b'{"text":', b"}" + self._foot

    def _delta(self, event: Delta) -> bytes:
        self._texts.append(event.text)
        if self._tool is not None or self._kind == "reasoning":
            return b""
        self._piece = self._plain()
        return self._part(b'{"text":%b%b}' % (wire.quote(event.text), self._carrier.take()))

    def _sealed(self, event: Sealed) -> bytes:
        thought = "".join(self._texts) if self._kind == "reasoning" else ""
        return self._part(self._carrier.hold(event.seal, thought))

    def _cited(self, event: Cited) -> bytes:
        self._citations.append(event.citation)
        return b""

    def _block_end(self, _event: BlockEnd) -> bytes:
        text, tool = "".join(self._texts), self._tool
        if tool is None and self._kind != "reasoning":
            self._sources.block(text, self._citations)
        self._kind = self._tool = self._piece = None
        self._texts.clear()
        self._citations.clear()
        return b"" if tool is None else self._call(tool, text)

    def _call(self, tool: ToolHead, text: str) -> bytes:
        args = arguments(text, tool)
        if args is None:
            self._odd = (tool, text)
            return b""
        return self._call_part(tool, args)

    def _call_part(self, tool: ToolHead, args: bytes) -> bytes:
        call_id = tool.id or self._answer.new_id("call_")
        return self._part(call_part(tool, call_id, args, self._carrier.take()))

    def _odd_call(self) -> bytes:
        """Write the call that waited for what comes behind it."""
        odd, self._odd = self._odd, None
        return b"" if odd is None else self._call_part(odd[0], wrapped(odd[1], odd[0]))

    # --- the end --------------------------------------------------------------------------

    def _usage_seen(self, event: UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _finish(self, event: Finish) -> bytes:
        odd = b"" if event.reason == "length" else self._odd_call()
        part = b'{"text":""%b}' % self._carrier.take()
        last = self._envelope.last(part, event, self._usage, self._sources)
        return odd + self._OPEN + last + self._SHUT + self._END


# Of the class, not of each object: it would hold itself, and its texts, until collected.
_WRITERS: Mapping[type, Callable[[GeminiEncoder, Any], bytes]] = {
    Start: lambda _self, _event: b"",
    BlockStart: GeminiEncoder._block_start,
    Delta: GeminiEncoder._delta,
    Sealed: GeminiEncoder._sealed,
    Cited: GeminiEncoder._cited,
    BlockEnd: GeminiEncoder._block_end,
    UsageSeen: GeminiEncoder._usage_seen,
    Finish: GeminiEncoder._finish,
    # The caller says it by ``error``, in words that are fit to be seen.
    Failure: lambda _self, _event: b"",
}


class GeminiArrayEncoder(GeminiEncoder):
    """Write one answer as a JSON array, for a client that did not ask for ``alt=sse``."""

    _OPEN = b","
    _SHUT = b""
    _END = b"]"

    def __init__(self, answer: AnswerContext) -> None:
        super().__init__(answer)
        self._begun = False

    def encode(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the elements for ``events``, each with what stands before it."""
        return self._opened(super().encode(events))

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the last element, an error, and the end of the array."""
        return array_error(error, request_id, begun=self._begun)

    def _opened(self, out: bytes) -> bytes:
        if self._begun or not out:
            return out
        self._begun = True
        return b"[" + out[1:]


def array_error(error: GatewayError, request_id: str, *, begun: bool) -> bytes:
    """Return an error as the last element of an array, and its end.

    Args:
        begun: elements went out before.
    """
    return b"%b%b]" % (b"," if begun else b"[", encode_error(error, request_id))
