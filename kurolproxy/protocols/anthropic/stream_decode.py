"""Anthropic Messages streams, upstream bytes -> neutral events.

States of one answer: before ``message_start``; between blocks; inside a block; done.
``content_block_start`` opens a block, its deltas fill it, ``content_block_stop`` ends it.
Upstreams were seen to leave out the stop, to open a second block inside the first, and to
begin a second message inside the first: blocks are put in a row, the missing stop is added
at the end, the second message breaks the answer off.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Failure,
    Finish,
    FinishReason,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.anthropic.usage import Figures
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.sse import FrameSplitter, FrameTooLarge, read_frame

# The usual frame of the hot path: everything behind it is one JSON document.
_DELTA_FRAME = b"event: content_block_delta\ndata: "

_KINDS: Mapping[str, BlockKind] = {
    "text": "text",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "tool_use": "tool",
}
# Kind of block -> the delta that brings more of it, and where the text stands there.
_DELTAS: Mapping[BlockKind, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "tool": ("input_json_delta", "partial_json"),
}
_TEXTS: Mapping[str, tuple[str, BlockKind]] = {
    name: (key, kind) for kind, (name, key) in _DELTAS.items()
}
_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "pause_turn": "stop",
    # Of a tool that the vendor ran itself; a client's own call makes it tool_calls.
    "tool_use": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_FAILURES: Mapping[str, str] = {
    "overloaded_error": "overloaded",
    "rate_limit_error": "rate_limited",
    "invalid_request_error": "bad_request",
    "request_too_large": "bad_request",
}


@dataclass(slots=True, eq=False)
class _Block:
    """A block of the upstream's.

    Attributes:
        theirs: the upstream's number of it.
        index: our number of it, from the moment it is open.
        held: text that came with its start, or while another block was open.
        whole: the arguments that the start said, used when no delta comes.
        size: characters of text so far.
    """

    kind: BlockKind
    tool: ToolHead | None = None
    theirs: int | None = None
    index: int = -1
    held: list[str] = field(default_factory=list)
    whole: str = ""
    size: int = 0
    proof: str = ""
    redacted: bool = False
    citations: list[Citation] = field(default_factory=list)
    ended: bool = False


class Assembly:
    """Put the events of one answer in the order that ``ir`` guarantees.

    Args:
        family: the reasoning family of the target, stamped into seals.
    """

    def __init__(self, family: str) -> None:
        self.done = False
        self._family = family
        self._out: list[StreamEvent] = []
        self._begun = False
        self._message: str | None = None
        self._figures = Figures()
        # Upstream's index -> its block; None: one that the vendor's own tools made.
        self._blocks: dict[int | None, _Block | None] = {}
        self._open: _Block | None = None
        self._waiting: deque[_Block] = deque()
        self._next = 0
        self._called = False
        self._stop_reason: str | None = None
        self._stop_sequence: str | None = None
        self._detail: str | None = None

    def knows(self, name: str) -> bool:
        """Return whether events of this name matter; "" and "message" are no names."""
        return name in ("", "message") or name in _READERS

    def take(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        out, self._out = self._out, []
        return out

    def event(self, name: str, event: dict[str, Any]) -> None:
        """Take one event of the upstream's; unknown ones and pings say nothing."""
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = name or ("error" if "error" in event else "")
        reader = _READERS.get(kind)
        if reader is not None and not self.done:
            reader(self, event)

    def more(self, event: dict[str, Any]) -> bool:
        """Take more text of the open block, the event that nearly all events are.

        Returns:
            False when it is anything else: ``event`` takes it.
        """
        block, delta = self._open, event.get("delta")
        if block is None or type(delta) is not dict or self.done:
            return False
        name, key = _DELTAS[block.kind]
        text = delta.get(key)
        if not text or type(text) is not str or delta.get("type") != name:
            return False
        if event.get("index") != block.theirs:
            return False
        block.size += len(text)
        self._out.append(Delta(block.index, text))
        return True

    def fail(self, message: str, kind: str = "upstream_error") -> None:
        """Break the answer off."""
        if self.done:
            return
        self._begin()
        self._out.append(Failure(message, kind))
        self.done = True

    # --- the message --------------------------------------------------------------------

    def _begin(self, id_: str = "", model: str = "") -> None:
        """Announce the answer, also one whose upstream did not."""
        if not self._begun:
            self._begun = True
            self._out.append(Start(id_, model))

    def _start(self, event: dict[str, Any]) -> None:
        message = _object(event, "message")
        id_ = _text(message, "id")
        if self._message is not None:
            # A relay in between began anew after it lost its upstream. What came before
            # cannot be taken back, and thoughts of two answers in one turn are refused by
            # the vendor for ever after. The same message announced twice is harmless.
            if id_ != self._message:
                self.fail("a second message began inside the first")
            return
        self._message = id_
        self._begin(id_, _text(message, "model"))
        self._count(message.get("usage"), self._figures.begin)

    def _end_seen(self, event: dict[str, Any]) -> None:
        self._begin()
        delta = _object(event, "delta")
        self._stop_reason = _text(delta, "stop_reason") or self._stop_reason
        self._stop_sequence = _text(delta, "stop_sequence") or self._stop_sequence
        self._detail = _text(_object(delta, "stop_details"), "explanation") or self._detail
        self._count(event.get("usage"), self._figures.update)

    def _count(self, usage: object, take: Callable[[object], None]) -> None:
        take(usage)
        seen = self._figures.usage
        if isinstance(usage, dict) and seen is not None:
            self._out.append(UsageSeen(seen))

    def _stop(self, _event: dict[str, Any]) -> None:
        self._begin()
        while self._open is not None:
            self._open.ended = True
            self._close()
        reason = _FINISH.get(self._stop_reason or "", "other")
        if self._called and reason not in ("length", "content_filter"):
            reason = "tool_calls"
        stop_sequence = self._stop_sequence if reason == "stop_sequence" else None
        self._out.append(Finish(reason, stop_sequence, self._detail))
        self.done = True

    def _error(self, event: dict[str, Any]) -> None:
        error = event.get("error")
        if isinstance(error, dict):
            kind = _FAILURES.get(_text(error, "type"), "upstream_error")
            self.fail(_text(error, "message"), kind)
        else:
            self.fail(error if isinstance(error, str) else _text(event, "message"))

    # --- blocks -------------------------------------------------------------------------

    def _start_block(self, event: dict[str, Any]) -> None:
        self._begin()
        index = _index(event)
        before = self._blocks.get(index)
        if before is not None:
            self._end(before)
        content = _object(event, "content_block")
        kind = _KINDS.get(_text(content, "type"))
        if kind is None:
            # What the vendor's own tools did; the words around it stand in text blocks.
            self._blocks[index] = None
        elif kind == "tool" and not _text(content, "name"):
            # No client could tell which of its tools is meant.
            self.fail("a tool call came without a name")
        else:
            self._add(index, _block(kind, content))

    def _add(self, index: int | None, block: _Block) -> None:
        self._blocks[index] = block
        block.theirs = index
        self._waiting.append(block)
        if self._open is None:
            self._open_next()

    def _open_next(self) -> None:
        block = self._waiting.popleft()
        block.index = self._next
        self._next += 1
        self._open = block
        self._called = self._called or block.kind == "tool"
        self._out.append(BlockStart(block.index, block.kind, block.tool))
        self._out.extend(Delta(block.index, text) for text in block.held)
        block.held.clear()

    def _delta(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return
        index = _index(event)
        place = _TEXTS.get(_text(delta, "type"))
        if place is None:
            self._proof_or_citation(self._blocks.get(index), delta)
            return
        text, kind = delta.get(place[0]), place[1]
        if not text or not isinstance(text, str):
            return
        block = self._block_for(index, kind)
        if block is None:
            return
        block.size += len(text)
        if block is self._open:
            self._out.append(Delta(block.index, text))
        else:
            block.held.append(text)

    def _block_for(self, index: int | None, kind: BlockKind) -> _Block | None:
        block = self._blocks.get(index)
        if block is not None and block.kind == kind and not block.ended:
            return block
        if block is None and index in self._blocks:
            return None
        if kind == "tool" or (block is not None and not block.ended):
            self.fail("a piece of a block came outside of its block")
            return None
        # Words are never dropped: they get the block that was not announced.
        self._begin()
        block = _Block(kind)
        self._add(index, block)
        return block

    def _proof_or_citation(self, block: _Block | None, delta: dict[str, Any]) -> None:
        if block is None or block.ended:
            return
        if delta.get("type") == "signature_delta":
            block.proof += _text(delta, "signature")
        elif delta.get("type") == "citations_delta":
            block.citations += _citations([delta.get("citation")])

    def _stop_block(self, event: dict[str, Any]) -> None:
        block = self._blocks.get(_index(event))
        if block is not None:
            self._end(block)

    def _end(self, block: _Block) -> None:
        block.ended = True
        while self._open is not None and self._open.ended:
            self._close()

    def _close(self) -> None:
        """End the open block and open the one that waits."""
        block, self._open = self._open, None
        if block is None:
            return
        if block.whole and not block.size:
            block.size = len(block.whole)
            self._out.append(Delta(block.index, block.whole))
        if block.proof:
            seal = Seal("a", self._family, block.proof, redacted=block.redacted)
            self._out.append(Sealed(block.index, seal))
        for each in block.citations:
            # The vendor cites for a whole block.
            cited = Citation(each.url, each.title, 0, block.size)
            self._out.append(Cited(block.index, cited))
        self._out.append(BlockEnd(block.index))
        if self._waiting:
            self._open_next()


# Of the class, not of each object: it would hold itself, and its texts, until collected.
_READERS: Mapping[str, Callable[[Assembly, dict[str, Any]], None]] = {
    "content_block_delta": Assembly._delta,
    "content_block_start": Assembly._start_block,
    "content_block_stop": Assembly._stop_block,
    "message_start": Assembly._start,
    "message_delta": Assembly._end_seen,
    "message_stop": Assembly._stop,
    "error": Assembly._error,
}


class MessagesDecoder:
    """Read one streamed answer; no bytes make it raise."""

    def __init__(self, answer: AnswerContext) -> None:
        self._splitter = FrameSplitter(answer.max_event_bytes)
        self._assembly = Assembly(answer.family)

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Return the events that ``data`` completes; after the last event, none."""
        if self._assembly.done:
            return []
        try:
            frames = self._splitter.split(data)
        except FrameTooLarge as error:
            self._assembly.fail(str(error))
            frames = []
        for frame in frames:
            self._frame(frame)
        return self._assembly.take()

    def close(self) -> list[StreamEvent]:
        """Return what is left: a ``Failure`` unless ``message_stop`` was seen.

        A reason to stop is not enough: only ``message_stop`` says that nothing was lost.
        """
        if self._assembly.done:
            return []
        # The last frame of a whole stream may lack its empty line; a torn one is no JSON.
        name, data = read_frame(self._splitter.rest())
        event = _loaded(data, wire.load_exact)
        if event is not None:
            self._assembly.event(name, event)
        self._assembly.fail("the stream ended before its message did")
        return self._assembly.take()

    def _frame(self, frame: bytes) -> None:
        if frame.startswith(_DELTA_FRAME):
            # Numbers of a delta are its index only: arguments come as text.
            event = _loaded(frame[len(_DELTA_FRAME) :], wire.load_upstream)
            if event is not None:
                if not self._assembly.more(event):
                    self._assembly.event("content_block_delta", event)
                return
        name, data = read_frame(frame)
        if not data or data == b"[DONE]" or not self._assembly.knows(name):
            return
        event = _loaded(data, wire.load_exact)
        if event is None:
            self._assembly.fail("an event of the stream is no JSON object")
        else:
            self._assembly.event(name, event)


def _loaded(data: bytes, load: Callable[[bytes], Any]) -> dict[str, Any] | None:
    try:
        value = load(data)
    except wire.WireError:
        return None
    return value if isinstance(value, dict) else None


def _block(kind: BlockKind, content: dict[str, Any]) -> _Block:
    """Read a block's start; some upstreams say everything in it."""
    if kind == "tool":
        given = content.get("input")
        head = ToolHead(_text(content, "id"), _text(content, "name"))
        return _Block(kind, head, whole=wire.compact(given) if given else "")
    if kind == "text":
        citations = content.get("citations")
        found = _citations(citations if isinstance(citations, list) else [])
        return _Block(kind, **_begun(_text(content, "text")), citations=found)
    data = _text(content, "data")
    begun = _begun(_text(content, "thinking"))
    return _Block(kind, **begun, proof=data or _text(content, "signature"), redacted=bool(data))


def _begun(text: str) -> dict[str, Any]:
    return {"held": [text], "size": len(text)} if text else {}


def _citations(citations: list[Any]) -> list[Citation]:
    """Return the citations of web pages; those of the client's own documents have no URL."""
    return [
        Citation(each["url"], _text(each, "title") or None)
        for each in citations
        if isinstance(each, dict) and isinstance(each.get("url"), str)
    ]


def _object(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _index(event: dict[str, Any]) -> int | None:
    index = event.get("index")
    return index if isinstance(index, int) else None
