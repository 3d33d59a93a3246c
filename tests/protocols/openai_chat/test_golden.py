"""Golden files of OpenAI Chat Completions, both ways: body, events and usage.

``KUROL_UPDATE_GOLDEN=1`` rewrites the expected files; read the diff like code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from kurolproxy.ir import Failure, Finish
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_chat.codec import CODEC
from tests.protocols.goldens import (
    cases,
    golden,
    golden_json,
    golden_read,
    golden_sent,
    stems,
    unexplained,
)
from tests.protocols.openai_chat.support import (
    context,
    decode,
    encoded,
    sdk_chunks,
    sdk_completion,
    target,
)
from tests.protocols.streaming import CUTS, check_named, cut

OPENAI = {
    "max_tokens_field": "max_completion_tokens",
    "developer_role": True,
    "system_position": "any",
    "custom_tools": True,
}
# Name of a request -> the target it is encoded for; any other has the careful defaults.
TARGETS: dict[str, TargetView] = {
    "everything": target(200, **OPENAI, allow_service_tier=True, top_k=True),
    "custom_tools": target(**OPENAI),
    "many_marks": target(**OPENAI, cache="explicit"),
    "media": target(cache="explicit"),
    "sealed_turn": target(reasoning_family="gemini"),
    "search": target(hosted_tools=("web_search",)),
}

REQUESTS = cases("openai_chat", "request", "json")
RESPONSES = cases("openai_chat", "response", "json")
STREAMS = cases("openai_chat", "stream", "sse")
ERRORS = cases("openai_chat", "error", "json", "txt", "html")
NO_ANSWERS = ("broke_off", "error_in_200", "no_choices", "no_completion")
# The SDK's types know no free-form call in a stream.
UNTYPED = ("custom_calls",)


def test_every_folder_has_cases() -> None:
    assert len(REQUESTS) >= 12
    assert len(RESPONSES) >= 15
    assert len(STREAMS) >= 30
    assert len(ERRORS) >= 12


def test_every_case_is_explained() -> None:
    assert unexplained("ORIGINS.md", (*REQUESTS, *RESPONSES, *STREAMS, *ERRORS)) == []


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_request_is_read(path: Path) -> None:
    request = CODEC.decode_request(json.loads(path.read_bytes()))
    golden_read(path, request)


@pytest.mark.parametrize("path", REQUESTS, ids=stems(REQUESTS))
def test_request_is_written(path: Path) -> None:
    request = CODEC.decode_request(json.loads(path.read_bytes()))
    golden_sent(path.with_suffix(".chat.json"), encoded(request, TARGETS.get(path.stem)))


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_read(path: Path) -> None:
    events = CODEC.decode_response(json.loads(path.read_bytes()), context(family="gpt"))
    check_named(events)
    golden_read(path, events)


@pytest.mark.parametrize("path", RESPONSES, ids=stems(RESPONSES))
def test_response_is_written_as_the_sdk_reads_it(path: Path) -> None:
    document = json.loads(path.read_bytes())
    folded = fold(CODEC.decode_response(document, context(family="gpt")))
    assert isinstance(folded, Failure) == (path.stem in NO_ANSWERS)
    if not isinstance(folded, Failure):
        body = json.loads(CODEC.encode_response(folded, context()))
        ChatCompletion.model_validate(body)
        golden_json(path.with_suffix(".chat.json"), body)


@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_is_read(path: Path) -> None:
    events = decode([path.read_bytes()], context(family="gpt"))
    check_named(events)
    golden_read(path, events)


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_reads_the_same_however_it_is_cut(path: Path, size: int) -> None:
    data = path.read_bytes()
    assert decode(cut(data, size)) == decode([data])


@pytest.mark.parametrize("path", STREAMS, ids=stems(STREAMS))
def test_stream_is_written_as_the_sdk_reads_it(path: Path) -> None:
    events = decode([path.read_bytes()], context(family="gpt"))
    written = CODEC.encoder(context()).encode(events)
    golden(path.with_suffix(".chat.sse"), written.decode())
    if path.stem not in UNTYPED:
        assert sdk_chunks(written)
    if isinstance(events[-1], Finish) and path.stem not in UNTYPED:
        folded = fold(events)
        assert not isinstance(folded, Failure)
        whole = json.loads(CODEC.encode_response(folded, context()))
        _check_same(sdk_completion(written), whole)
    assert written.endswith(b"data: [DONE]\n\n") == isinstance(events[-1], Finish)


def _check_same(streamed: ChatCompletion, whole: dict[str, Any]) -> None:
    """Assert that a client sees one answer, streamed or not."""
    found = json.loads(streamed.to_json())
    one, other = found["choices"][0], whole["choices"][0]
    assert one["finish_reason"] == other["finish_reason"]
    assert found.get("usage") == whole.get("usage")
    mine, theirs = one["message"], other["message"]
    for name in ("refusal", "reasoning_content", "annotations"):
        assert mine.get(name) == theirs.get(name)
    assert (mine.get("content") or "") == (theirs["content"] or "")
    calls = [_called(call) for call in mine.get("tool_calls") or ()]
    assert calls == [_called(call) for call in theirs.get("tool_calls") or ()]


def _called(call: dict[str, Any]) -> tuple[Any, ...]:
    function = call["function"]
    return call["id"], function["name"], function["arguments"], call.get("extra_content")


@pytest.mark.parametrize("path", ERRORS, ids=[path.name for path in ERRORS])
def test_error_body_is_read(path: Path) -> None:
    fault = CODEC.decode_error(400, path.read_bytes())
    golden_read(path, fault)
