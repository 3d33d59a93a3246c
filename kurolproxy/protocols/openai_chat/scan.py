"""The pass-through of this protocol: what has to be seen and changed in bytes that travel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import PassedAnswer, PassFacts
from kurolproxy.protocols.openai_chat.error import error_field, read_error
from kurolproxy.protocols.openai_chat.messages import reasoning_text
from kurolproxy.protocols.openai_chat.vocabulary import (
    as_object,
    choice_index,
    content_pieces,
    read_arguments,
    read_call,
    read_usage,
)
from kurolproxy.sse import frames, read_frame
from kurolproxy.tokens import Usage, unweighed

_DONE = b"data: [DONE]\n\n"
_NO_WORDS = "the upstream sent an error without a message"
_NO_ANSWER = "the upstream's answer is no completion"

# After so many chunks the size of one without its text is measured again, for it differs
# between text, reasoning and calls. Chunks that seem to hold less than a byte of text, or
# much more than the last one measured, are of another kind: they are read.
_MEASURE_EVERY = 32
_MUCH_TEXT = 24


class ChatScanner:
    """What a pass-through has to see in the frames of a stream.

    States: beginning (each frame is read, until the first content; all the way when several
    answers were asked for) -> running (a piece is read only when a byte test finds something
    in it) -> over (``finished`` or ``failure``;
    nothing more goes out).

    ``emitted_bytes`` is exact for frames that are read. Of the others it is their length
    less that of a chunk without its text, which is measured on one of them now and then.

    Args:
        public_model: what the client wrote; it stands in every chunk that names a model.
        facts: what the request had in it.
    """

    __slots__ = (
        "_beginning",
        "_done",
        "_ended",
        "_envelope",
        "_hide_usage",
        "_many",
        "_measure",
        "_much",
        "_new",
        "_old",
        "_open",
        "_public",
        "content",
        "emitted_bytes",
        "failure",
        "finished",
        "usage",
    )

    def __init__(self, public_model: str, facts: PassFacts) -> None:
        self._public = public_model
        self._hide_usage = facts.hide_usage
        # The upstream's model in the last chunk that was read, with its key, and what
        # replaces it; empty when the upstream writes what the client wrote.
        self._old = b""
        self._new = b""
        self._beginning = True
        # Several answers come in turns: the mark is owed when none of them is open.
        self._many = facts.n > 1
        self._open: set[int] = set()
        self._done: set[int] = set()
        self._ended = False
        self._envelope = 0
        self._measure = _MEASURE_EVERY
        self._much = _MUCH_TEXT
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.failure: str | None = None
        self.emitted_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        """Look at a piece of whole frames and return what the client gets of it."""
        if self.finished or self.failure is not None:
            return b""
        # What a piece has to hold to be read, in the spellings of compact JSON and of
        # Python's. In a JSON string the quotes would be escaped: text matches [DONE] only.
        if (
            self._beginning
            or b'_reason":"' in piece
            or b'_reason": "' in piece
            or b'"usage":{' in piece
            or b'"usage": {' in piece
            or b"[DONE]" in piece
            # A field, an event's name or a line of its own; a text with the word is read too.
            or b"error" in piece
        ):
            return self._read(piece)
        return self._pass(piece)

    def close(self) -> bytes:
        """The upstream ended: answers with finish reasons are whole, and owed the mark."""
        if self.finished or self.failure is not None or not self._ended or self._open:
            return b""
        self.finished = True
        self.content = True
        return _DONE

    def _pass(self, piece: bytes) -> bytes:
        chunks = piece.count(b'"choices"')
        if self._old and piece.count(self._old) != chunks:
            return self._read(piece)
        if chunks:
            said = len(piece) - chunks * self._envelope
            if not 0 < said <= chunks * self._much:
                return self._read(piece)
            self.emitted_bytes += said
            self._measure -= chunks
            if self._measure <= 0:
                self._sample(piece)
        return piece.replace(self._old, self._new) if self._old else piece

    def _sample(self, piece: bytes) -> None:
        """Measure a chunk without its text on the last frame of a piece."""
        body = piece.rstrip(b"\r\n")
        start = max(body.rfind(b"\n\n"), body.rfind(b"\n\r\n")) + 1
        frame = piece[start:].lstrip(b"\r\n")
        try:
            chunk = wire.load_upstream(read_frame(frame)[1])
        except wire.WireError:
            return
        choices = _choices(chunk) if isinstance(chunk, dict) else ()
        self._measured(frame, sum(said_bytes(as_object(each.get("delta"))) for each in choices))

    def _measured(self, frame: bytes, said: int) -> None:
        self._measure = _MEASURE_EVERY
        if said:
            self._envelope = len(frame) - said
            self._much = max(_MUCH_TEXT, 2 * said)

    def _read(self, piece: bytes) -> bytes:
        kept: list[bytes] = []
        same = True
        for frame in frames(piece):
            out = self._frame(frame)
            same = same and out is frame
            kept.append(out)
            if self.finished or self.failure is not None:
                break
        whole = b"".join(kept) if len(kept) > 1 else kept[0]
        return piece if same and len(whole) == len(piece) else whole

    def _frame(self, frame: bytes) -> bytes:
        """Return what the client gets of one frame."""
        event, data = read_frame(frame)
        self._fail(error_field(frame, event, data))
        if self.failure is not None:
            return b""
        if not data:
            return frame
        if data.strip() == b"[DONE]":
            self.finished = self.content = True
            return frame
        try:
            chunk = wire.load_upstream(data)
        except wire.WireError:
            # Passed on as it is: it says nothing that we could book or change.
            return frame
        return self._chunk(frame, chunk, event) if isinstance(chunk, dict) else frame

    def _chunk(self, frame: bytes, chunk: dict[str, Any], event: str) -> bytes:
        usage = read_usage(chunk)
        if usage is not None:
            self.usage = usage.after(self.usage)
        self._fail(read_error(chunk, event))
        choices = list(_choices(chunk))
        for choice in choices:
            self._fail(read_error(choice))
        if self.failure is not None:
            return b""
        self._look(frame, choices)
        # Azure's first chunks have no name in them yet.
        self._beginning = self._many or not self.content or chunk.get("model") == ""
        if self._hide_usage and not choices and chunk.get("usage") is not None:
            return b""
        return self._renamed(frame, chunk.get("model"))

    def _fail(self, failure: Failure | None) -> None:
        if failure is not None and self.failure is None:
            self.failure = failure.message or _NO_WORDS

    def _look(self, frame: bytes, choices: list[dict[str, Any]]) -> None:
        deltas = [as_object(choice.get("delta")) for choice in choices]
        said = sum(map(said_bytes, deltas))
        self.emitted_bytes += said
        for choice in choices:
            self._follow(choice)
        self._measured(frame, said)
        if said or self._ended or any(call for delta in deltas for call in _calls(delta)):
            self.content = True

    def _follow(self, choice: dict[str, Any]) -> None:
        """Note whether the answer that a choice belongs to goes on."""
        index = choice_index(choice)
        if _is_reason(choice.get("finish_reason")):
            self._ended = True
            self._done.add(index)
            self._open.discard(index)
        elif index not in self._done:
            self._open.add(index)

    def _renamed(self, frame: bytes, model: Any) -> bytes:
        if model == self._public or not isinstance(model, str):
            return frame
        place = model_place(frame)
        if place is None:
            return frame
        key, start, end = place
        name = wire.quote(self._public)
        if model:
            self._old = frame[key:end]
            self._new = frame[key:start] + name
        return frame[:start] + name + frame[end:]


def _choices(chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            yield choice


def _is_reason(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _calls(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    items = said.get("tool_calls")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield item
    if isinstance(said.get("function_call"), dict):
        yield {"function": said["function_call"]}


def said_bytes(said: dict[str, Any]) -> int:
    """Return how many bytes of text a delta or a message holds, names of calls included."""
    texts = [reasoning_text(said), *(text for _, text in content_pieces(said.get("content")))]
    refusal = said.get("refusal")
    texts.append(refusal if isinstance(refusal, str) else "")
    for call in _calls(said):
        texts += [read_call(call).name, read_arguments(call)]
    return sum(len(text) if text.isascii() else len(wire.quote(text)) - 2 for text in texts)


# --- the whole answer -----------------------------------------------------------------------


def passed_answer(body: bytes, public_model: str) -> PassedAnswer:
    """Look at a whole JSON answer on its way through.

    Args:
        public_model: what the client wrote; the answer shows it.
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError as error:
        return PassedAnswer(b"", failure=f"the upstream's answer is {error}")
    failure = read_error(value) if isinstance(value, dict) else None
    if failure is not None:
        return PassedAnswer(b"", read_usage(value), failure.message or _NO_WORDS)
    choices = list(_choices(value)) if isinstance(value, dict) else []
    if not any("message" in choice or choice.get("finish_reason") for choice in choices):
        return PassedAnswer(b"", failure=_NO_ANSWER)
    for choice in choices:
        broken = read_error(choice)
        if broken is not None:
            return PassedAnswer(b"", read_usage(value), broken.message or _NO_WORDS)
    usage = read_usage(value)
    # Only an answer that nobody counted has to be weighed.
    said = 0
    if unweighed(usage):
        said = sum(said_bytes(as_object(choice.get("message"))) for choice in choices)
    model = value.get("model")
    if isinstance(model, str) and model != public_model:
        body = _spliced(body, public_model)
    return PassedAnswer(body, usage, emitted_bytes=said)


def _spliced(body: bytes, public_model: str) -> bytes:
    place = model_place(body)
    if place is None:
        return body
    _, start, end = place
    return body[:start] + wire.quote(public_model) + body[end:]


# --- where the model stands -----------------------------------------------------------------

_MODEL = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
# Whole strings, so that what they hold is not looked at, and brackets.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}]')


def model_place(data: bytes) -> tuple[int, int, int] | None:
    """Return where the top-level ``model`` of an object stands: its key, its value, its end.

    Args:
        data: a JSON object, or a frame that holds one; known to be well formed.
    """
    found = _MODEL.search(data)
    if found is not None and data.count(b"{", 0, found.start()) == 1:
        # Only the outermost object is open: the usual order, with the model near the front.
        return found.start(), found.start(1), found.end(1)
    depth = 0
    for token in _TOKEN.finditer(data):
        first = data[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and token.group() == b'"model"':
            found = _MODEL.match(data, token.start())
            if found is not None:
                return found.start(), found.start(1), found.end(1)
    return None
