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
from tests.protocols.openai_responses.answer_support import (
    BROKEN,
    CUTS,
    cases,
    check_guarantees,
    context,
    cut,
    decode,
    sdk_created,
    sdk_events,
    sdk_refuses,
    sdk_streamed,
    write,
)
from tests.protocols.openai_responses.request_support import GOLDEN, as_json, golden, plain

RESPONSES = cases("response", "json")
STREAMS = cases("stream", "sse")
ERRORS = [*cases("error", "json"), *cases("error", "txt"), *cases("error", "html")]
NO_ANSWERS = ("error_in_200", "failed", "not_a_response", "unfinished")


def _ids(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def test_every_folder_has_cases() -> None:
    assert len(RESPONSES) >= 14
    assert len(STREAMS) >= 30
    assert len(ERRORS) >= 10


def test_every_case_is_explained() -> None:
    told = (GOLDEN / "ORIGINS-answer.md").read_text()
    missing = [
        f"{path.parent.name}/{path.stem}"
        for path in (*RESPONSES, *STREAMS, *ERRORS)
        if f"| {path.parent.name}/{path.stem} |" not in told
    ]
    assert missing == []


@pytest.mark.parametrize("path", RESPONSES, ids=_ids(RESPONSES))
def test_response_is_read(path: Path) -> None:
    events = CODEC.decode_response(wire.load_exact(path.read_bytes()), context())
    check_guarantees(events)
    golden(path.with_suffix(".ir.json"), as_json(plain(events)))


@pytest.mark.parametrize("path", RESPONSES, ids=_ids(RESPONSES))
def test_response_is_written_as_the_sdk_reads_it(path: Path) -> None:
    folded = fold(CODEC.decode_response(json.loads(path.read_bytes()), context()))
    if isinstance(folded, Failure):
        assert path.stem in NO_ANSWERS
        return
    body = json.loads(CODEC.encode_response(folded, context()))
    Response.model_validate(body)
    golden(path.with_suffix(".responses.json"), as_json(body))


@pytest.mark.parametrize("path", STREAMS, ids=_ids(STREAMS))
def test_stream_is_read(path: Path) -> None:
    events = decode([path.read_bytes()])
    check_guarantees(events)
    golden(path.with_suffix(".ir.json"), as_json(plain(events)))


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("path", STREAMS, ids=_ids(STREAMS))
def test_stream_reads_the_same_however_it_is_cut(path: Path, size: int) -> None:
    data = path.read_bytes()
    assert decode(cut(data, size)) == decode([data])


@pytest.mark.parametrize("path", STREAMS, ids=_ids(STREAMS))
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


@pytest.mark.parametrize("path", ERRORS, ids=_ids(ERRORS))
def test_error_body_is_read(path: Path) -> None:
    fault = CODEC.decode_error(400, path.read_bytes())
    golden(path.with_suffix(".ir.json"), as_json(plain(fault)))
