"""Counting the tokens of a prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import InputTokenCountResponse
from openai.types.responses.input_token_count_params import InputTokenCountParams

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Message, Text
from kurolproxy.protocols.openai_responses.counting import COUNTING
from kurolproxy.protocols.openai_responses.request_decode import decode_request
from tests.protocols.openai_responses.request_support import asked, body


def test_counting_call_is_about_the_generating_call_of_the_same_prompt() -> None:
    call = {"model": "m1", "input": "Hi", "instructions": "Be kind.", "personality": "friendly"}
    request = decode_request(COUNTING.generating(call))
    assert request.messages == (Message("user", (Text("Hi"),)),)
    assert request.system == (Text("Be kind."),)
    assert request.unknown == 0
    assert call["personality"] == "friendly"


def test_counting_call_may_lack_input() -> None:
    request = decode_request(COUNTING.generating({"model": "m1", "instructions": "Be kind."}))
    assert request.system == (Text("Be kind."),)


def test_counting_call_that_refers_to_state_is_refused() -> None:
    with pytest.raises(BadRequest, match="stateless"):
        decode_request(COUNTING.generating({"model": "m1", "previous_response_id": "resp_1"}))


def test_counting_call_has_only_the_fields_that_it_takes() -> None:
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": False}
    request = asked(
        instructions="Be kind.",
        tools=[tool],
        tool_choice="required",
        stream=True,
        temperature=1,
        max_output_tokens=50,
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
    )
    sent = body(request)
    assert {"store", "include", "stream", "temperature", "max_output_tokens"} <= sent.keys()
    call = COUNTING.asking(sent, "other")
    assert call.keys() <= InputTokenCountParams.__annotations__.keys()
    assert call["model"] == "other"
    for name in ("instructions", "input", "tools", "tool_choice", "reasoning", "text"):
        assert call[name] == sent[name]
    assert list(call) == ["model", *[name for name in sent if name in call and name != "model"]]


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        ({"object": "response.input_tokens", "input_tokens": 11}, 11),
        ({"input_tokens": 0}, 0),
        ({"input_tokens": -4}, 0),
        ({"input_tokens": "11"}, None),
        ({"input_tokens": True}, None),
        ({"error": {"message": "no"}}, None),
        ([11], None),
        (None, None),
    ],
)
def test_answer_of_an_upstream_is_read(answer: Any, tokens: int | None) -> None:
    assert COUNTING.read(answer) == tokens


def test_answer_for_the_client_is_what_the_sdk_reads() -> None:
    found = InputTokenCountResponse.model_validate_json(COUNTING.answer(7), strict=True)
    assert (found.object, found.input_tokens) == ("response.input_tokens", 7)
    assert COUNTING.read(json.loads(COUNTING.answer(7))) == 7
