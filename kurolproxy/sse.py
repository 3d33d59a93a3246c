"""Server-sent events: bytes in, frames out, wherever the network cut them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# A frame ends with an empty line. LF and CRLF end a line, in any mixture, so the
# end of a frame is \n\n, \n\r\n, \r\n\n or \r\n\r\n: always LF, optional CR, LF.
_BLANK = re.compile(rb"\n\r?\n")
_BOM = b"\xef\xbb\xbf"
_ENDS = (b"\n\n", b"\n\r\n")
# The first LF of what looks like the last blank line may belong to the one before it.
_OVERLAPS = (b"\n\n\n", b"\n\r\n\n", b"\n\n\r\n", b"\n\r\n\r\n")


class FrameTooLarge(ValueError):
    """A frame outgrew its limit."""


class FrameSplitter:
    """Split a byte stream into SSE frames, wherever the network cut it.

    A frame is everything up to and including a blank line; joined together, the
    frames are the input, byte for byte.

    Args:
        max_frame_bytes: what one frame may hold before the stream is given up.

    Raises:
        FrameTooLarge: from ``cut`` and ``split``, when a frame outgrew ``max_frame_bytes``.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    (LF and CRLF end a line here, in any mixture; a lone CR does not.)
    """

    __slots__ = ("_max", "_parts", "_size", "_tail")

    def __init__(self, max_frame_bytes: int) -> None:
        self._max = max_frame_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""

    @property
    def pending(self) -> bool:
        """Whether part of a frame is held."""
        return self._size > 0

    def cut(self, data: bytes) -> bytes:
        """Return every whole frame that ``data`` completes, as one piece.

        When nothing is held and ``data`` ends with a frame, that is ``data`` itself,
        the same object.
        """
        if (
            not self._size
            and data.endswith(_ENDS)
            and not data.endswith(_OVERLAPS)
            and len(data) <= self._max
        ):
            return data
        # A separator is at most 3 bytes from its first LF: rescan only the last 2.
        seen = len(self._tail)
        window = self._tail + data if seen else data
        end = _last_blank(window)
        if end < 0:
            self._hold(data, window)
            return b""
        end -= seen
        rest = data[end:]
        self._parts.append(data[:end] if rest else data)
        whole = b"".join(self._parts) if len(self._parts) > 1 else self._parts[0]
        self._parts.clear()
        self._size = 0
        self._tail = b""
        # What is no larger than one frame may be needs no look at its frames.
        if len(whole) > self._max and max(map(len, frames(whole))) > self._max:
            raise self._too_large()
        if rest:
            self._hold(rest, rest)
        return whole

    def split(self, data: bytes) -> list[bytes]:
        """Return the frames that ``data`` completes."""
        whole = self.cut(data)
        return list(frames(whole)) if whole else []

    def rest(self) -> bytes:
        """Return what is held, and hold nothing."""
        held = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._tail = b""
        return held

    def _hold(self, data: bytes, window: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._max:
            raise self._too_large()
        self._tail = window[-2:]

    def _too_large(self) -> FrameTooLarge:
        return FrameTooLarge(f"an event of the stream is larger than {self._max} bytes")


def _last_blank(data: bytes) -> int:
    """Return the end of the last blank line of ``data``, or -1."""
    plain = data.rfind(b"\n\n")
    mixed = data.rfind(b"\n\r\n")
    if plain < 0 and mixed < 0:
        return -1
    end = max(plain + 2 if plain >= 0 else -1, mixed + 3 if mixed >= 0 else -1)
    if data.endswith(_OVERLAPS, max(end - 5, 0), end):
        # Several empty lines: only counting from the front tells which two LF are a pair.
        *_, last = _BLANK.finditer(data)
        end = last.end()
    return end


def frames(data: bytes) -> Iterable[bytes]:
    """Return the frames of ``data``; joined they are ``data``, whatever it ends with."""
    if len(data) > 1 and data.find(b"\n\n") == len(data) - 2 and b"\n\r\n" not in data:
        # Most reads of a paced stream are one frame.
        return (data,)
    return _several(data)


def _several(data: bytes) -> Iterator[bytes]:
    start = 0
    for blank in _BLANK.finditer(data):
        end = blank.end()
        if end > start:
            yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]


def read_frame(frame: bytes) -> tuple[str, bytes]:
    """Return the event name and the data of one frame.

    Several ``data:`` lines are joined by LF; comments and unknown fields are
    skipped; a missing space after the colon is accepted.

    Returns:
        ``("", data)`` when there is no ``event:`` line; data is empty for a comment.
    """
    # Every vendor's usual frame is one data line: take it without splitting lines.
    if frame.startswith(b"data: ") and frame.find(b"\n") >= len(frame) - 2:
        return "", frame[6:].rstrip(b"\r\n")
    name = b""
    data: list[bytes] = []
    for line in frame.removeprefix(_BOM).split(b"\n"):
        field, _, value = line.removesuffix(b"\r").partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return name.decode("utf-8", "replace"), b"\n".join(data)
