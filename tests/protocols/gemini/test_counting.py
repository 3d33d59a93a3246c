"""The call that counts a prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.protocols.gemini.counting import COUNTING
from kurolproxy.protocols.gemini.request_decode import decode_request
from tests.fakes.recordings import needs_recordings, recording
from tests.protocols.gemini.request_support import ask, body

CONTENTS: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "Hi"}]}]
SYSTEM = {"systemInstruction": {"parts": [{"text": "Be brief."}]}}


@pytest.mark.parametrize(
    "asked",
    [
        {"contents": CONTENTS, **SYSTEM},
        {"generateContentRequest": {"model": "models/m", "contents": CONTENTS, **SYSTEM}},
        {"generate_content_request": {"model": "models/m", "contents": CONTENTS, **SYSTEM}},
    ],
)
def test_a_counting_call_is_about_a_generating_call(asked: dict[str, Any]) -> None:
    generating = COUNTING.generating(asked)
    assert generating == {"contents": CONTENTS, **SYSTEM}
    assert decode_request(generating).unknown == 0


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"generateContentRequest": "Hi"}, "generateContentRequest"),
    ],
)
def test_a_counting_call_about_nothing_is_refused(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        COUNTING.generating(asked)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("model", "named"),
    [("m", "models/m"), ("models/m", "models/m"), ("tunedModels/t", "tunedModels/t")],
)
def test_the_upstream_is_asked_about_the_whole_request(model: str, named: str) -> None:
    generating = body(ask(max_tokens=5))
    asked = COUNTING.asking(generating, model)
    assert asked == {"generateContentRequest": {"model": named, **generating}}
    assert COUNTING.generating(asked) == generating


def test_what_a_passed_body_calls_its_model_is_not_asked_about() -> None:
    asked = COUNTING.asking({"model": "models/other", "contents": CONTENTS}, "m")
    assert asked["generateContentRequest"]["model"] == "models/m"


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        ({"totalTokens": 12}, 12),
        ({"total_tokens": 12}, 12),
        ({"totalTokens": 0}, 0),
        ({"totalTokens": -1}, 0),
        ({"totalTokens": "12"}, None),
        ({"totalTokens": True}, None),
        ({"error": {"code": 400}}, None),
        ([12], None),
        (None, None),
    ],
)
def test_the_count_is_read(answer: Any, tokens: int | None) -> None:
    assert COUNTING.read(answer) == tokens


def test_the_count_is_written_as_it_is_read() -> None:
    assert COUNTING.read(json.loads(COUNTING.answer(12))) == 12


@needs_recordings
def test_a_recorded_count_is_read() -> None:
    seen = recording("gemini-google-count-tokens")
    assert COUNTING.read(json.loads(seen.response)) == json.loads(seen.response)["totalTokens"]
    assert COUNTING.generating(seen.request_json) == seen.request_json
