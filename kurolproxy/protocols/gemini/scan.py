"""Gemini answers on their way through: what must be seen and changed in bytes that travel.

Every frame may name the model and the usage so far. The model is replaced in the bytes; of
the usage only the last one is decoded, at the end or when somebody asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext, PassedAnswer, PassFacts
from kurolproxy.protocols.gemini.answer import (
    NO_ANSWER,
    candidate_index,
    candidates,
    is_answer,
    parts_of,
    read_block,
    reason_word,
)
from kurolproxy.protocols.gemini.error import read_error
from kurolproxy.protocols.gemini.frame import frame_data, is_plain, member_place
from kurolproxy.protocols.gemini.stream_encode import array_error
from kurolproxy.protocols.gemini.usage import read_usage
from kurolproxy.sse import frames
from kurolproxy.tokens import Usage, unweighed

# Bytes of what comes from the end on, until the usage does.
_MOST_HELD = 1_048_576
_NO_WORDS = "the upstream sent an error without a message"
_MODEL = b"modelVersion"
# A figure of the usage; inside a text the quotation mark would be escaped.
_COUNTED = b'TokenCount":'
# A line break that neither ends the piece, nor ends a frame before one ``data: {...}``, the
# only form that the vendor's SDKs read in all versions.
_UNUSUAL = re.compile(rb"\n(?!\r?\n|\Z)(?!(?:(?<=\n\n)|(?<=\n\r\n))data: \{)")
_USUAL = (b"data: {", b"\n", b"\r\n")
# What a piece has to hold to be read: an end (finishReason, blockReason), an error, or
# objects of somebody else's making in which a key may be called as one of ours
# (functionCall, toolCall and so on). Inside a text the quotes would be escaped.
_READ = (b'Reason"', b'"error"', b'Call"', b'"toolResponse"', b'"partMetadata"')


class GeminiScanner:
    """Look at one streamed answer that is passed through.

    States: beginning (each frame is read, until the first content; all the way when several
    answers were asked for) -> running (a piece is read only when a byte test finds something
    in it) -> ending (a reason came without usage: each frame is read again, and held, for the
    client takes the reason as the end, and nothing is booked yet) -> over (``finished`` or
    ``failure``; nothing more goes out).

    Args:
        public_model: what the client wrote; it stands in every frame that names a model.
        facts: how many answers were asked for.

    Attributes:
        content: text, thoughts, a call or the end came.
        finished: a reason to end came with the usage, or the upstream ended after one.
        failure: the upstream's words in an error; nothing more is handed on.
        emitted_bytes: exact for frames that are read; of the others it is their length less
            that of a frame without its text.
    """

    def __init__(self, public_model: str, facts: PassFacts) -> None:
        self.content = False
        self.finished = False
        self.failure: str | None = None
        self.emitted_bytes = 0
        self._public = public_model
        # The upstream's model with its key, as it stands in every frame, and what replaces it.
        self._old = b""
        self._new = b""
        self._many = facts.n > 1
        self._reading = True
        self._open: set[int] = set()
        self._ended: set[int] = set()
        self._blocked = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._envelope = 0
        self._usage: Usage | None = None
        # The last piece that told the usage, not yet decoded.
        self._counted = b""

    @property
    def usage(self) -> Usage | None:
        """The last usage told."""
        piece, self._counted = self._counted, b""
        if piece:
            last = [frame for frame in frames(piece) if _COUNTED in frame][-1]
            value = _loaded(frame_data(last))
            self.usage = read_usage(value.get("usageMetadata")) or self._usage
        return self._usage

    @usage.setter
    def usage(self, value: Usage | None) -> None:
        self._usage, self._counted = value, b""

    def feed(self, piece: bytes) -> bytes:
        """Look at a piece of whole frames and return what the client gets of it."""
        if self.finished or self.failure is not None:
            return b""
        if self._reading or not piece.startswith(_USUAL) or _UNUSUAL.search(piece):
            return self._read(piece)
        for word in _READ:
            if word in piece:
                return self._read(piece)
        return self._pass(piece)

    def close(self) -> bytes:
        """The upstream ended: that is the end of an answer that said why; it has no mark."""
        if self.failure is not None or not self._ends:
            return b""
        self.finished = self.content = True
        return b"".join(self._held)

    @property
    def _ends(self) -> bool:
        """Whether a reason came, and no answer goes on."""
        return self._blocked or (bool(self._ended) and not self._open)

    def _pass(self, piece: bytes) -> bytes:
        told = piece.count(b'"candidates"')
        if piece.count(self._old) != told if self._old else _MODEL in piece:
            return self._read(piece)
        if _COUNTED in piece:
            self._counted = piece
        self.emitted_bytes += max(len(piece) - told * self._envelope, 0)
        return piece.replace(self._old, self._new) if self._old != self._new else piece

    def _read(self, piece: bytes) -> bytes:
        kept: list[bytes] = []
        same = True
        for frame in frames(piece):
            out = self._frame(frame)
            same = same and out is frame
            if self.failure is not None:
                break
            if self._ends and not self.finished and self._hold(out):
                same = False
                continue
            kept += [*self._held, out]
            self._held.clear()
            if self.finished:
                break
        whole = b"".join(kept)
        return piece if same and len(whole) == len(piece) else whole

    def _hold(self, frame: bytes) -> bool:
        """Hold a frame, or say that the answer is over: who goes on so long tells no usage."""
        self._held_bytes += len(frame)
        self.finished = self._held_bytes > _MOST_HELD
        if not self.finished:
            self._held.append(frame)
        return not self.finished

    def _frame(self, frame: bytes) -> bytes:
        """Return what the client gets of one frame."""
        data = frame_data(frame)
        if not data or data.strip() == b"[DONE]":
            # The vendor's own SDKs break on comments and marks, and it sends none.
            return b"" if frame.strip() else frame
        try:
            value = wire.load_upstream(data)
        except wire.WireError:
            # Passed on as it is: it says nothing that we could book or change.
            return frame
        failure = read_error(value)
        if failure is not None:
            self.failure = failure.message or _NO_WORDS
            return b""
        if not is_plain(frame):
            frame = b"data: %b\r\n\r\n" % data.replace(b"\n", b" ")
        if not isinstance(value, dict):
            return frame
        self._look(frame, value)
        return self._renamed(frame, value.get("modelVersion"))

    def _look(self, frame: bytes, value: Mapping[str, Any]) -> None:
        usage = read_usage(value.get("usageMetadata"))
        if usage is not None:
            self.usage = usage
        self._blocked = self._blocked or read_block(value.get("promptFeedback")) is not None
        said = 0
        for candidate in candidates(value):
            said += said_bytes(candidate)
            self._follow(candidate)
            self.content = self.content or any(map(_says, parts_of(candidate)))
        self.emitted_bytes += said
        if said:
            self._envelope = len(frame) - said
        over = self._blocked or bool(self._ended)
        self.content = self.content or over
        self._reading = over or self._many or not self.content
        # Figures of several answers are whole when all of them are: only the end tells.
        self.finished = over and usage is not None and not self._many

    def _follow(self, candidate: Mapping[str, Any]) -> None:
        """Note whether the answer that a candidate belongs to goes on."""
        index = candidate_index(candidate)
        if reason_word(candidate.get("finishReason")):
            self._ended.add(index)
            self._open.discard(index)
        elif index not in self._ended:
            self._open.add(index)

    def _renamed(self, frame: bytes, model: Any) -> bytes:
        place = member_place(frame, _MODEL) if isinstance(model, str) else None
        if place is None:
            return frame
        key, start, end = place
        self._old = self._new = frame[key:end]
        if model == self._public:
            return frame
        name = wire.quote(self._public)
        self._new = frame[key:start] + name
        return frame[:start] + name + frame[end:]


class GeminiArrayScanner(GeminiScanner):
    """Pass an answer through to a client that reads a JSON array.

    The upstream was asked for server-sent events all the same: their frames become the
    elements, each as soon as it came.
    """

    def __init__(self, public_model: str, facts: PassFacts) -> None:
        super().__init__(public_model, facts)
        self._begun = False

    def feed(self, piece: bytes) -> bytes:
        """Look at a piece of whole frames and return the elements for the client."""
        if self.finished or self.failure is not None:
            return b""
        out = b"".join(map(self._element, frames(super().feed(piece))))
        return out + self._ending()

    def close(self) -> bytes:
        """The upstream ended: return the end of the array when the answer is whole."""
        if self.finished:
            return b""
        rest = frames(super().close())
        return b"".join(map(self._element, rest)) + self._ending()

    def error(self, error: GatewayError, request_id: str, answer: AnswerContext) -> bytes:
        """Return an error as the last element, and the end of the array."""
        del answer
        return array_error(error, request_id, begun=self._begun)

    def _element(self, frame: bytes) -> bytes:
        data = frame_data(frame)
        if not data:
            return b""
        before = b"," if self._begun else b"["
        self._begun = True
        return before + data

    def _ending(self) -> bytes:
        if not self.finished:
            return b""
        return b"]" if self._begun else b"[]"


def _loaded(data: bytes) -> dict[str, Any]:
    try:
        value = wire.load_upstream(data)
    except wire.WireError:
        return {}
    return value if isinstance(value, dict) else {}


def _says(part: Mapping[str, Any]) -> bool:
    """Return whether a part says something: an empty text does not, nor a bare proof."""
    return any(value for name, value in part.items() if name not in ("thought", "thoughtSignature"))


def said_bytes(candidate: Mapping[str, Any]) -> int:
    """Return how many bytes of text a candidate holds, names and arguments of calls included."""
    said = 0
    for part in parts_of(candidate):
        text, call = part.get("text"), part.get("functionCall")
        if isinstance(text, str):
            said += len(text) if text.isascii() else len(wire.quote(text)) - 2
        elif isinstance(call, dict):
            given = call.get("args") or call.get("partialArgs") or ""
            said += len(wire.compact([call.get("name"), given]))
    return said


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
    if _is_unreadable(value):
        return PassedAnswer(b"", recode=True)
    failure = _failure(value)
    if failure is not None:
        usage = read_usage(value.get("usageMetadata")) if isinstance(value, dict) else None
        return PassedAnswer(b"", usage, failure.message or _NO_WORDS)
    usage = read_usage(value.get("usageMetadata"))
    # Only an answer that nobody counted has to be weighed.
    said = sum(map(said_bytes, candidates(value))) if unweighed(usage) else 0
    model = value.get("modelVersion")
    if isinstance(model, str) and model != public_model:
        body = _spliced(body, public_model)
    return PassedAnswer(body, usage, emitted_bytes=said)


def _is_unreadable(value: Any) -> bool:
    """Return whether no SDK of the vendor reads an answer, although it is one.

    Vertex writes enums as numbers where a URL asks for that, and a stream as an array.
    """
    if isinstance(value, list):
        return bool(value) and read_error(value) is None
    return isinstance(value, dict) and any(
        type(each.get("finishReason")) is int for each in candidates(value)
    )


def _failure(value: Any) -> Failure | None:
    failure = read_error(value)
    if failure is None and not (isinstance(value, dict) and is_answer(value)):
        failure = Failure(NO_ANSWER)
    return failure


def _spliced(body: bytes, public_model: str) -> bytes:
    place = member_place(body, _MODEL)
    if place is None:
        return body
    _, start, end = place
    return body[:start] + wire.quote(public_model) + body[end:]
