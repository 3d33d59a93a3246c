"""Where a JSON array or object ends and how deep it nests, found without building it.

Regular expressions do the work: a Python statement for each bracket would cost more than
parsing. All are possessive, so that no document makes them look at a byte again and again.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import cache
from itertools import accumulate, count
from operator import sub

STEP = 262_144
"""Bytes after which ``walk`` pauses."""

# A quote behind an odd number of backslashes closes nothing. Looking at every backslash
# takes three times as long as looking at every quote: so quotes are looked at, and only a
# string that has six backslashes before one of them is read the slow way.
_ODD = rb'(?<=[^\\]\\")|(?<=[^\\]\\\\\\")|(?<=[^\\]\\\\\\\\\\")'
_EVEN = rb'(?<!\\")|(?<=[^\\]\\\\")|(?<=[^\\]\\\\\\\\")'
_BY_QUOTES = rb'"[^"]*+"(?:(?<=\\")(?:' + _ODD + rb')[^"]*+")*+(?:' + _EVEN + rb")"
_BY_BACKSLASHES = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
STRING = rb"(?:" + _BY_QUOTES + rb"|" + _BY_BACKSLASHES + rb")"
"""A JSON string, for patterns compiled with ``re.DOTALL``."""

_OTHER = rb'[^"{}\[\]]*+'
_CONTENT = _OTHER + rb"(?:" + STRING + _OTHER + rb")*+"

USUAL = 14
"""Levels that nearly every value stays within: patterns for more are made when needed."""
_MOST = 100  # the compiler of patterns is recursive

_STRING = re.compile(STRING, re.DOTALL)
_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(each for each in range(256) if each not in _BRACKETS)
# An opening bracket counts 2, a closing one 0: less the number of brackets so far, the
# running sum is the depth.
_STEPS = bytes.maketrans(_BRACKETS, bytes([2, 0, 2, 0]))


class TooDeep(ValueError):
    """A value nests deeper than allowed."""


class Broken(ValueError):
    """This is not JSON.

    Args:
        at: the offset where that showed.
    """

    def __init__(self, at: int) -> None:
        super().__init__(f"not valid JSON at byte {at}")
        self.at = at


@cache
def nested(levels: int) -> bytes:
    """Return the pattern of an array or object of at most so many levels."""
    if levels <= 0:
        return rb"(?!)"
    inner = rb"(?:" + nested(levels - 1) + _CONTENT + rb")*+" if levels > 1 else rb""
    return rb"[{\[]" + _CONTENT + inner + rb"[}\]]"


@cache
def _value(levels: int) -> re.Pattern[bytes]:
    return re.compile(nested(levels), re.DOTALL)


@cache
def _children(levels: int) -> re.Pattern[bytes]:
    """Return the pattern of what stands in a value up to a child of more levels.

    It passes 64 children in one match, so that a walk can pause.
    """
    return re.compile(_CONTENT + rb"(?:" + nested(levels) + _CONTENT + rb"){0,64}+", re.DOTALL)


def walk(data: bytes, at: int, room: int) -> Generator[None, None, int]:
    """Find the end of the array or object that opens at ``at``.

    Pauses between its children, about every ``STEP`` bytes. Numbers, words and commas
    are not looked at, and brackets of both kinds may close each other: the parser of the
    document refuses that.

    Args:
        room: how many levels the value may have, itself included.

    Returns:
        the offset behind its closing bracket.

    Raises:
        TooDeep: it has more levels.
        Broken: it does not end.
    """
    if room < 1:
        raise TooDeep
    levels = min(USUAL, room - 1)
    paused = at
    at += 1
    while True:
        start = at
        match = _children(levels).match(data, at)
        at = match.end() if match else at
        if data[at : at + 1] in (b"]", b"}"):
            return at + 1
        if at == start and levels < min(_MOST, room - 1):
            levels = min(_MOST, room - 1)
        elif at == start:
            at = yield from _enter(data, at, room - 1)
        if at - paused >= STEP:
            paused = at
            yield


def _enter(data: bytes, at: int, room: int) -> Generator[None, None, int]:
    """Walk through a child that no pattern matched."""
    if data[at : at + 1] not in (b"[", b"{"):
        raise Broken(at)
    if room > _MOST:
        return (yield from walk(data, at, room))
    raise TooDeep if _depth(data[at:]) > room else Broken(at)


def _depth(data: bytes) -> int:
    """Return the deepest level of a document, whether its brackets match or not."""
    steps = _STRING.sub(b"", data).translate(_STEPS, _NOT_BRACKETS)
    return max(map(sub, accumulate(steps), count(1)), default=0)


def deeper(data: bytes, limit: int) -> bool:
    """Return whether a document has over ``limit`` levels, without building anything.

    Malformed JSON gives some answer; the parser that follows refuses it.
    """
    # Most documents cannot be too deep: they have too few brackets, strings included.
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    opening = re.search(rb"[^ \t\r\n]", data)
    at = opening.start() if opening else 0
    match = _value(min(limit, USUAL)).match(data, at)
    return match is None and _depth(data) > limit
