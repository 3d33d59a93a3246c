"""The streamed answer, decoded: an upstream's chunks in, neutral events out."""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import BlockKind, Cited, Failure, Start, StreamEvent, UsageSeen
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_chat.calls import Blocks, CallQueue
from kurolproxy.protocols.openai_chat.error import error_field, read_error
from kurolproxy.protocols.openai_chat.messages import reasoning_text
from kurolproxy.protocols.openai_chat.quick import Lesson
from kurolproxy.protocols.openai_chat.vocabulary import (
    as_text,
    choice_index,
    content_pieces,
    finish,
    read_citations,
    read_usage,
)
from kurolproxy.sse import FrameSplitter, FrameTooLarge, frames, read_frame
from kurolproxy.tokens import Usage

_CUT = "the upstream ended its answer in the middle"
# The calls of the deprecated form have no index; no real one is negative.
_LEGACY_INDEX = -1


class ChatDecoder:
    """Upstream bytes in, neutral events out.

    States: reading -> over. It is over after ``[DONE]``, an error, or ``close``. A finish
    reason alone does not end it: errors (OpenRouter) and usage come behind it.
    """

    __slots__ = (
        "_blocks",
        "_calls",
        "_lesson",
        "_over",
        "_reason",
        "_splitter",
        "_started",
        "_usage",
    )

    def __init__(self, answer: AnswerContext) -> None:
        self._splitter = FrameSplitter(answer.max_event_bytes)
        self._blocks = Blocks(answer.family)
        self._calls = CallQueue(self._blocks, answer)
        self._lesson = Lesson()
        self._usage: Usage | None = None
        self._reason = ""
        self._started = False
        self._over = False

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Return the events that ``data`` completes; after the last event, none."""
        if self._over:
            return []
        events: list[StreamEvent] = []
        self._blocks.events = events
        try:
            whole = self._splitter.cut(data)
        except FrameTooLarge as error:
            self._fail(Failure(str(error)))
            return events
        if whole:
            self._frames(whole)
        return events

    def close(self) -> list[StreamEvent]:
        """The upstream ended: return what is left, a ``Failure`` if the answer is not whole."""
        if self._over:
            return []
        events: list[StreamEvent] = []
        self._blocks.events = events
        rest = self._splitter.rest()
        if _readable(rest):
            self._frame(rest)
        self._end()
        return events

    def _end(self) -> None:
        """Without ``[DONE]`` the finish reason tells a whole answer from a cut one."""
        if self._over:
            return
        if self._reason:
            self._finish()
        else:
            self._fail(Failure(_CUT))

    def _frames(self, whole: bytes) -> None:
        lesson, blocks, calls = self._lesson, self._blocks, self._calls
        for frame in frames(whole):
            text = lesson.read(frame)
            if text and not calls.active:
                blocks.say(lesson.kind, text)
                continue
            self._frame(frame)
            if self._over:
                return

    def _frame(self, frame: bytes) -> None:
        event, data = read_frame(frame)
        failure = error_field(frame, event, data)
        if failure is not None:
            self._fail(failure)
            return
        if not data:
            return
        if data.strip() == b"[DONE]":
            self._finish()
            return
        try:
            # Some servers write arguments as an object, whose integers must stay exact.
            chunk = wire.load_exact(data)
        except wire.WireError as error:
            self._fail(Failure(f"the upstream sent an event that is {error}"))
            return
        if not isinstance(chunk, dict):
            self._fail(Failure("the upstream sent an event that is no chunk of an answer"))
            return
        self._chunk(chunk, event)
        if not self._over:
            self._lesson.learn(frame, chunk)

    def _chunk(self, chunk: dict[str, Any], event: str) -> None:
        if not self._started:
            self._start(chunk.get("id"), chunk.get("model"))
        usage = read_usage(chunk)
        if usage is not None and usage != self._usage:
            self._usage = usage.after(self._usage)
            self._blocks.events.append(UsageSeen(self._usage))
        failure = read_error(chunk, event)
        if failure is not None:
            self._fail(failure)
            return
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice_index(choice) == 0 and not self._over:
                self._choice(choice)

    def _start(self, upstream_id: object = "", model: object = "") -> None:
        self._started = True
        self._blocks.events.append(Start(as_text(upstream_id), as_text(model)))

    def _choice(self, choice: dict[str, Any]) -> None:
        failure = read_error(choice)
        if failure is not None:
            # OpenRouter: the vendor behind it broke off.
            self._fail(failure)
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._delta(delta)
        reason = choice.get("finish_reason")
        # Of several the first counts: OpenRouter repeats it on the usage chunk.
        if reason and isinstance(reason, str) and not self._reason:
            self._reason = reason

    def _delta(self, delta: dict[str, Any]) -> None:
        self._say("reasoning", reasoning_text(delta))
        content = delta.get("content")
        if content:
            for kind, text in content_pieces(content):
                self._say(kind, text)
        self._say("refusal", delta.get("refusal"))
        if delta.get("annotations") and self._blocks.kind == "text":
            index = self._blocks.index
            self._blocks.events += [Cited(index, each) for each in read_citations(delta)]
        items = delta.get("tool_calls")
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                self._call(item)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict):
            self._call({"index": _LEGACY_INDEX, "function": legacy})

    def _say(self, kind: BlockKind, text: object) -> None:
        if not text or not isinstance(text, str) or self._over:
            return
        if self._calls.active:
            self._wrong(self._calls.flush())
        if not self._over:
            self._blocks.say(kind, text)

    def _call(self, item: dict[str, Any]) -> None:
        if not self._over:
            self._wrong(self._calls.delta(item))

    def _wrong(self, problem: str) -> None:
        if problem:
            self._fail(Failure(f"the upstream's answer is malformed: {problem}"))

    def _finish(self) -> None:
        if not self._started:
            self._start()
        self._wrong(self._calls.flush())
        if self._over:
            return
        self._blocks.close()
        self._blocks.events.append(finish(self._reason, called=self._calls.seen))
        self._over = True

    def _fail(self, failure: Failure) -> None:
        if not self._started:
            self._start()
        self._blocks.events.append(failure)
        self._over = True


def _readable(rest: bytes) -> bool:
    """Return whether what is left without its blank line is a whole event all the same."""
    event, data = read_frame(rest)
    if data.strip() == b"[DONE]" or error_field(rest, event, data) is not None:
        return True
    try:
        wire.load_upstream(data)
    except wire.WireError:
        return False
    return True
