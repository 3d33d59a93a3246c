"""What streamed and whole answers to and from Gemini have in common: ends, proofs, calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kurolproxy.ir import Failure, Finish, FinishReason, Seal, ToolHead
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.gemini.grounding import SourceWriter
from kurolproxy.protocols.gemini.usage import write_usage
from kurolproxy.tokens import Usage

NO_ANSWER = "the upstream's answer has no candidate"

# --- read -----------------------------------------------------------------------------------

_FILTERED: FinishReason = "content_filter"
_REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    # The vendor's own clients resume such an answer by themselves; no other protocol can.
    "CONTINUATION": "length",
    "SAFETY": _FILTERED,
    "RECITATION": _FILTERED,
    "BLOCKLIST": _FILTERED,
    "PROHIBITED_CONTENT": _FILTERED,
    "SPII": _FILTERED,
    "MODEL_ARMOR": _FILTERED,
}
_PICTURE = "IMAGE_"  # how the reasons begin why a picture was held back
_BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
# Vertex's Python client of old asks for enums as numbers; the vendor's two services agree
# on what these mean, and on no others.
_NUMBERS: Mapping[int, str] = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION"}
_KEPT: tuple[FinishReason, ...] = ("length", _FILTERED)


def reason_word(value: object) -> str:
    """Return a finish or block reason in capitals; "" when there is none yet."""
    if isinstance(value, str):
        return "" if value.upper().endswith("_UNSPECIFIED") else value.upper()
    if type(value) is int and value:
        return _NUMBERS.get(value, str(value))
    return ""


def read_finish(candidate: Mapping[str, Any]) -> Finish | Failure | None:
    """Return the end that a candidate names, calls not considered; None while it goes on."""
    word = reason_word(candidate.get("finishReason"))
    if not word:
        return None
    message = candidate.get("finishMessage")
    said = message if isinstance(message, str) and message else None
    if word in _BROKEN:
        return Failure(said or f"the model's answer broke off: {word}")
    reason = _FILTERED if word.startswith(_PICTURE) else _REASONS.get(word, "other")
    return Finish(reason, detail=said if reason == _FILTERED else None)


def read_block(feedback: object) -> Finish | None:
    """Return the end of an answer whose prompt was blocked; None when it was not."""
    if not isinstance(feedback, dict) or not reason_word(feedback.get("blockReason")):
        return None
    message = feedback.get("blockReasonMessage")
    return Finish(_FILTERED, detail=message if isinstance(message, str) and message else None)


def with_calls(finish: Finish) -> Finish:
    """Return the end of an answer that called a tool, which this protocol never says."""
    return finish if finish.reason in _KEPT else Finish("tool_calls")


def candidates(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the candidates of a partial or a whole response."""
    found = value.get("candidates")
    for candidate in found if isinstance(found, list) else ():
        if isinstance(candidate, dict):
            yield candidate


def parts_of(candidate: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a candidate."""
    content = candidate.get("content")
    found = content.get("parts") if isinstance(content, dict) else None
    for part in found if isinstance(found, list) else ():
        if isinstance(part, dict):
            yield part


def candidate_index(candidate: Mapping[str, Any]) -> int:
    """Return which of several answers a candidate is; the first has no number on the wire."""
    index = candidate.get("index")
    return index if type(index) is int else 0


def is_answer(value: Mapping[str, Any]) -> bool:
    """Return whether a whole response says anything: content, an end, or why there is none."""
    return read_block(value.get("promptFeedback")) is not None or any(
        next(parts_of(each), None) is not None or reason_word(each.get("finishReason"))
        for each in candidates(value)
    )


# --- write ----------------------------------------------------------------------------------

FINISH_WORDS: Mapping[FinishReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "other": "OTHER",
}
# A seal of more than 1 MiB is never read again; a character is at most 4 bytes of it.
_MAX_SEALED_CHARS = 175_000


def shows_reasoning(answer: AnswerContext) -> bool:
    """Return whether the client reads thoughts; one that did not ask for them does not."""
    wish = answer.request.reasoning
    return wish is not None and wish.show != "none"


class Carrier:
    """Holds the proof of a reasoning block until the part comes that carries it."""

    __slots__ = ("_token",)

    def __init__(self) -> None:
        self._token = ""

    @property
    def loaded(self) -> bool:
        """Whether a proof waits."""
        return self._token != ""

    def hold(self, proof: Seal, text: str) -> bytes:
        """Keep a proof for the next part.

        Args:
            text: what was thought. It travels in the seal, shown or not: gemini-cli takes
                thought parts out of its history. Gemini itself wants the proof alone.

        Returns:
            an empty part for the proof that waited before, if any: a part has room for one.
        """
        before = self.flush()
        if text and proof.text is None and not proof.redacted and proof.protocol != "g":
            proof = replace(proof, text=text if len(text) <= _MAX_SEALED_CHARS else None)
        self._token = seals.encode(proof)
        return before

    def take(self) -> bytes:
        """Return the member of a part for the proof that waits; nothing when none does."""
        token, self._token = self._token, ""
        return b',"thoughtSignature":"%b"' % token.encode() if token else b""

    def flush(self) -> bytes:
        """Return an empty part for the proof that waits; nothing when none does."""
        return b'{"text":""%b}' % self.take() if self._token else b""


def arguments(text: str, tool: ToolHead) -> bytes | None:
    """Return a call's arguments as one line of JSON, its numbers as they were written.

    Returns:
        None when they are no object.
    """
    if tool.kind == "custom":
        return None
    try:
        value = wire.loads(text)
    except wire.WireError:
        return None
    if not isinstance(value, dict):
        return None
    # Known to be JSON: line breaks stand between its words only, and would end the frame.
    return text.strip().replace("\r", " ").replace("\n", " ").encode()


def wrapped(text: str, tool: ToolHead) -> bytes:
    """Return arguments that are no object as one; none at all are an empty one."""
    if tool.kind != "custom" and not text.strip():
        return b"{}"
    return b'{"input":%b}' % wire.quote(text)


def call_part(tool: ToolHead, call_id: str, args: bytes, proof: bytes) -> bytes:
    """Return the part of a call; this protocol has no namespaces."""
    name = f"{tool.ns}__{tool.name}" if tool.ns else tool.name
    return b'{"functionCall":{"id":%b,"name":%b,"args":%b}%b}' % (
        wire.quote(call_id),
        wire.quote(name),
        args,
        proof,
    )


class Envelope:
    """What stands around the parts of an answer, the same for all of its frames."""

    __slots__ = ("_names",)

    def __init__(self, answer: AnswerContext) -> None:
        self._names = b'"modelVersion":%b,"responseId":%b' % (
            wire.quote(answer.model),
            wire.quote(answer.new_id("r")),
        )

    def around(self) -> tuple[bytes, bytes]:
        """Return what stands before and behind the parts of a frame that is not the last."""
        return HEAD, b"]}}],%b}" % self._names

    def last(
        self, parts: bytes, finish: Finish, usage: Usage | None, sources: SourceWriter
    ) -> bytes:
        """Return a whole response, or the last frame of a stream."""
        end = b'"finishReason":"%b"' % FINISH_WORDS[finish.reason].encode()
        if finish.detail:
            end += b',"finishMessage":%b' % wire.quote(finish.detail)
        grounded = sources.metadata()
        if grounded is not None:
            end += b',"groundingMetadata":%b' % wire.dumps(grounded)
        counted = b"" if usage is None else b'"usageMetadata":%b,' % wire.dumps(write_usage(usage))
        return HEAD + parts + b"]},%b}],%b%b}" % (end, counted, self._names)


HEAD = b'{"candidates":[{"index":0,"content":{"role":"model","parts":['
"""How every response begins, up to its parts."""
