"""Where a JSON array or object ends and how deep it nests, found without building it.

Regular expressions do the work: a Python statement for each bracket would cost more than
parsing. All are possessive, so that no document makes them look at a byte again and again.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import cache
from itertools import accumulate, count, islice
from operator import sub
from typing import TypeVar

T = TypeVar("T")

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
"""Levels that one pattern passes in one match; what is deeper is counted, not matched."""

_STRING = re.compile(STRING, re.DOTALL)
_WINDOW = STEP // 2  # what a pattern is shown at once
_COUNTED = 16_384  # bytes whose brackets are counted at once: two milliseconds at most
_SLOWER = 7  # times is counting slower than matching, at worst
_CUT = re.compile(rb'[^"]*+(?:' + STRING + rb'[^"]*+)*+', re.DOTALL)
_TOKEN = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_BRACKETS = b"[]{}"
_EACH = (b"[", b"]", b"{", b"}")
_FIRST = re.compile(rb"[ \t\r\n]*+(?=[\[{])")
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
    """Return the pattern of what stands in a value up to a child of more levels."""
    return re.compile(_CONTENT + rb"(?:" + nested(levels) + _CONTENT + rb")*+", re.DOTALL)


def walk(data: bytes, at: int, room: int) -> Generator[None, None, int]:
    """Find the end of the array or object that opens at ``at``.

    Pauses about every ``STEP`` bytes, in a long string as well. Numbers, words and commas
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
    depth, paused = 1, at
    at += 1
    while depth:
        start = at
        match = _children(min(USUAL, room - depth)).match(data, at, at + _WINDOW)
        at = match.end() if match else at
        first = data[at : at + 1]
        if first in (b"]", b"}"):
            at += 1
            depth -= 1
        elif at == start and first == b'"':
            at = yield from text(data, at)
        elif at == start:
            # A child that is too deep for the pattern, or too long for the window.
            at, depth = _counted(data, at, depth, room)
            paused -= _SLOWER * (at - start)
        if at - paused >= STEP:
            paused = at
            yield
    return at


def text(data: bytes, at: int) -> Generator[None, None, int]:
    """Find the end of the string that opens at ``at``, pausing every ``STEP`` bytes.

    Returns:
        the offset behind its closing quote.

    Raises:
        Broken: it does not end.
    """
    at += 1
    while True:
        start, stop = at, min(at + STEP, len(data))
        if data.find(b"\\", at, stop) < 0:
            # As media are: ten times as fast as looking at every byte.
            quote = data.find(b'"', at, stop)
            at = quote if quote >= 0 else stop
        elif match := _INSIDE.match(data, at, stop):
            at = match.end()
        if data[at : at + 1] == b'"':
            return at + 1
        if at == start:
            raise Broken(at)
        yield


def _counted(data: bytes, at: int, depth: int, room: int) -> tuple[int, int]:
    """Count brackets from one that opens at ``at``; return where that ended, and the depth there.

    It ends where the depth is 0, and at a string that is too long.
    """
    if data[at : at + 1] not in (b"[", b"{"):
        raise Broken(at)
    match = _CUT.match(data, at, at + _COUNTED)
    end = match.end() if match else at
    brackets = _STRING.sub(b"", data[at:end]).translate(_STEPS, _NOT_BRACKETS)
    depths = list(map(sub, accumulate(brackets, initial=depth), count()))
    closed = depths.index(0) if 0 in depths else len(depths)
    if max(depths[:closed]) > room:
        raise TooDeep
    if closed == len(depths):
        return end, depths[-1]
    found = (each.end() for each in _TOKEN.finditer(data, at) if each[0] in _EACH)
    return next(islice(found, closed - 1, None)), 0


def deeper(data: bytes, limit: int) -> bool:
    """Return whether a document has over ``limit`` levels, without building anything.

    Malformed JSON gives some answer; the parser that follows refuses it.
    """
    # Most documents cannot be too deep: they have too few brackets, strings included.
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    opening = _FIRST.match(data)
    at = opening.end() if opening else 0
    if len(data) <= STEP and _value(min(limit, USUAL)).match(data, at):
        return False
    return finished(deeper_in_steps(data, limit))


def deeper_in_steps(data: bytes, limit: int) -> Generator[None, None, bool]:
    """Do the same as ``deeper``, pausing about every 256 KiB."""
    opening = _FIRST.match(data)
    if opening is None:
        return False
    try:
        yield from walk(data, opening.end(), limit)
    except TooDeep:
        return True
    except Broken:
        return False
    return False


def finished(steps: Generator[None, None, T]) -> T:
    """Take all steps of something at once; return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration is not generic
