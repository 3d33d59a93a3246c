"""Whole answers: what the response says besides its items."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response as SdkResponse

from kurolproxy.ir import (
    Block,
    Failure,
    Finish,
    Output,
    ReasoningWish,
    Response,
    Seal,
    Start,
    Tool,
    ToolChoice,
    ToolHead,
)
from kurolproxy.protocols import seal
from kurolproxy.protocols.openai_responses.codec import CODEC
from kurolproxy.tokens import Usage
from tests.protocols.openai_responses.answer_support import context

SEAL = Seal("g", "gemini", "c2ln")


def encoded(*blocks: Block, reason: Any = "stop", **asked: Any) -> dict[str, Any]:
    """Write an answer to a request that says what is ``asked``; the SDK's types must take it."""
    response = Response("up", "upstream-model", blocks, Usage(5, 7, 2, 0, 3), Finish(reason))
    wish = asked.pop("reasoning", ReasoningWish())
    body: dict[str, Any] = json.loads(CODEC.encode_response(response, context(wish, **asked)))
    SdkResponse.model_validate(body)
    return body


def test_response_has_every_field_that_clients_expect() -> None:
    assert encoded() == {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "completed_at": 1_700_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "m1",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": "auto"},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 5,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 12,
        },
        "user": None,
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"max_tokens": 99}, {"max_output_tokens": 99}),
        ({"temperature": 0.5, "top_p": 0.25}, {"temperature": 0.5, "top_p": 0.25}),
        ({"parallel_tools": False}, {"parallel_tool_calls": False}),
        (
            {"reasoning": ReasoningWish(effort="high", show="none")},
            {"reasoning": {"effort": "high", "summary": None}},
        ),
        ({"reasoning": None}, {"reasoning": {"effort": None, "summary": None}}),
        (
            {"verbosity": "low", "output": Output("json_object")},
            {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        ),
        (
            {"output": Output("json_schema", None, {"type": "object"}, True, "It.")},
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "response",
                        "schema": {"type": "object"},
                        "strict": True,
                        "description": "It.",
                    }
                }
            },
        ),
    ],
)
def test_response_repeats_what_was_asked(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    body = encoded(**asked)
    assert {name: body[name] for name in expected} == expected


TOOLS = (Tool("get"), Tool("exec", "custom"), Tool("file_search", "hosted", hosted="file_search"))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named", "get"), {"type": "function", "name": "get"}),
        (ToolChoice("named", "exec"), {"type": "custom", "name": "exec"}),
        (ToolChoice("named", "file_search"), {"type": "file_search"}),
        (
            ToolChoice("required", allowed=("get", "exec")),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "get"}, {"type": "custom", "name": "exec"}],
            },
        ),
    ],
)
def test_response_repeats_the_choice_of_tools(choice: ToolChoice | None, expected: Any) -> None:
    assert encoded(tools=TOOLS, tool_choice=choice)["tool_choice"] == expected


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_answer_that_was_cut_is_incomplete(reason: str, told: str) -> None:
    call = Block("tool", '{"a"', ToolHead("call_1", "get"))
    body = encoded(Block("text", "Hi"), call, reason=reason)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": told})
    assert [item["status"] for item in body["output"]] == ["completed", "incomplete"]
    assert "completed_at" not in body


def test_proof_of_a_text_or_a_call_stands_before_it() -> None:
    body = encoded(
        Block("text", "Hi", seal=SEAL),
        Block("tool", "{}", ToolHead("call_1", "get"), seal=SEAL),
    )
    types = ["reasoning", "message", "reasoning", "function_call"]
    assert [item["type"] for item in body["output"]] == types
    tokens = [item["encrypted_content"] for item in body["output"][::2]]
    assert [seal.decode(token) for token in tokens] == [SEAL, SEAL]


def test_text_that_no_json_can_hold_is_mended() -> None:
    body = encoded(Block("text", "a\ud800"))
    assert body["output"][0]["content"][0]["text"] == "a\ufffd"


@pytest.mark.parametrize(
    ("document", "failure"),
    [
        (None, "the upstream's answer is no response"),
        ([], "the upstream's answer is no response"),
        ({"status": "completed"}, "the upstream's answer is no response"),
        ({"output": {}}, "the upstream's answer is no response"),
        ({"status": "in_progress", "output": []}, "the upstream did not finish the answer"),
        ({"status": "cancelled", "output": []}, "the upstream cancelled the answer"),
        ({"status": "failed"}, ""),
        ({"type": "error", "message": "No."}, "No."),
        ({"error": "No."}, "No."),
        ({"error": {"message": "No."}, "output": []}, "No."),
    ],
)
def test_what_is_no_answer_is_a_failure(document: Any, failure: str) -> None:
    events = CODEC.decode_response(document, context())
    assert events == [Start(), Failure(failure)]
