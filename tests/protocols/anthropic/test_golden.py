"""Golden files of Anthropic Messages, both ways: body, events and usage.

``KUROL_UPDATE_GOLDEN=1`` rewrites the expected files; read the diff like code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message

from kurolproxy.ir import Failure, Finish
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.folding import fold
from tests.protocols.anthropic.support import (
    context,
    decode,
    encoded,
    sdk_events,
    sdk_message,
    target,
)
from tests.protocols.goldens import (
    cases,
    golden,
    golden_json,
    golden_read,
    golden_sent,
    stems,
    unexplained,
)
from tests.protocols.streaming import CUTS, check_guarantees, cut

# Name of a request -> the target it is encoded for; any other has the careful defaults.
TARGETS: dict[str, TargetView] = {
    "claude_code_first": target(16_000, mid_system=True),
    "claude_code_turn": target(16_000, thinking="budget"),
    "reasoning_replay": target(reasoning_family="claude", thinking="budget"),
    "hosted_tools": target(hosted_tools=("web_search",)),
    "everything_else": target(
        32_000, prefill=True, allow_service_tier=True, efforts=("low", "medium", "high")
    ),
}

REQUESTS = cases("anthropic", "request", "json")
RESPONSES = cases("anthropic", "response", "json")
STREAMS = cases("anthropic", "stream", "sse")
ERRORS = cases("anthropic", "error", "json", "txt", "html")


def test_every_folder_has_cases() -> None:
    assert len(REQUESTS) >= 8
    assert len(RESPONSES) >= 10
    assert len(STREAMS) >= 15
    assert len(ERRORS) >= 10


def test_every_case_is_explained() -> None:
    assert unexplained("ORIGINS.md", (*REQUESTS, *RESPONSES, *STREAMS, *ERRORS)) == []


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_request_is_read(path: Path) -> None:
    request = CODEC.decode_request(json.loads(path.read_bytes()))
    golden_read(path, request)


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_request_is_written(path: Path) -> None:
    request = CODEC.decode_request(json.loads(path.read_bytes()))
    golden_sent(path.with_suffix(".anthropic.json"), encoded(request, TARGETS.get(path.stem)))


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_read(path: Path) -> None:
    events = CODEC.decode_response(json.loads(path.read_bytes()), context())
    check_guarantees(events)
    golden_read(path, events)


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_written_as_the_sdk_reads_it(path: Path) -> None:
    folded = fold(CODEC.decode_response(json.loads(path.read_bytes()), context()))
    if isinstance(folded, Failure):
        assert path.stem in ("error_in_200", "not_a_message")
        return
    body = json.loads(CODEC.encode_response(folded, context()))
    Message.model_validate(body)
    golden_json(path.with_suffix(".anthropic.json"), body)


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
    written = CODEC.encoder(context()).encode(events)
    golden(path.with_suffix(".anthropic.sse"), written.decode())
    assert sdk_events(written)
    if isinstance(events[-1], Finish):
        _check_same(sdk_message(written), json.loads(_whole(events)))


def _whole(events: list[Any]) -> bytes:
    folded = fold(events)
    assert not isinstance(folded, Failure)
    return CODEC.encode_response(folded, context())


def _check_same(streamed: Any, whole: dict[str, Any]) -> None:
    """Assert that a client sees one answer, streamed or not."""
    found = json.loads(streamed.to_json())
    assert found["stop_reason"] == whole["stop_reason"]
    assert found["stop_sequence"] == whole["stop_sequence"]
    assert found["usage"] == whole["usage"]
    assert len(found["content"]) == len(whole["content"])
    for one, other in zip(found["content"], whole["content"], strict=True):
        if whole["stop_reason"] == "max_tokens" and other["type"] == "tool_use":
            # The SDK completes a cut object; whole, its text is wrapped.
            assert one["name"] == other["name"]
        else:
            assert {name: one[name] for name in other} == other


@pytest.mark.parametrize("path", ERRORS, ids=stems(ERRORS))
def test_error_body_is_read(path: Path) -> None:
    fault = CODEC.decode_error(400, path.read_bytes())
    golden_read(path, fault)
