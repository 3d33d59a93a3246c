"""Gemini streams, upstream bytes -> neutral events."""

from __future__ import annotations

from kurolproxy.ir import Failure, StreamEvent
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.gemini.assembly import Assembly
from kurolproxy.protocols.gemini.frame import frame_data
from kurolproxy.protocols.gemini.quick import Lesson
from kurolproxy.sse import FrameSplitter, FrameTooLarge, frames


class GeminiDecoder:
    """Read one streamed answer; no bytes make it raise.

    It is over when a reason to end came with the usage, with an error, or when the
    upstream ends.
    """

    __slots__ = ("_assembly", "_lesson", "_splitter")

    def __init__(self, answer: AnswerContext) -> None:
        self._splitter = FrameSplitter(answer.max_event_bytes)
        self._assembly = Assembly(answer)
        self._lesson = Lesson()

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Return the events that ``data`` completes; after the last event, none."""
        if self._assembly.done:
            return []
        try:
            whole = self._splitter.cut(data)
        except FrameTooLarge as error:
            self._assembly.fail(Failure(str(error)))
            whole = b""
        if whole:
            self._frames(whole)
        return self._assembly.take()

    def close(self) -> list[StreamEvent]:
        """The upstream ended: return what is left, a ``Failure`` if the answer is not whole."""
        if self._assembly.done:
            return []
        rest = self._splitter.rest()
        if _readable(rest):
            self._frame(rest)
        self._assembly.close()
        return self._assembly.take()

    def _frames(self, whole: bytes) -> None:
        lesson, assembly = self._lesson, self._assembly
        # Two line ends are one frame, which most reads hold.
        for frame in (whole,) if whole.count(b"\n") == 2 else frames(whole):
            text = "" if assembly.calling else lesson.read(frame)
            if not text:
                self._frame(frame)
                if assembly.done:
                    return
                continue
            if lesson.usage is not None:
                assembly.count(lesson.usage)
            assembly.say(lesson.kind, text)

    def _frame(self, frame: bytes) -> None:
        data = frame_data(frame)
        if not data or data.strip() == b"[DONE]":
            return
        try:
            # Arguments are objects here, whose integers must stay exact.
            value = wire.load_exact(data)
        except wire.WireError as error:
            self._assembly.fail(Failure(f"the upstream sent an event that is {error}"))
            return
        self._assembly.partial(value)
        if isinstance(value, dict) and not self._assembly.done:
            self._lesson.learn(frame, value)


def _readable(rest: bytes) -> bool:
    """Return whether what is left without its blank line is a whole event all the same."""
    try:
        wire.load_upstream(frame_data(rest))
    except wire.WireError:
        return False
    return True
