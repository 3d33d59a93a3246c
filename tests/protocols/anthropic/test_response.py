"""Whole answers: what the golden files do not show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message

from kurolproxy.ir import (
    Block,
    Citation,
    Failure,
    Finish,
    ReasoningWish,
    Response,
    Seal,
    Start,
    ToolHead,
)
from kurolproxy.protocols import seal
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.tokens import Usage
from tests.protocols.anthropic.support import SHOWN, context

HIDDEN = ReasoningWish(show="none")
SEAL = Seal("a", "claude", "proof")


def write(*blocks: Block, wish: ReasoningWish | None = SHOWN) -> list[dict[str, Any]]:
    response = Response("up", "up", blocks, Usage(1, 1), Finish("stop"))
    body = json.loads(CODEC.encode_response(response, context(wish)))
    Message.model_validate(body)
    content: list[dict[str, Any]] = body["content"]
    return content


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the answer is no JSON object"),
        ("text", "the answer is no JSON object"),
        (None, "the answer is no JSON object"),
        ({}, "the answer is no message"),
        ({"type": "message", "content": "text"}, "the answer is no message"),
        ({"type": "error"}, ""),
        ({"error": "words"}, "words"),
        ({"error": {"message": "said"}}, "said"),
    ],
    ids=str,
)
def test_what_is_no_answer_is_a_failure(body: Any, message: str) -> None:
    assert CODEC.decode_response(body, context()) == [Start(), Failure(message)]


@pytest.mark.parametrize(
    ("args", "given"),
    [
        ("", {}),
        ('{"a":{"b":[1,null]}}', {"a": {"b": [1, None]}}),
        ('{"cut":"of', {"input": '{"cut":"of'}),
        ("[1]", {"input": "[1]"}),
        ("words", {"input": "words"}),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(args: str, given: Any) -> None:
    (call,) = write(Block("tool", args, ToolHead("c", "get")))
    assert call == {"type": "tool_use", "id": "c", "name": "get", "input": given}


def test_thoughts_are_shown_or_travel_in_the_proof() -> None:
    block = Block("reasoning", "hm", seal=SEAL)
    assert write(block) == [{"type": "thinking", "thinking": "hm", "signature": seal.encode(SEAL)}]
    for wish in (HIDDEN, None):
        (thinking,) = write(block, wish=wish)
        assert thinking["thinking"] == ""
        assert seal.decode(thinking["signature"]) == Seal("a", "claude", "proof", text="hm")


def test_thoughts_without_a_proof() -> None:
    block = Block("reasoning", "hm")
    assert write(block) == [{"type": "thinking", "thinking": "hm", "signature": ""}]
    assert write(block, wish=HIDDEN) == []


def test_blocks_that_say_nothing_are_left_out() -> None:
    assert write(Block("text"), Block("refusal"), Block("reasoning")) == []


def test_refusal_is_text_and_citations_stand_beside_it() -> None:
    refusal, cited = write(
        Block("refusal", "No."), Block("text", "x", citations=(Citation("https://e.org", "E"),))
    )
    assert refusal == {"type": "text", "text": "No."}
    assert cited["citations"][0]["url"] == "https://e.org"


def test_unknown_usage_is_zero_because_the_field_is_required() -> None:
    response = Response("up", "up", (), None, Finish("length"))
    body = json.loads(CODEC.encode_response(response, context()))
    assert body["usage"]["input_tokens"] == body["usage"]["output_tokens"] == 0
    assert body["stop_reason"] == "max_tokens"
    assert body["id"] == "msg_1"
    assert body["model"] == "m1"


def test_input_with_an_integer_of_more_than_64_bits_is_written_as_it_came() -> None:
    args = '{"id": 123456789012345678901234567890}'
    (block,) = write(Block("tool", args, ToolHead("toolu_1", "f")))
    assert block["input"] == {"id": 123456789012345678901234567890}


@pytest.mark.parametrize("args", ["123456789012345678901234567890", "{123456789012345678901"])
def test_arguments_that_are_no_object_stay_text_whatever_they_hold(args: str) -> None:
    (block,) = write(Block("tool", args, ToolHead("toolu_1", "f")))
    assert block["input"] == {"input": args}


def test_proof_without_a_thought_does_not_end_an_answer() -> None:
    proof, text = Block("reasoning", "", seal=SEAL), Block("text", "Hi")
    assert [each["type"] for each in write(text, proof)] == ["text"]
    assert [each["type"] for each in write(text, proof, text)] == ["text", "thinking", "text"]
    assert [each["type"] for each in write(proof)] == ["thinking"]
