"""The only loads and dumps of wire JSON: what orjson refuses becomes an error of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from itertools import pairwise
from typing import Any

import orjson

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import nesting

MAX_DEPTH = 100
"""Levels of nesting of a document, unless the caller says otherwise."""

_BOM = b"\xef\xbb\xbf"


class WireError(ValueError):
    """A document of JSON that we do not take: malformed, too deep, or not UTF-8."""


def too_deep(data: bytes, limit: int = MAX_DEPTH) -> bool:
    """Return whether the document nests over ``limit`` levels, without building anything.

    Malformed JSON gives some answer; the parser that follows refuses it.
    """
    return nesting.deeper(data, limit)


def loads(data: bytes | str, max_depth: int | None = MAX_DEPTH) -> Any:
    """Read one JSON document.

    Args:
        max_depth: levels of nesting; None when they were counted already.

    Raises:
        WireError: with a text for the caller; it never quotes the document.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if max_depth is not None and too_deep(raw, max_depth):
        raise WireError(f"nested deeper than {max_depth} levels")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise WireError(f"not valid JSON: {error.msg} at byte {error.pos}") from None


def load_object(data: bytes, max_depth: int | None = MAX_DEPTH) -> dict[str, Any]:
    """Read the JSON object of a request.

    Args:
        max_depth: levels of nesting; None when a scan counted them already.

    Raises:
        BadRequest: it is not JSON, too deep, or not an object.
    """
    try:
        value = loads(data, max_depth)
    except WireError as error:
        raise BadRequest(f"The request body is {error}.") from None
    if not isinstance(value, dict):
        raise BadRequest("The request body must be a JSON object.")
    return value


def load_object_in_steps(data: bytes, max_depth: int) -> Generator[None, None, dict[str, Any]]:
    """Do the same as ``load_object``, pausing where that can be done."""
    if len(data) <= nesting.STEP:
        return load_object(data, max_depth)
    if (yield from nesting.deeper_in_steps(data, max_depth)):
        raise BadRequest(f"The request body is nested deeper than {max_depth} levels.")
    yield
    return load_object(data, None)


def load_upstream(data: bytes) -> Any:
    """Read a document that an upstream wrote, mending what can be mended.

    Invalid UTF-8 and lone surrogates become U+FFFD; white space and a byte order mark
    before the document are skipped.

    Raises:
        WireError: it is not JSON, or too deep.
    """
    data = data.removeprefix(_BOM)
    try:
        return loads(data)
    except WireError:
        mended = _mend(data)
        if mended == data:
            raise
        return loads(mended)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def _mend(data: bytes) -> bytes:
    text = data.decode("utf-8", "replace").encode()
    out: list[bytes] = []
    at = 0
    # A high half directly before a low half is a pair; any other half stands alone.
    halves = [half for half in _SURROGATE.finditer(text) if not _escaped(text, half.start())]
    paired: set[int] = set()
    for first, second in pairwise(halves):
        if (
            first.end() == second.start()
            and first.start() not in paired
            and int(first.group()[2:], 16) < 0xDC00 <= int(second.group()[2:], 16)
        ):
            paired |= {first.start(), second.start()}
    for half in halves:
        if half.start() in paired:
            continue
        out.append(text[at : half.start()] + b"\\ufffd")
        at = half.end()
    return b"".join(out) + text[at:]


def _escaped(text: bytes, at: int) -> bool:
    """Return whether the backslash at ``at`` is itself escaped."""
    before = at
    while before and text[before - 1] == 0x5C:
        before -= 1
    return (at - before) % 2 == 1


# --- integers of more than 64 bits: the parser makes floats of them, without a word ---------

_ZEROS = bytes(0x30 if 0x30 <= each <= 0x39 else each for each in range(256))
_LONG = b"0" * 19  # the shortest integer that may have more than 64 bits
# A string, or what is left of one that does not end.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
# A long run of digits that is a number of its own, not a part of a fraction.
_INTEGER = re.compile(rb"(?<![0-9.eE+-])-?[0-9]{19,}+(?![.eE])")
_MIN_INTEGER = -(2**63)
_MAX_INTEGER = 2**64 - 1


def has_big_integer(data: bytes) -> bool:
    """Return whether a document holds an integer of more than 64 bits.

    Numbers with a fraction or an exponent are floats whatever their length. Malformed
    JSON gives some answer.
    """
    # Nearly every document is done here, ten times as fast as a regular expression.
    if _LONG not in data.translate(_ZEROS):
        return False
    return any(_is_big(found[0]) for found in _INTEGER.finditer(_STRING.sub(b'""', data)))


def _is_big(digits: bytes) -> bool:
    return len(digits) > 20 or not _MIN_INTEGER <= int(digits) <= _MAX_INTEGER


def refuse_big_integers(body: bytes) -> None:
    """Check a request that is going to be translated, which would change such integers.

    Raises:
        BadRequest: it holds an integer of more than 64 bits.
    """
    if has_big_integer(body):
        raise BadRequest(
            "The request holds an integer of more than 64 bits, which cannot be translated."
        )


def load_exact(data: bytes) -> Any:
    """Read a document as ``load_upstream`` does, its integers exact whatever their size.

    ``compact`` writes them as they were; ``dumps`` refuses them.

    Raises:
        WireError: it is not JSON, too deep, or a number is beyond what a float can hold.
    """
    value = load_upstream(data)
    if not has_big_integer(data):
        return value
    return json.loads(_mend(data.removeprefix(_BOM)))


def raw(text: str) -> Any:
    """Return a value that ``dumps`` writes as this text, which is known to be JSON."""
    return orjson.Fragment(text)


def _exact(value: Any) -> Any:
    """Return a value whose integers ``dumps`` can write."""
    match value:
        case dict():
            return {name: _exact(each) for name, each in value.items()}
        case list():
            return [_exact(each) for each in value]
        case int() if not _MIN_INTEGER <= value <= _MAX_INTEGER:
            return raw(str(value))
    return value


# --- writing --------------------------------------------------------------------------------


def dumps(value: Any) -> bytes:
    """Write one JSON document.

    Raises:
        BadRequest: it holds what JSON or orjson cannot say: a lone surrogate, an integer
            over 64 bits, deep nesting.
    """
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise BadRequest(f"The request cannot be written as JSON: {error}") from None


def quote(text: str) -> bytes:
    """Write one JSON string, quotes included; what UTF-8 cannot hold becomes U+FFFD."""
    try:
        return orjson.dumps(text)
    except (orjson.JSONEncodeError, TypeError):
        return orjson.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def compact(value: Any) -> str:
    """Write one JSON document as text, for fields that hold JSON in a string.

    Unlike in ``dumps``, integers may have any size: in the text nobody reads them.
    """
    try:
        return dumps(value).decode()
    except BadRequest:
        return dumps(_exact(value)).decode()
