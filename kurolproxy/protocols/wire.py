"""The only loads and dumps of wire JSON: what orjson refuses becomes an error of ours."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import orjson

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import nesting

MAX_DEPTH = 100
"""Levels of nesting of a document, unless the caller says otherwise."""


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


def load_upstream(data: bytes) -> Any:
    """Read a document that an upstream wrote, mending what can be mended.

    Invalid UTF-8 and lone surrogates become U+FFFD; white space and a byte order mark
    before the document are skipped.

    Raises:
        WireError: it is not JSON, or too deep.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
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
    """Write one JSON document as text, for fields that hold JSON in a string."""
    return dumps(value).decode()
