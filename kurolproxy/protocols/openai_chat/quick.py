"""Reading the many chunks of a stream that differ in nothing but a piece of text.

Within one stream the bytes before and behind the text are the same from chunk to chunk.
A ``Lesson`` remembers them from a chunk that was read in full; while they repeat and the
text between them needs no unescaping, the text is all there is to read. Anything else is
left to the full reading.
"""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import BlockKind
from kurolproxy.protocols import wire

_KINDS: dict[str, BlockKind] = {
    "content": "text",
    "reasoning_content": "reasoning",
    "reasoning": "reasoning",
}
# Random letters that hide the length of the text (OpenAI, Mistral) change in each chunk.
_PADS = (b'"obfuscation":"', b'"p":"')
_PROBE = "kurol probe"
# A lesson costs about what a few quick readings save; where the bytes around the text
# never repeat, lessons stop when the credit is used up.
_CREDIT = 64
_PRICE = 4


class Lesson:
    """What one stream's plain chunks look like.

    Attributes:
        kind: of the text that ``read`` returns.
    """

    __slots__ = ("_after", "_before", "_credit", "_end", "kind")

    def __init__(self) -> None:
        self.kind: BlockKind = "text"
        self._credit = _CREDIT
        self._before = b""
        # Behind the text: the bytes up to the padding, and those behind it; where there
        # is no padding the second is None.
        self._after = b""
        self._end: bytes | None = None

    def read(self, frame: bytes) -> str:
        """Return the text of a plain chunk; "" when the frame has to be read in full."""
        before = self._before
        if not before or not frame.startswith(before):
            return ""
        start = len(before)
        stop = frame.find(b'"', start)
        end = self._end
        if end is None:
            if frame[stop:] != self._after:
                return ""
        elif not (frame.startswith(self._after, stop) and frame.endswith(end)):
            return ""
        else:
            pad = frame[stop + len(self._after) : len(frame) - len(end)]
            if not pad.isalnum() and len(frame) != stop + len(self._after) + len(end):
                return ""
        literal = frame[start:stop]
        if b"\\" in literal:
            return ""
        try:
            text = literal.decode()
        except UnicodeDecodeError:
            return ""
        # A control character is no JSON; the full reading says so.
        if not text.isprintable():
            return ""
        self._credit += 1
        return text

    def learn(self, frame: bytes, chunk: dict[str, Any]) -> None:
        """Remember the bytes around the text of a chunk that held nothing else.

        Args:
            frame: the whole frame.
            chunk: what it was read to.
        """
        if self._credit < _PRICE:
            return
        found = _only_text(chunk)
        if found is None:
            return
        self._credit -= _PRICE
        name, text = found
        split = _split(frame, name, text)
        if split is None or not _same_but_text(split, chunk, name):
            return
        self.kind = _KINDS[name]
        self._before, self._after = split
        self._end = None
        for pad in _PADS:
            at = self._after.find(pad)
            if at >= 0:
                stop = self._after.find(b'"', at + len(pad))
                self._after, self._end = self._after[: at + len(pad)], self._after[stop:]
                return


def _only_text(chunk: dict[str, Any]) -> tuple[str, str] | None:
    """Return the one field with text of a chunk that says nothing besides."""
    choices = chunk.get("choices")
    if chunk.get("usage") is not None or "x_groq" in chunk or "error" in chunk:
        return None
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    if not isinstance(choice, dict) or choice.get("index") or choice.get("finish_reason"):
        return None
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return None
    said = [name for name, value in delta.items() if value and name != "role"]
    if len(said) != 1 or said[0] not in _KINDS or not isinstance(delta[said[0]], str):
        return None
    return said[0], delta[said[0]]


def _split(frame: bytes, name: str, text: str) -> tuple[bytes, bytes] | None:
    """Return the bytes of a frame before and behind the text of a field."""
    if not frame.startswith(b"data: {"):
        return None
    literal = wire.quote(text)
    for colon in (b'":', b'": '):
        field = b'"' + name.encode() + colon + literal
        at = frame.find(field)
        if at >= 0:
            stop = at + len(field)
            return frame[: stop - len(literal) + 1], frame[stop - 1 :]
    return None


def _same_but_text(split: tuple[bytes, bytes], chunk: dict[str, Any], name: str) -> bool:
    """Return whether another text between the bytes changes that field and nothing else."""
    probe = (split[0] + _PROBE.encode() + split[1]).removeprefix(b"data: ")
    try:
        other = wire.loads(probe)
    except wire.WireError:
        return False
    expected = dict(chunk)
    choice = dict(chunk["choices"][0])
    choice["delta"] = {**choice["delta"], name: _PROBE}
    expected["choices"] = [choice]
    return bool(other == expected)
