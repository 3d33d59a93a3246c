"""A vendor that fails in every way there is: a script for each."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import failure
from tests.faults.vendor import (
    END,
    JSON_HEAD,
    STREAM_HEAD,
    Asked,
    Break,
    Script,
    Step,
    chunked,
    pieces,
    quick,
)

_EVER = 600.0
_STATUS = b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
_FIGURE = re.compile(
    rb'("(?:prompt_tokens|completion_tokens|total_tokens|input_tokens|output_tokens'
    rb'|promptTokenCount|candidatesTokenCount|totalTokenCount)": ?)\d+'
)
_USAGE = re.compile(rb'"(usage|usageMetadata)"')
# More than the buffers of all sockets on the way together hold.
_FLOOD = 200


def _steps(*steps: Step) -> Script:
    """Return a script that does not look at what it is asked."""
    return lambda asked: list(steps)


def _whole(body: bytes, kind: bytes = b"application/json") -> bytes:
    return JSON_HEAD.replace(b"application/json", kind) % len(body) + body


def _middle(*after: Step) -> Script:
    """Return a script that begins its answer well, and ends it like this."""

    def script(asked: Asked) -> list[Step]:
        made = pieces(asked)
        if asked.stream:
            half = made[: len(made) - 2]
            return [b"".join([STREAM_HEAD, *map(chunked, half)]), *after]
        return [JSON_HEAD % len(made[0]) + made[0][:-20], *after]

    return script


def _changed(change: Callable[[bytes], bytes]) -> Script:
    """Return a script whose answer is whole, with something else in its bytes."""

    def script(asked: Asked) -> list[Step]:
        made = [change(each) for each in pieces(asked)]
        if asked.stream:
            return [b"".join([STREAM_HEAD, *map(chunked, made), END])]
        return [_whole(made[0])]

    return script


def _figures(value: bytes) -> Script:
    return _changed(lambda piece: _FIGURE.sub(rb"\g<1>" + value, piece))


def _failing(status: int, **headers: str) -> Script:
    def script(asked: Asked) -> list[Step]:
        answer = failure(status, protocol=asked.protocol, headers=headers)
        body = b"".join(each for each in answer.steps if isinstance(each, bytes))
        lines = "".join(f"{k}: {v}\r\n" for k, v in answer.headers.items()).encode()
        return [_STATUS % (status, len(body), lines, body)]

    return script


def _no_end(asked: Asked) -> list[Step]:
    """End a stream in good order, without the event that says that it is whole."""
    return [*_middle(END)(asked)] if asked.stream else [_whole(b"{}")]


def _ends_and_hangs(asked: Asked) -> list[Step]:
    made = quick(asked)
    if not asked.stream:
        return [*made, b"more", _EVER]
    return [b"".join(each for each in made if isinstance(each, bytes)).removesuffix(END), _EVER]


def _error_event(asked: Asked) -> list[Step]:
    """Report an error in the middle of a stream."""
    return [*_middle(chunked(_LATE[asked.protocol]), END)(asked)] if asked.stream else quick(asked)


_LATE: Mapping[ProtocolName, bytes] = {
    "openai-chat": b'data: {"error":{"message":"no","type":"server_error"}}\n\n',
    "openai-responses": b'event: error\ndata: {"type":"error","code":"server_error",'
    b'"message":"no","sequence_number":9}\n\n',
    "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
    b'"message":"no"}}\n\n',
    "gemini": b'data: {"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}\n\n',
}


def _other_form(asked: Asked) -> list[Step]:
    """Answer a stream with JSON, and the reverse."""
    return quick(Asked(asked.protocol, asked.model, not asked.stream, asked.number))


def _flooding(asked: Asked) -> list[Step]:
    """Answer far more than the sockets on the way hold."""
    made = pieces(asked)
    if not asked.stream:
        body = json.loads(made[0])
        return [_whole(json.dumps({**body, "more": "x" * 4_000_000}).encode())]
    comment = chunked(b": " + b"x" * 20_000 + b"\n\n")
    return [b"".join([STREAM_HEAD, *map(chunked, made[:-1])]), *[comment] * _FLOOD, END]


AILMENTS: Mapping[str, Script] = {
    "close-first": _steps(Break.CLOSE),
    "rst-first": _steps(Break.RESET),
    "hang-first": _steps(_EVER),
    "hang-headers": _steps(b"HTTP/1.1 200 OK\r\ncontent-type: te", _EVER),
    "comments": _steps(STREAM_HEAD, chunked(b": wait\n\n") * 3, _EVER),
    "hang-mid": _middle(_EVER),
    "rst-mid": _middle(Break.RESET),
    "close-mid": _middle(Break.CLOSE),
    "eof-no-done": _no_end,
    "done-then-hang": _ends_and_hangs,
    "garbage": _steps(b"\x00\x01garbage\r\n\r\n" * 20, Break.CLOSE),
    "garbage-status": _steps(b"HTTP/1.1 2x0 OK\r\n\r\n", Break.CLOSE),
    "headers-1MB": _steps(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 130_000, Break.CLOSE),
    "te-evil": _steps(b"HTTP/1.1 200 OK\r\ntransfer-encoding: evil\r\n\r\n", Break.CLOSE),
    "s204": _steps(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "s304": _steps(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "truncated-json": _changed(lambda piece: piece[: len(piece) // 2]),
    "html-200": _steps(_whole(b"<html>Sorry</html>", b"text/html")),
    "empty-200": _steps(_whole(b"")),
    "error-200": _steps(_whole(b'{"error":{"message":"no","type":"server_error"}}')),
    "error-event": _error_event,
    "bad-json-event": _changed(lambda piece: piece.replace(b"{", b"{,", 1)),
    "other-form": _other_form,
    "invalid-utf8": _changed(lambda piece: piece.replace(b"answer", b"\xff\xfe")),
    "endless-line": _steps(STREAM_HEAD, *[chunked(b"data: " + b"x" * 1_000_000)] * 3, END),
    "gzip": _steps(
        _whole(gzip.compress(b"{}" * 100)).replace(
            b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n", 1
        )
    ),
    "redirect": _steps(
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"
    ),
    "usage-missing": _changed(lambda piece: _USAGE.sub(b'"other"', piece)),
    "usage-negative": _figures(b"-5"),
    "usage-huge": _figures(b"99999999999999999999"),
    "usage-string": _figures(b'"many"'),
    "usage-null": _figures(b"null"),
    "usage-list": _figures(b"[1, 2]"),
    "usage-float": _figures(b"1.5"),
    "flooding": _flooding,
    **{f"s{each}": _failing(each) for each in (400, 401, 402, 403, 404, 409, 413, 422)},
    **{f"s{each}": _failing(each) for each in (429, 500, 502, 503, 529)},
    "s429-later": _failing(429, **{"retry-after": "7"}),
}
"""What the vendor does, by the name of the model that is asked."""
