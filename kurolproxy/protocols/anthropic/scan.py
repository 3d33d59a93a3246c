"""Anthropic Messages answers on their way through: what must be seen, and little else.

A piece of a stream in which none of a few words stands is handed on as the object that
was read; only ``message_start``, ``message_delta`` and ``error`` events are parsed, and
deltas until the first one that says something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import wire
from kurolproxy.protocols.anthropic.usage import Figures
from kurolproxy.protocols.base import PassedAnswer, PassFacts
from kurolproxy.protocols.splice import Splice, scan
from kurolproxy.sse import frames, read_frame
from kurolproxy.tokens import Usage, unweighed

_SILENT_ERROR = "the upstream reported an error"

_TYPE = re.compile(
    rb'"type"\s*:\s*"(message_(?:start|delta|stop)|content_block_(?:start|delta)|error)"'
)

# What a delta costs besides its text. Other frames are rare; padding and the escapes of
# JSON stay in the count, so that it errs high, as an estimate should.
_EVENT_LINE = b"event: content_block_delta\n"
_DELTA_BYTES = len(
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}\n\n'
)


class MessagesScanner:
    """Look at one streamed answer that is passed through.

    Args:
        model: the id or alias that the client wrote: the answer must show it.
        facts: of no use here, this protocol always tells the usage.

    Attributes:
        usage: as the last event told it.
        content: whether text, thoughts, a call or the end came.
        finished: whether ``message_stop`` came; nothing behind it is handed on.
        failure: the upstream's words in an ``error`` event; nothing more is handed on.
        emitted_bytes: the bytes of all deltas, less what every delta costs.
    """

    def __init__(self, model: str, facts: PassFacts) -> None:
        del facts
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.failure: str | None = None
        self.emitted_bytes = 0
        self._model = model
        self._figures = Figures()

    def feed(self, piece: bytes) -> bytes:
        """Look at whole frames; return what the client gets of them."""
        if self.finished or self.failure is not None:
            return b""
        # Without these words a piece holds nothing but text and pings; with one of them
        # in a text it is looked at for nothing. A loop over them would cost the double.
        if self.content and not (
            b"message_" in piece
            or b"content_block_st" in piece
            or b'"error"' in piece
            or b"event: error" in piece
        ):
            self._count(piece)
            return piece
        return self._each(piece)

    def close(self) -> bytes:
        """Return nothing: only the upstream can say that its message is whole."""
        return b""

    def _each(self, piece: bytes) -> bytes:
        out: list[bytes] = []
        same, seen = True, 0
        for frame in frames(piece):
            seen += len(frame)
            reader = _READERS.get(_kind(frame))
            new = frame if reader is None else reader(self, frame)
            same = same and new is frame
            out.append(new)
            if self.finished or self.failure is not None:
                break
        return piece if same and seen == len(piece) else b"".join(out)

    def _count(self, piece: bytes) -> None:
        spent = _DELTA_BYTES * piece.count(b'"delta"') + len(_EVENT_LINE) * piece.count(_EVENT_LINE)
        if len(piece) > spent:
            self.emitted_bytes += len(piece) - spent

    # --- the events ---------------------------------------------------------------------

    def _start(self, frame: bytes) -> bytes:
        event = _loaded(frame)
        message = event.get("message")
        if not isinstance(message, dict):
            return frame
        self._figures.begin(message.get("usage"))
        self.usage = self._figures.usage
        named = message.get("model")
        return frame if named is None or named == self._model else self._renamed(frame)

    def _renamed(self, frame: bytes) -> bytes:
        at = frame.find(b"{")
        try:
            edits = Splice(scan(frame[at:]))
            edits.put_inside("message", "model", wire.quote(self._model))
            return frame[:at] + edits.apply()
        except BadRequest:
            # A parser mends more than the bytes let us edit: leave them alone.
            return frame

    def _end_seen(self, frame: bytes) -> bytes:
        self._figures.update(_loaded(frame).get("usage"))
        self.usage = self._figures.usage
        return frame

    def _stop(self, frame: bytes) -> bytes:
        self.content = True
        self.finished = True
        return frame

    def _error(self, frame: bytes) -> bytes:
        self.failure = error_text(_loaded(frame))
        return b""

    def _block(self, frame: bytes) -> bytes:
        if not self.content:
            block = _loaded(frame).get("content_block")
            self.content = isinstance(block, dict) and _says(block)
        return frame

    def _delta(self, frame: bytes) -> bytes:
        self._count(frame)
        if not self.content:
            delta = _loaded(frame).get("delta")
            self.content = isinstance(delta, dict) and _filled(delta)
        return frame


# Of the class, not of each object: it would hold itself, and its texts, until collected.
_READERS: Mapping[bytes, Callable[[MessagesScanner, bytes], bytes]] = {
    b"message_start": MessagesScanner._start,
    b"message_delta": MessagesScanner._end_seen,
    b"message_stop": MessagesScanner._stop,
    b"error": MessagesScanner._error,
    b"content_block_start": MessagesScanner._block,
    b"content_block_delta": MessagesScanner._delta,
}


def passed_answer(body: bytes, model: str) -> PassedAnswer:
    """Look at a whole answer that is passed through.

    Args:
        model: the id or alias that the client wrote: the answer must show it.
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError as error:
        return PassedAnswer(body, failure=f"the upstream's answer is {error}")
    if not isinstance(value, dict):
        return PassedAnswer(body, failure="the upstream's answer is no JSON object")
    if value.get("type") == "error" or value.get("error"):
        return PassedAnswer(body, failure=error_text(value))
    content = value.get("content")
    if not isinstance(content, list):
        return PassedAnswer(body, failure="the upstream's answer is no message")
    figures = Figures()
    figures.update(value.get("usage"))
    named = value.get("model")
    if named is not None and named != model:
        body = _renamed(body, model)
    usage = figures.usage
    # Only an answer that nobody counted has to be weighed.
    said = sum(map(_size, content)) if unweighed(usage) else 0
    return PassedAnswer(body, usage, emitted_bytes=said)


def error_text(event: Mapping[str, Any]) -> str:
    """Return the words of an ``error`` object; some words when it has none."""
    error = event.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message else _SILENT_ERROR


def _renamed(body: bytes, model: str) -> bytes:
    at = body.find(b"{")
    try:
        edits = Splice(scan(body[at:]))
        edits.replace("model", wire.quote(model))
        return body[:at] + edits.apply()
    except BadRequest:
        return body


def _kind(frame: bytes) -> bytes:
    """Return what a frame is called: by its ``event`` line, else by the type in its data."""
    if frame.startswith(b"event:"):
        name = frame[6 : frame.find(b"\n")].strip()
        if name != b"message":
            return name
    found = _TYPE.search(frame)
    return found[1] if found else b""


def _loaded(frame: bytes) -> dict[str, Any]:
    """Return the event of a frame; nothing of one that is broken: it goes on as it is."""
    try:
        value = wire.load_upstream(read_frame(frame)[1])
    except wire.WireError:
        return {}
    return value if isinstance(value, dict) else {}


def _says(block: dict[str, Any]) -> bool:
    """Return whether a block says something by its start alone."""
    kind = block.get("type")
    if kind in ("tool_use", "server_tool_use", "redacted_thinking", "mcp_tool_use"):
        return True
    return bool(block.get("text") or block.get("thinking"))


def _filled(delta: dict[str, Any]) -> bool:
    return any(value for name, value in delta.items() if name != "type")


def _size(block: object) -> int:
    """Return about how many bytes of a block the model wrote."""
    if not isinstance(block, dict):
        return 0
    words = "".join(
        block[name] for name in ("text", "thinking") if isinstance(block.get(name), str)
    )
    given = block.get("input")
    return len(words.encode("utf-8", "replace")) + (len(wire.dumps(given)) if given else 0)
