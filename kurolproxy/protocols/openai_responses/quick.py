"""Reading the many deltas of a stream that differ in little but a piece of text.

Within one part of an item the bytes around the text are the same from event to event, but
for the event's number and for random letters that hide the length of the text. A ``Lesson``
remembers them from an event that was read in full; while they repeat and the text between
them needs no unescaping, the text is all there is to read. Anything else is left to the
full reading.
"""

from __future__ import annotations

from typing import Any

from kurolproxy.protocols import wire
from kurolproxy.protocols.openai_responses.blocks import Block
from kurolproxy.sse import read_frame

_TEXT = "delta"
_NUMBER = "sequence_number"
_PAD = "obfuscation"
_PROBE: dict[str, Any] = {_TEXT: "kurol probe", _NUMBER: 90125, _PAD: "aZ9"}
# A lesson costs about what a few quick readings save; where the bytes around the text
# never repeat, lessons stop when the credit is used up.
_CREDIT = 64
_PRICE = 4


class Lesson:
    """What the plain deltas of one part look like.

    Attributes:
        block: what the text that ``read`` returns belongs to.
    """

    __slots__ = ("_credit", "_spots", "_tail", "block")

    def __init__(self) -> None:
        self.block: Block | None = None
        self._credit = _CREDIT
        # In order: the bytes before something that changes, what ends it, and what it is.
        self._spots: list[tuple[bytes, bytes, str]] = []
        self._tail = b""

    def read(self, frame: bytes) -> str:
        """Return the text of a plain delta; "" when the frame has to be read in full."""
        at, text = 0, b""
        for before, end, name in self._spots:
            if not frame.startswith(before, at):
                return ""
            at += len(before)
            stop = frame.find(end, at)
            value = frame[at:stop]
            if name is _TEXT:
                text = value
            elif name is _NUMBER:
                # A number that begins with 0 is no JSON; the full reading says so.
                if not value.isdigit() or (value[0] == 0x30 and len(value) > 1):
                    return ""
            elif value and not value.isalnum():
                return ""
            at = stop
        if not text or b"\\" in text or frame[at:] != self._tail:
            return ""
        try:
            found = text.decode()
        except UnicodeDecodeError:
            return ""
        # A control character is no JSON either.
        if not found.isprintable():
            return ""
        self._credit += 1
        return found

    def learn(self, frame: bytes, event: dict[str, Any], block: Block) -> None:
        """Remember the bytes around the text of a delta.

        Args:
            frame: the whole frame.
            event: what it was read to.
            block: what its text was added to.
        """
        if self._credit < _PRICE:
            return
        self._credit -= _PRICE
        spots, tail = _around(frame, event)
        if not _same_but_changes(spots, tail, frame, event):
            return
        self.block = block
        self._spots, self._tail = spots, tail


def _around(frame: bytes, event: dict[str, Any]) -> tuple[list[tuple[bytes, bytes, str]], bytes]:
    """Return the bytes around what changes from one delta to the next."""
    found = [(*_place(frame, name, event[name]), name) for name in _PROBE if name in event]
    spots: list[tuple[bytes, bytes, str]] = []
    at = 0
    for start, stop, name in sorted(found):
        if start < at:
            return [], b""
        spots.append((frame[at:start], frame[stop : stop + 1], name))
        at = stop
    return spots, frame[at:]


def _place(frame: bytes, name: str, value: object) -> tuple[int, int]:
    """Return where a value stands in a frame, without its quotes; (-1, -1) if it is not plain."""
    if isinstance(value, str):
        literal, quotes = wire.quote(value), 1
    elif type(value) is int:
        literal, quotes = str(value).encode(), 0
    else:
        return -1, -1
    for colon in (b'":', b'": '):
        field = b'"' + name.encode() + colon + literal
        at = frame.find(field)
        if at >= 0:
            stop = at + len(field)
            return stop - len(literal) + quotes, stop - quotes
    return -1, -1


def _same_but_changes(
    spots: list[tuple[bytes, bytes, str]], tail: bytes, frame: bytes, event: dict[str, Any]
) -> bool:
    """Return whether other values at the spots change these fields and nothing else."""
    changes = {name: _PROBE[name] for _, _, name in spots}
    if _TEXT not in changes:
        return False
    probe = b"".join(before + str(changes[name]).encode() for before, _, name in spots) + tail
    name, data = read_frame(probe)
    try:
        other = wire.loads(data)
    except wire.WireError:
        return False
    return bool(other == {**event, **changes}) and name == read_frame(frame)[0]
