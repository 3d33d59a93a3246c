"""Whole answers: what the golden files leave open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import (
    Block,
    Citation,
    Delta,
    Failure,
    Finish,
    FinishReason,
    ReasoningWish,
    Response,
    Seal,
    Start,
    ToolHead,
)
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.gemini.response import decode_response, encode_response
from kurolproxy.protocols.gemini.usage import read_usage, write_usage
from kurolproxy.tokens import Usage
from tests.protocols.gemini.answering import SHOWN, context, response, sdk_answer

GET = ToolHead("call_1", "get")
SEAL = Seal("a", "claude", "c2ln")


def written(
    *blocks: Block,
    reason: FinishReason = "stop",
    wish: ReasoningWish | None = SHOWN,
    usage: Usage | None = None,
) -> dict[str, Any]:
    answer = Response("up", "up", blocks, usage, Finish(reason))
    body: dict[str, Any] = json.loads(encode_response(answer, context(wish)))
    return body


def parts(*blocks: Block, **how: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = written(*blocks, **how)["candidates"][0]["content"]["parts"]
    return found


def test_one_turn_is_written() -> None:
    body = written(
        Block("reasoning", "hm", seal=SEAL),
        Block("text", "Hello"),
        Block("tool", '{"a":1}', GET),
        reason="tool_calls",
        usage=Usage(5, 7, 2, 0, 3),
    )
    token = seals.encode(Seal("a", "claude", "c2ln", "hm"))
    assert body == {
        "candidates": [
            {
                "index": 0,
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "Hello", "thoughtSignature": token},
                        {"functionCall": {"id": "call_1", "name": "get", "args": {"a": 1}}},
                    ],
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 5,
            "cachedContentTokenCount": 2,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 12,
        },
        "modelVersion": "m1",
        "responseId": "r1",
    }


@pytest.mark.parametrize("wish", [None, ReasoningWish(show="none")])
def test_hidden_thoughts_travel_in_the_proof(wish: ReasoningWish | None) -> None:
    (text,) = parts(Block("reasoning", "hm", seal=SEAL), Block("text", "Hi"), wish=wish)
    assert seals.decode(text["thoughtSignature"]) == Seal("a", "claude", "c2ln", "hm")


def test_each_proof_stands_behind_its_own_thoughts() -> None:
    other = Seal("a", "claude", "other")
    found = parts(Block("reasoning", "one", seal=SEAL), Block("reasoning", "two", seal=other))
    assert [(part["text"], "thoughtSignature" in part) for part in found] == [
        ("one", False),
        ("", True),
        ("two", False),
        ("", True),
    ]


def test_answer_of_nothing_has_a_part() -> None:
    assert parts() == parts(Block("text")) == [{"text": ""}]


def test_cut_call_is_left_out() -> None:
    first, second = Block("tool", "{}", GET), Block("tool", '{"a', GET)
    assert len(parts(first, second, reason="length")) == 1
    assert parts(first, second)[1]["functionCall"]["args"] == {"input": '{"a'}
    assert len(parts(second, first, reason="length")) == 2


def test_source_names_the_part_it_is_about() -> None:
    body = written(
        Block("reasoning", "hm"),
        Block("text", "Über", citations=(Citation("https://a.example", None, 0, 4),)),
    )
    (support,) = body["candidates"][0]["groundingMetadata"]["groundingSupports"]
    assert support["segment"] == {"partIndex": 1, "startIndex": 0, "endIndex": 5, "text": "Über"}
    found = fold(decode_response(body, context()))
    assert isinstance(found, Response)
    assert found.blocks[1].citations == (Citation("https://a.example", None, 0, 4),)


def test_sdk_reads_text_and_calls() -> None:
    answer = Response(
        "", "", (Block("text", "Hi \ud800"), Block("tool", "{}", GET)), None, Finish("tool_calls")
    )
    found = sdk_answer(encode_response(answer, context()))
    assert found.text == "Hi \ufffd"
    assert [call.name for call in found.function_calls or ()] == ["get"]


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, {"candidates": {}}, {"candidates": [5]}])
def test_what_is_no_answer_is_a_failure(value: Any) -> None:
    start, failure = decode_response(value, context())
    assert isinstance(start, Start)
    assert failure == Failure("the upstream's answer has no candidate")


def test_array_breaks_off_at_what_is_no_response() -> None:
    events = decode_response([response({"text": "a"}), 5, response({"text": "b"})], context())
    assert events[-1] == Failure("the upstream sent an event of no answer")
    assert Delta(0, "b") not in events


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        ({"promptTokenCount": 5}, Usage(5)),
        ({"promptTokenCount": 5, "toolUsePromptTokenCount": 3}, Usage(8)),
        (
            {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3},
            Usage(5, 5, 0, 0, 3),
        ),
        (
            {"totalTokenCount": 9, "candidatesTokenCount": 2, "toolUsePromptTokenCount": 3},
            Usage(7, 2),
        ),
        ({"candidatesTokenCount": 2}, Usage(0, 2)),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 9}, Usage(5, 0, 5)),
        ({"promptTokenCount": 10**12, "toolUsePromptTokenCount": 5}, Usage(10**9, clamped=True)),
        (
            {"thoughtsTokenCount": 10**9, "candidatesTokenCount": 10**9},
            Usage(0, 10**9, 0, 0, 10**9, clamped=True),
        ),
        ({"promptTokenCount": 2.7}, Usage(2, clamped=True)),
        ({"promptTokenCount": "5"}, Usage(clamped=True)),
        ({"promptTokenCount": 5, "totalTokenCount": 9}, Usage(5, 4)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 0, "totalTokenCount": 9}, Usage(5)),
        ({"promptTokenCount": None}, None),
        ({"trafficType": "ON_DEMAND"}, None),
        ({}, None),
        (None, None),
        ([5], None),
    ],
)
def test_usage_is_read(metadata: Any, usage: Usage | None) -> None:
    assert read_usage(metadata) == usage


@pytest.mark.parametrize("usage", [Usage(), Usage(5, 7, 2, 0, 3), Usage(1, 1, 1, 0, 1)])
def test_written_usage_is_read_again(usage: Usage) -> None:
    assert read_usage(write_usage(usage)) == usage
