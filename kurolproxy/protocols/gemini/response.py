"""Whole Gemini answers, both ways."""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import Block, Response, StreamEvent, ToolHead
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
from kurolproxy.protocols.gemini.assembly import Assembly
from kurolproxy.protocols.gemini.error import read_error
from kurolproxy.protocols.gemini.grounding import SourceWriter


def decode_response(value: Any, answer: AnswerContext) -> list[StreamEvent]:
    """Read a whole answer as the events it would have been; it never raises.

    Args:
        value: the document: one response, or the array of partial ones that a streaming
            call without ``alt=sse`` gives. Anything else is a failure.
    """
    streamed = isinstance(value, list) and bool(value) and read_error(value) is None
    assembly = Assembly(answer, whole=not streamed)
    if streamed:
        for each in value:
            assembly.partial(each)
        assembly.close()
    else:
        assembly.whole(value)
    return assembly.take()


def encode_response(response: Response, answer: AnswerContext) -> bytes:
    """Write a whole answer."""
    envelope = Envelope(answer)
    parts = _Parts(response, answer)
    for block in response.blocks:
        parts.add(block)
    # Clients look at the first part without asking whether there is one.
    written = parts.rest() or b'{"text":""}'
    return envelope.last(written, response.finish, response.usage, parts.sources)


class _Parts:
    """The parts of a whole answer.

    Attributes:
        sources: of its texts.
    """

    def __init__(self, response: Response, answer: AnswerContext) -> None:
        self.sources = SourceWriter()
        self._answer = answer
        self._shows = shows_reasoning(answer)
        self._cut = response.finish.reason == "length"
        self._last = response.blocks[-1] if response.blocks else None
        self._carrier = Carrier()
        self._parts: list[bytes] = []

    def add(self, block: Block) -> None:
        """Write one block; one that says nothing is left out."""
        if block.tool is not None:
            self._call(block, block.tool)
        elif block.kind == "reasoning":
            self._thought(block)
        elif block.text:
            self.sources.block(block.text, list(block.citations), len(self._parts))
            self._parts.append(b'{"text":%b%b}' % (wire.quote(block.text), self._carrier.take()))

    def rest(self) -> bytes:
        """Return all parts, the one of a proof that found none included."""
        last = self._carrier.flush()
        return b",".join([*self._parts, last] if last else self._parts)

    def _thought(self, block: Block) -> None:
        # What comes back before a proof is taken for the thoughts that it proves.
        before = self._carrier.flush()
        self._parts += [before] if before else []
        if block.text and self._shows:
            self._parts.append(b'{"text":%b,"thought":true}' % wire.quote(block.text))
        if block.seal is not None:
            self._carrier.hold(block.seal, block.text)

    def _call(self, block: Block, tool: ToolHead) -> None:
        args = arguments(block.text, tool)
        if args is None:
            if self._cut and block is self._last:
                return
            args = wrapped(block.text, tool)
        call_id = tool.id or self._answer.new_id("call_")
        self._parts.append(call_part(tool, call_id, args, self._carrier.take()))
