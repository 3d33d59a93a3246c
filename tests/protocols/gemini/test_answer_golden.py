"""Golden files of Gemini's answers, both ways: bytes, events, usage, and what the SDK reads.

``KUROL_UPDATE_GOLDEN=1`` rewrites the expected files; read the diff like code.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kurolproxy.ir import Failure, Finish
from kurolproxy.protocols import wire
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.gemini.error import decode_error
from kurolproxy.protocols.gemini.response import decode_response, encode_response
from kurolproxy.protocols.gemini.stream_encode import GeminiArrayEncoder, GeminiEncoder
from tests.protocols.gemini.answering import (
    context,
    decode,
    sdk_answer,
    sdk_elements,
    sdk_parts,
    sdk_stream,
)
from tests.protocols.goldens import cases, golden, golden_json, golden_read, stems, unexplained
from tests.protocols.streaming import CUTS, check_named, cut

RESPONSES = cases("gemini", "response", "json")
STREAMS = cases("gemini", "stream", "sse")
ERRORS = cases("gemini", "error", "json", "txt", "html")
NO_ANSWERS = (
    "array_cut",
    "array_error",
    "error_in_200",
    "malformed_call",
    "no_candidates",
    "other_protocol",
    "unexpected_call",
)


def test_every_folder_has_cases() -> None:
    assert len(RESPONSES) >= 25
    assert len(STREAMS) >= 35
    assert len(ERRORS) >= 12


def test_every_case_is_explained() -> None:
    assert unexplained("ORIGINS-answer.md", (*RESPONSES, *STREAMS, *ERRORS)) == []


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_read(path: Path) -> None:
    events = decode_response(wire.load_exact(path.read_bytes()), context())
    check_named(events)
    golden_read(path, events)


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_written_as_the_sdk_reads_it(path: Path) -> None:
    folded = fold(decode_response(wire.load_exact(path.read_bytes()), context()))
    assert isinstance(folded, Failure) == (path.stem in NO_ANSWERS)
    if isinstance(folded, Failure):
        return
    written = encode_response(folded, context())
    golden_json(path.with_suffix(".gemini.json"), json.loads(written))
    assert sdk_answer(written).candidates


@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_is_read(path: Path) -> None:
    events = decode([path.read_bytes()])
    check_named(events)
    golden_read(path, events)


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_reads_the_same_however_it_is_cut(path: Path, size: int) -> None:
    data = path.read_bytes()
    assert decode(cut(data, size)) == decode([data])


@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_is_written_as_the_sdk_reads_it(path: Path) -> None:
    events = decode([path.read_bytes()])
    written = GeminiEncoder(context()).encode(events)
    golden(path.with_suffix(".gemini.sse"), written.decode())
    chunks = sdk_stream(written)
    ends = [each.finish_reason for chunk in chunks for each in chunk.candidates or ()]
    assert any(ends) == isinstance(events[-1], Finish)
    folded = fold(events)
    if not isinstance(folded, Failure):
        whole = sdk_answer(encode_response(folded, context()))
        assert sdk_parts(chunks) == sdk_parts([whole])
        assert chunks[-1].usage_metadata == whole.usage_metadata


@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_array_has_the_elements_of_the_stream(path: Path) -> None:
    events = decode([path.read_bytes()])
    stream = GeminiEncoder(context()).encode(events)
    array = GeminiArrayEncoder(context()).encode(events)
    frames = [part.removeprefix(b"data: ") for part in stream.split(b"\n\n") if part]
    assert array.removesuffix(b"]") == (b"[" + b",".join(frames) if frames else b"")
    if isinstance(events[-1], Finish):
        assert sdk_elements(array) == sdk_stream(stream)


@pytest.mark.parametrize("path", ERRORS, ids=[path.name for path in ERRORS])
def test_error_body_is_read(path: Path) -> None:
    fault = decode_error(400, path.read_bytes())
    golden_read(path, fault)
