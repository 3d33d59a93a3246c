"""Neutral events -> Responses streams, as the client reads them.

``created`` and ``in_progress``, the events of the items, one terminal event. Nothing comes
behind it, no ``[DONE]`` either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    Sealed,
    Start,
    StreamEvent,
    UsageSeen,
)
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_errors import error_words
from kurolproxy.protocols.openai_responses.answer import INCOMPLETE, Envelope
from kurolproxy.protocols.openai_responses.error import failed_code
from kurolproxy.protocols.openai_responses.usage import write_usage
from kurolproxy.protocols.openai_responses.vocabulary import RESPONSE_ID
from kurolproxy.protocols.openai_responses.writer import ItemWriter
from kurolproxy.tokens import Usage

PING = b'event: keepalive\ndata: {"type":"keepalive"}\n\n'
"""An event: Codex counts events against its idle limit, comments not (tests/clients)."""

PING_EARLY = b": ping\n\n"
"""A comment: the OpenAI SDKs want ``response.created`` before any other event."""


class ResponsesEncoder:
    """Write one streamed answer.

    Args:
        id_: of the response, when another hand began the stream; "" begins one.
        sequence: the number of the next event.
    """

    __slots__ = ("_begun", "_envelope", "_usage", "_writer")

    def __init__(self, answer: AnswerContext, id_: str = "", sequence: int = 0) -> None:
        self._begun = bool(id_)
        self._envelope = Envelope(answer, id_ or answer.new_id(RESPONSE_ID))
        self._writer = ItemWriter(answer, sequence)
        self._usage: Usage | None = None

    def encode(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames for ``events``."""
        out: list[bytes] = []
        delta = self._writer.delta
        for event in events:
            if type(event) is Delta:
                out.append(delta(event.text))
            else:
                out.append(_WRITERS[type(event)](self, event))
        return b"".join(out)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the in-band form of an error; the stream ends behind it.

        Two events: Codex shows the message of a response that failed only, others want the
        ``error`` event, flat or with the error inside.
        """
        del request_id
        words = error_words(error)
        start = b"" if self._begun else self._begin()
        told = b'{"code":%b,"message":%b}' % (failed_code(error), words.message)
        failed = self._envelope.write(
            b"failed", self._writer.items, error=told, usage=write_usage(self._usage)
        )
        flat = b'"code":%b,"message":%b,"param":%b' % (words.code, words.message, words.param)
        both = b'%b,"error":{"type":%b,%b}' % (flat, words.type, flat)
        frame = self._writer.frame
        return start + frame(b"response.failed", b'"response":' + failed) + frame(b"error", both)

    def _begin(self) -> bytes:
        self._begun = True
        response = b'"response":' + self._envelope.write(b"in_progress")
        frame = self._writer.frame
        return frame(b"response.created", response) + frame(b"response.in_progress", response)

    def _start(self, _event: Start) -> bytes:
        return self._begin()

    def _cited(self, event: Cited) -> bytes:
        self._writer.cited(event.citation)
        return b""

    def _usage_seen(self, event: UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _finish(self, event: Finish) -> bytes:
        out = self._writer.finish(event)
        reason = INCOMPLETE.get(event.reason, b"")
        status = b"incomplete" if reason else b"completed"
        response = self._envelope.write(
            status, self._writer.items, reason=reason, usage=write_usage(self._usage)
        )
        return out + self._writer.frame(b"response." + status, b'"response":' + response)


# Of the class, not of each object: it would hold itself, and its texts, until collected.
_WRITERS: Mapping[type, Callable[[ResponsesEncoder, Any], bytes]] = {
    Start: ResponsesEncoder._start,
    BlockStart: lambda self, event: self._writer.start(event),
    Sealed: lambda self, event: self._writer.sealed(event.seal),
    Cited: ResponsesEncoder._cited,
    BlockEnd: lambda self, _event: self._writer.end(),
    UsageSeen: ResponsesEncoder._usage_seen,
    Finish: ResponsesEncoder._finish,
    # The caller says it by ``error``, in words that are fit to be seen.
    Failure: lambda _self, _event: b"",
}
