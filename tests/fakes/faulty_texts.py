"""Scripts of ``FaultyUpstream`` whose text or figures are strange."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kurolproxy.ir import ProtocolName
from tests.fakes.faulty import Script, Step
from tests.fakes.faulty_answers import (
    EMOJI,
    TEXT,
    good_frames,
    good_whole,
    opening_frames,
    sized,
    stream_head,
    streamed,
    unescaped,
    well,
)
from tests.faults.vendor import END, Asked, chunked


def rewritten(change: Callable[[bytes], bytes], *, whole_too: bool = False) -> Script:
    """Return a script that changes the bytes of its frames.

    Args:
        whole_too: of whole answers as well; they are streamed otherwise.
    """

    def script(asked: Asked) -> list[Step]:
        if whole_too and not asked.stream:
            return [sized(change(good_whole(asked.protocol)))]
        return [streamed(map(change, good_frames(asked.protocol)))]

    return script


def in_text(new: bytes) -> Script:
    """Return a script whose text holds these bytes in the place of an emoji."""
    return rewritten(lambda piece: piece.replace(EMOJI.encode(), new), whole_too=True)


def text_with(new: str) -> str:
    return TEXT.replace(EMOJI, new)


def nulls(asked: Asked) -> list[Step]:
    """Say nothing where something could be said."""
    if asked.stream:
        at = len(opening_frames(asked.protocol)) if asked.protocol != "gemini" else 0
        told = list(good_frames(asked.protocol))
        return [streamed([*told[:at], _NULLS[asked.protocol], *told[at:]])]
    body = json.loads(good_whole(asked.protocol))
    _NULLED[asked.protocol](body)
    return [sized(unescaped(body))]


_NULLS: Mapping[ProtocolName, bytes] = {
    "openai-chat": b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"plain",'
    b'"choices":[{"index":0,"delta":{"content":null,"tool_calls":null,"refusal":null},'
    b'"finish_reason":null,"logprobs":null}],"usage":null}\n\n',
    "openai-responses": b'event: response.in_progress\ndata: {"type":"response.in_progress",'
    b'"sequence_number":null,"response":{"id":"resp_up","object":"response","created_at":7,'
    b'"status":"in_progress","model":"plain","output":null,"usage":null,"error":null}}\n\n',
    "anthropic": b'event: ping\ndata: {"type":"ping","usage":null,"delta":null}\n\n',
    "gemini": b'data: {"candidates":null,"usageMetadata":null,"promptFeedback":null}\n\n',
}


def _null_chat(body: Any) -> None:
    body["choices"][0]["message"].update(tool_calls=None, refusal=None, reasoning_content=None)
    body["choices"][0]["logprobs"] = body["service_tier"] = None


def _null_responses(body: Any) -> None:
    body.update(error=None, incomplete_details=None, tools=None, metadata=None)


def _null_messages(body: Any) -> None:
    body.update(stop_sequence=None, container=None)


def _null_gemini(body: Any) -> None:
    body["candidates"][0].update(safetyRatings=None, citationMetadata=None)
    body["promptFeedback"] = None


_NULLED: Mapping[ProtocolName, Callable[[Any], None]] = {
    "openai-chat": _null_chat,
    "openai-responses": _null_responses,
    "anthropic": _null_messages,
    "gemini": _null_gemini,
}


def with_bom(asked: Asked) -> list[Step]:
    bom = b"\xef\xbb\xbf"
    if asked.stream:
        first, *rest = good_frames(asked.protocol)
        return [streamed([bom + first, *rest])]
    return [sized(bom + good_whole(asked.protocol))]


def commented(told: bytes) -> bytes:
    return b": a comment\n\n" + told.replace(b"data: ", b": another: data: {\ndata: ", 1)


def two_lines(told: bytes) -> bytes:
    """Write the JSON of a frame in two lines of data."""
    head, _, data = told.partition(b"data: ")
    if not data.startswith(b"{"):
        return told
    return head + b"data: {\ndata: " + data[1:]


def tight(told: bytes) -> bytes:
    """Leave out the space behind the names of fields."""
    return told.replace(b"data: ", b"data:", 1).replace(b"event: ", b"event:", 1)


def fielded(told: bytes) -> bytes:
    return b"id: 7\nretry: 10\nwhatever\nother: field\n" + told


def by_the_byte(asked: Asked) -> Iterator[Step]:
    """Send each byte of the body as a chunk and a write of its own."""
    if asked.stream:
        yield stream_head()
        for byte in b"".join(good_frames(asked.protocol)):
            yield chunked(bytes([byte]))
        yield END
    else:
        head, _, body = sized(good_whole(asked.protocol)).partition(b"\r\n\r\n")
        yield head + b"\r\n\r\n"
        for byte in body:
            yield bytes([byte])


def one_packet(asked: Asked) -> list[Step]:
    if not asked.stream:
        return well(asked)
    return [stream_head() + chunked(b"".join(good_frames(asked.protocol))) + END]


_FIGURES = frozenset(
    {
        "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
        "promptTokenCount", "candidatesTokenCount", "totalTokenCount",
    }
)  # fmt: skip
MISSING = object()


def using(value: Any) -> Script:
    """Return a script whose figures are all the same value."""
    return rewritten(lambda piece: _figured(piece, value), whole_too=True)


def _figured(piece: bytes, value: Any) -> bytes:
    head, found, data = (
        piece.partition(b"data: ") if piece.find(b"data: ") >= 0 else (b"", b"", piece)
    )
    if b'"usage' not in data:
        return piece
    end = data[len(data.rstrip()) :]
    return head + found + unescaped(_with_figures(json.loads(data), value)) + end


def _with_figures(value: Any, figure: Any) -> Any:
    match value:
        case dict():
            return {
                name: figure if name in _FIGURES else _with_figures(each, figure)
                for name, each in value.items()
                if not (figure is MISSING and name in ("usage", "usageMetadata"))
            }
        case list():
            return [_with_figures(each, figure) for each in value]
    return value


def using_twice(asked: Asked) -> list[Step]:
    """Tell other figures first, and then the right ones."""
    if not asked.stream:
        return well(asked)
    told: list[bytes] = []
    for each in good_frames(asked.protocol):
        if b'"usage' in each and asked.protocol in ("openai-chat", "anthropic"):
            told.append(_figured(each, 5))
        told.append(each)
    return [streamed(told)]
