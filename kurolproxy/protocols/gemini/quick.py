"""Reading the many frames of a stream that differ in nothing but a text and the usage.

Within one stream the bytes before the text, between it and the usage, and behind that are
the same from frame to frame. A ``Lesson`` remembers them from a frame that was read in
full; while they repeat, the text and the usage are all there is to read. Anything else is
left to the full reading.
"""

from __future__ import annotations

import re
from typing import Any

from kurolproxy.ir import BlockKind
from kurolproxy.protocols import wire
from kurolproxy.protocols.gemini.frame import frame_data, is_plain, member_place

_TEXT = re.compile(rb'"text"\s*:\s*"')
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_USAGE = b"usageMetadata"
_PROBE = "kurol probe"
# A lesson costs about what a few quick readings save; where the bytes around the text
# never repeat, lessons stop when the credit is used up.
_CREDIT = 64
_PRICE = 4


class Lesson:
    """What one stream's plain frames look like.

    Attributes:
        kind: of the text that ``read`` returns.
        usage: the usage beside that text when it is another than the one before, else None.
    """

    __slots__ = ("_before", "_credit", "_end", "_middle", "_usage", "kind", "usage")

    def __init__(self) -> None:
        self.kind: BlockKind = "text"
        self.usage: dict[str, Any] | None = None
        self._credit = _CREDIT
        self._before = b""
        # Behind the text: the bytes up to the usage, and those behind it; where there is
        # no usage the second is None.
        self._middle = b""
        self._end: bytes | None = None
        self._usage = b""

    def read(self, frame: bytes) -> str:
        """Return the text of a plain frame; "" when the frame has to be read in full."""
        before = self._before
        if not before or not frame.startswith(before):
            return ""
        start = len(before)
        inside = _INSIDE.match(frame, start)
        stop = inside.end() if inside is not None else start
        if stop == start or not frame.startswith(self._middle, stop):
            return ""
        usage = self._counted(frame, stop + len(self._middle))
        if usage is None:
            return ""
        try:
            text = _unescaped(frame, start, stop)
            if usage != self._usage:
                # One level was taken off by the frame around it.
                self.usage = _object(wire.loads(usage, wire.MAX_DEPTH - 1))
            else:
                self.usage = None
        except wire.WireError:
            return ""
        if self.usage is None and usage != self._usage:
            return ""
        self._usage = usage
        self._credit += 1
        return text

    def _counted(self, frame: bytes, start: int) -> bytes | None:
        """Return the bytes of the usage; None when something else stands behind the text."""
        if self._end is None:
            return b"" if start == len(frame) else None
        stop = len(frame) - len(self._end)
        return frame[start:stop] if start < stop and frame.endswith(self._end) else None

    def learn(self, frame: bytes, value: dict[str, Any]) -> None:
        """Remember the bytes around the text and the usage of a frame that held nothing else.

        Args:
            frame: the whole frame.
            value: what it was read to.
        """
        # What was read in full may have told another usage.
        self._usage = b""
        if self._credit < _PRICE:
            return
        part = _only_text(value)
        if part is None or not is_plain(frame):
            return
        self._credit -= _PRICE
        found = _split(frame, counted=_USAGE.decode() in value)
        if found is None or not _same_but_text(found, value):
            return
        self.kind = "reasoning" if part.get("thought") is True else "text"
        self._before, self._middle, self._end, self._usage = found


def _unescaped(frame: bytes, start: int, stop: int) -> str:
    """Return the text of a string between its quotation marks."""
    if frame.find(b"\\", start, stop) < 0:
        text = str(frame[start:stop], "utf-8", "replace")
        # A control character is no JSON, and broken bytes are mended by the full reading.
        if text.isprintable() and "\ufffd" not in text:
            return text
    return str(wire.loads(frame[start - 1 : stop + 1]))


_Split = tuple[bytes, bytes, bytes | None, bytes]


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _only_text(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the one part, with text, of a response that says nothing besides."""
    found = value.get("candidates")
    if "error" in value or "promptFeedback" in value or not isinstance(found, list):
        return None
    candidate = found[0] if len(found) == 1 else None
    if not isinstance(candidate, dict) or candidate.keys() - {"content", "index"}:
        return None
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if candidate.get("index", 0) != 0 or not isinstance(parts, list) or len(parts) != 1:
        return None
    part = parts[0]
    if not isinstance(part, dict) or part.keys() - {"text", "thought"}:
        return None
    return part if isinstance(part.get("text"), str) else None


def _split(frame: bytes, *, counted: bool) -> _Split | None:
    """Return the bytes before the text, up to the usage, behind it, and the usage's own."""
    text = _TEXT.search(frame)
    inside = _INSIDE.match(frame, text.end()) if text is not None else None
    if text is None or inside is None:
        return None
    before, stop = frame[: text.end()], inside.end()
    if not counted:
        return before, frame[stop:], None, b""
    place = member_place(frame, _USAGE)
    if place is None or place[1] < stop:
        return None
    _, start, end = place
    return before, frame[stop:start], frame[end:], frame[start:end]


def _same_but_text(found: _Split, value: dict[str, Any]) -> bool:
    """Return whether another text between the bytes changes the text and nothing else."""
    before, middle, end, usage = found
    probe = before + _PROBE.encode() + middle + usage + (end or b"")
    try:
        other = wire.loads(frame_data(probe))
    except wire.WireError:
        return False
    candidate = dict(value["candidates"][0])
    content = dict(candidate["content"])
    content["parts"] = [{**content["parts"][0], "text": _PROBE}]
    candidate["content"] = content
    return bool(other == {**value, "candidates": [candidate]})
