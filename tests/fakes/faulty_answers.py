"""Good answers of ``FaultyUpstream``, whole and in parts, to be spoiled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import PLANTED
from tests.fakes.faulty import Script, Step
from tests.fakes.recordings import Figures
from tests.faults.vendor import END, Asked, chunked
from tests.pairs.vendors import Turn, begun, frames, whole

TOKEN = "sk-planted-0123456789abcdef0123456789"  # nobody's
"""A key that no configuration holds, in the words of errors."""
EMOJI = "\U0001f600"
WORDS = ("To begin: ", f"Grüße {EMOJI} 漢字, ", "that was all.")
TEXT = "".join(WORDS)
LONG_TEXT = TEXT.replace(WORDS[1], WORDS[1] + "y" * 10_000_000)
USAGE = Figures(prompt=30, completion=12)
EVER = 600.0
BREATH = 0.1
THOUGHT = 0.6
"""How long a model thinks in silence."""
MEGABYTE = b"x" * 1_000_000
TURN = Turn(words=WORDS, usage=USAGE)
_CRLF = b"\r\n"

# --- good answers, to be spoiled ------------------------------------------------------------


def unescaped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def plain(told: bytes) -> bytes:
    """Return a frame with its characters as they are, and lines that end with LF."""
    head, found, data = told.replace(b"\r\n", b"\n").partition(b"data: ")
    if not found or not data.startswith(b"{"):
        return told
    return head + found + unescaped(json.loads(data)) + b"\n\n"


@cache
def good_frames(protocol: ProtocolName) -> tuple[bytes, ...]:
    return tuple(map(plain, frames(protocol, TURN)))


@cache
def begun_frames(protocol: ProtocolName) -> tuple[bytes, ...]:
    """Return the frames of the answer up to its last word."""
    return tuple(map(plain, begun(protocol, TURN)))


@cache
def opening_frames(protocol: ProtocolName) -> tuple[bytes, ...]:
    """Return what comes before any content."""
    found = good_frames(protocol)
    first = next(at for at, each in enumerate(found) if WORDS[0].encode() in each)
    # Gemini's first frame is content already.
    return found[:first] or (b'data: {"responseId":"up","modelVersion":"plain"}\n\n',)


@cache
def first_frames(protocol: ProtocolName) -> tuple[bytes, ...]:
    """Return the frames of the answer up to its first word."""
    found = good_frames(protocol)
    return found[: 1 + next(at for at, each in enumerate(found) if WORDS[0].encode() in each)]


@cache
def good_whole(protocol: ProtocolName) -> bytes:
    return unescaped(whole(protocol, TURN))


PINGS: Mapping[ProtocolName, bytes] = {
    "openai-chat": b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"plain",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n',
    "openai-responses": b'event: response.in_progress\ndata: {"type":"response.in_progress",'
    b'"sequence_number":1,"response":{"id":"resp_up","object":"response","created_at":7,'
    b'"status":"in_progress","model":"plain","output":[]}}\n\n',
    "anthropic": b'event: ping\ndata: {"type":"ping"}\n\n',
    "gemini": b'data: {"responseId":"up","modelVersion":"plain"}\n\n',
}

# Nobody looks into a ping.
EMPTY = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":""}}\n\n'
)

# --- HTTP -----------------------------------------------------------------------------------


def head_of(*lines: str, status: str = "200 OK") -> bytes:
    """Return a head with the headers that must not pass."""
    planted = [f"{name}: {value}" for name, value in PLANTED.items() if name != "location"]
    return "\r\n".join([f"HTTP/1.1 {status}", *planted, "x-evil: 1", *lines, "", ""]).encode()


def sized(
    body: bytes, kind: str = "application/json", *lines: str, status: str = "200 OK"
) -> bytes:
    size = f"content-length: {len(body)}"
    return head_of(f"content-type: {kind}", size, *lines, status=status) + body


def stream_head(*lines: str) -> bytes:
    return head_of("content-type: text/event-stream", "transfer-encoding: chunked", *lines)


def streamed(told: Iterable[bytes], *lines: str) -> bytes:
    """Return a whole streamed answer, each frame a chunk of its own."""
    return b"".join([stream_head(*lines), *map(chunked, told), END])


def well(asked: Asked) -> list[Step]:
    """Answer well."""
    if asked.stream:
        return [streamed(good_frames(asked.protocol))]
    return [sized(good_whole(asked.protocol))]


def always(*steps: Step) -> Script:
    """Return a script that does not look at what it is asked."""
    return lambda asked: steps
