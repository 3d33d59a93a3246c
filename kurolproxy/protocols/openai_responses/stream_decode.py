"""Responses streams, upstream bytes -> neutral events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kurolproxy.ir import Failure, StreamEvent
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.fault_words import plain_words
from kurolproxy.protocols.openai_responses.assembly import Assembly
from kurolproxy.protocols.openai_responses.quick import Lesson
from kurolproxy.sse import FrameSplitter, FrameTooLarge, frames, read_frame

_CUT = "the upstream ended its answer in the middle"


class ResponsesDecoder:
    """Read one streamed answer; no bytes make it raise."""

    __slots__ = ("_assembly", "_lesson", "_splitter")

    def __init__(self, answer: AnswerContext) -> None:
        self._splitter = FrameSplitter(answer.max_event_bytes)
        self._assembly = Assembly(answer)
        self._lesson = Lesson()

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Return the events that ``data`` completes; after the last event, none."""
        assembly = self._assembly
        if assembly.done:
            return []
        try:
            whole = self._splitter.cut(data)
        except FrameTooLarge as error:
            assembly.fail(Failure(str(error)))
            return assembly.take()
        if whole:
            self._frames(whole)
        return assembly.take()

    def close(self) -> list[StreamEvent]:
        """Return what is left: a ``Failure`` unless a terminal event was seen."""
        assembly = self._assembly
        if assembly.done:
            return []
        # The last frame of a whole stream may lack its empty line; a torn one is no JSON.
        name, data = read_frame(self._splitter.rest())
        event = _loaded(data, wire.load_exact)
        if event is not None:
            assembly.event(name, event)
        assembly.fail(Failure(_CUT))
        return assembly.take()

    def _frames(self, whole: bytes) -> None:
        assembly, lesson = self._assembly, self._lesson
        for frame in frames(whole):
            block = lesson.block
            if block is not None:
                text = lesson.read(frame)
                if text and assembly.more(block, text):
                    continue
            self._frame(frame)
            if assembly.done:
                return

    def _frame(self, frame: bytes) -> None:
        assembly = self._assembly
        name, data = read_frame(frame)
        if not data or not assembly.knows(name) or data.strip() == b"[DONE]":
            return
        # Numbers of a delta are places only; elsewhere arguments may stand as an object.
        delta = name.endswith(".delta")
        event = _loaded(data, wire.load_upstream if delta else wire.load_exact)
        if event is None:
            words = plain_words(data) if name == "error" else "an event of the stream is no object"
            assembly.fail(Failure(words))
            return
        assembly.event(name, event)
        if assembly.touched is not None:
            self._lesson.learn(frame, event, assembly.touched)


def _loaded(data: bytes, load: Callable[[bytes], Any]) -> dict[str, Any] | None:
    try:
        value = load(data)
    except wire.WireError:
        return None
    return value if isinstance(value, dict) else None
