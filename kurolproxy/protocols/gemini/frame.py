"""Frames of a Gemini stream as bytes: their data, and where a member of it stands."""

from __future__ import annotations

import re

from kurolproxy.sse import read_frame

_BREAKS = b"\r\n"
# Whole strings, so that what they hold is not looked at, and brackets.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}]', re.DOTALL)
_COLON = re.compile(rb"\s*+:\s*+")
_SCALAR = re.compile(rb"[^\s,}\]]*+")


def is_plain(frame: bytes) -> bool:
    """Return whether a frame is one line ``data: {...}``, the only form that every SDK reads."""
    return frame.startswith(b"data: ") and b"\n" not in frame.rstrip(_BREAKS)


def frame_data(frame: bytes) -> bytes:
    """Return the data of a frame; "" for a comment.

    An error in the middle of a stream may come as bare JSON, without any field name.
    """
    if is_plain(frame):
        return frame[6:].rstrip(_BREAKS)
    _, data = read_frame(frame)
    if data:
        return data
    bare = frame.strip()
    return bare if bare.startswith((b"{", b"[")) else b""


def member_place(data: bytes, name: bytes) -> tuple[int, int, int] | None:
    """Return where a top-level member of an object stands: its key, its value, its end.

    Args:
        data: a JSON object, or a frame that holds one; known to be well formed.
        name: the member's name.
    """
    key = b'"%b"' % name
    depth = 0
    for token in _TOKEN.finditer(data):
        first = data[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and token.group() == key:
            colon = _COLON.match(data, token.end())
            if colon is not None:
                return token.start(), colon.end(), _value_end(data, colon.end())
    return None


def _value_end(data: bytes, start: int) -> int:
    scalar = _SCALAR.match(data, start)
    if scalar is not None and data[start : start + 1] not in (b'"', b"{", b"["):
        return scalar.end()
    depth = 0
    for token in _TOKEN.finditer(data, start):
        first = data[token.start()]
        depth += (first in b"{[") - (first in b"}]")
        if depth == 0:
            return token.end()
    return len(data)
