"""Golden files of Responses answers, both ways: events, bytes and usage.

``KUROL_UPDATE_GOLDEN=1`` rewrites the expected files; read the diff like code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response

from kurolproxy.ir import Failure, Finish
from kurolproxy.protocols import wire
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_responses.codec import CODEC
from tests.protocols.goldens import cases, golden, golden_json, golden_read, stems, unexplained
from tests.protocols.openai_responses.answer_support import (
    BROKEN,
    context,
    decode,
    sdk_created,
    sdk_events,
    sdk_refuses,
    sdk_streamed,
    write,
)
from tests.protocols.streaming import CUTS, check_guarantees, cut

RESPONSES = cases("openai_responses", "response", "json")
STREAMS = cases("openai_responses", "stream", "sse")
ERRORS = cases("openai_responses", "error", "json", "txt", "html")
NO_ANSWERS = ("error_in_200", "failed", "not_a_response", "unfinished")


def test_every_folder_has_cases() -> None:
    assert len(RESPONSES) >= 14
    assert len(STREAMS) >= 30
    assert len(ERRORS) >= 10


def test_every_case_is_explained() -> None:
    assert unexplained("ORIGINS-answer.md", (*RESPONSES, *STREAMS, *ERRORS)) == []


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_read(path: Path) -> None:
    events = CODEC.decode_response(wire.load_exact(path.read_bytes()), context())
    check_guarantees(events)
    golden_read(path, events)


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_written_as_the_sdk_reads_it(path: Path) -> None:
    folded = fold(CODEC.decode_response(json.loads(path.read_bytes()), context()))
    if isinstance(folded, Failure):
        assert path.stem in NO_ANSWERS
        return
    body = json.loads(CODEC.encode_response(folded, context()))
    Response.model_validate(body)
    golden_json(path.with_suffix(".responses.json"), body)


@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_is_read(path: Path) -> None:
    events = decode([path.read_bytes()])
    check_guarantees(events)
    golden_read(path, events)


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_reads_the_same_however_it_is_cut(path: Path, size: int) -> None:
    data = path.read_bytes()
    assert decode(cut(data, size)) == decode([data])


@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_is_written_as_the_sdk_reads_it(path: Path) -> None:
    events = decode([path.read_bytes()])
    written = write(events)
    golden(path.with_suffix(".responses.sse"), written.decode())
    typed = sdk_events(written)
    if isinstance(events[-1], Failure):
        assert typed[-1].type == "error"
        sdk_refuses(written, BROKEN.message)
        return
    assert [each.type for each in sdk_created(written)] == [each.type for each in typed]
    _check_whole(written, events)


def _check_whole(written: bytes, events: list[Any]) -> None:
    """Assert that a client sees one answer, streamed or not."""
    folded = fold(events)
    assert not isinstance(folded, Failure)
    whole = json.loads(CODEC.encode_response(folded, context()))
    response, words = sdk_streamed(written)
    streamed = response.to_dict()
    for name in ("status", "incomplete_details", "usage", "model"):
        assert streamed[name] == whole[name]
    assert [_known(each, other) for each, other in _pairs(streamed, whole)] == whole["output"]
    said = [part for item in whole["output"] for part in item.get("content", ())]
    assert words == "".join(part.get("text", "") for part in said)
    assert isinstance(events[-1], Finish)


def _pairs(streamed: dict[str, Any], whole: dict[str, Any]) -> list[tuple[Any, Any]]:
    return list(zip(streamed["output"], whole["output"], strict=True))


def _known(item: Any, other: Any) -> Any:
    """Return an item without what the SDK adds to it: parsed arguments."""
    return {name: _plain(item[name]) for name in other}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if name != "parsed"}
    return value


@pytest.mark.parametrize("path", ERRORS, ids=stems(ERRORS))
def test_error_body_is_read(path: Path) -> None:
    fault = CODEC.decode_error(400, path.read_bytes())
    golden_read(path, fault)
