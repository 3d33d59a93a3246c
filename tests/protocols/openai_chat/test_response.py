"""Whole answers: what the golden files leave open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import Block, Citation, Failure, Finish, FinishReason, Response, Seal, ToolHead
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.tokens import Usage
from tests.protocols.openai_chat.support import context
from tests.protocols.streaming import check_named


def answer(message: dict[str, Any] | None = None, reason: Any = "stop", **more: Any) -> Any:
    choice = {"index": 0, "message": message or {"content": "x"}, "finish_reason": reason}
    return {"choices": [choice], **more}


def read(document: Any, **asked: Any) -> Response | Failure:
    events = CODEC.decode_response(document, context(**asked))
    check_named(events)
    return fold(events)


def written(*blocks: Block, finish: Finish | None = None, **asked: Any) -> dict[str, Any]:
    usage = asked.pop("usage", None)
    response = Response("up", "up", blocks, usage, finish or Finish("stop"))
    found: dict[str, Any] = json.loads(CODEC.encode_response(response, context(**asked)))
    return found


def message(*blocks: Block, **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = written(*blocks, **asked)["choices"][0]["message"]
    return found


@pytest.mark.parametrize(
    "document",
    [None, 5, "text", [], {}, {"choices": None}, {"choices": [5]}, {"choices": [{}]}],
)
def test_what_is_no_completion_is_a_failure(document: Any) -> None:
    assert read(document) == Failure("the upstream's answer is no completion")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "busy", "code": 429}, Failure("busy", "rate_limited")),
        ({"message": "busy", "code": "429"}, Failure("busy", "rate_limited")),
        ({"message": "busy", "type": "overloaded_error"}, Failure("busy", "overloaded")),
        ({"message": "no", "type": "invalid_request_error"}, Failure("no", "bad_request")),
        (
            {"message": "key", "type": "invalid_request_error", "code": "invalid_api_key"},
            Failure("key", "upstream_error"),
        ),
        ("plain", Failure("plain", "upstream_error")),
        ({"code": 500}, Failure("", "upstream_error")),
    ],
)
def test_error_in_the_place_of_an_answer_says_what_it_is(error: Any, expected: Failure) -> None:
    assert read({"error": error}) == expected
    assert read(answer(error=error)) == expected


@pytest.mark.parametrize(
    ("reason", "called", "expected"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("tool_calls", False, "stop"),
        ("function_call", True, "tool_calls"),
        ("length", True, "length"),
        ("content_filter", True, "content_filter"),
        ("eos", False, "stop"),
        ("because", False, "other"),
        ("because", True, "tool_calls"),
        ("", False, "stop"),
        (None, False, "stop"),
        (5, False, "stop"),
    ],
)
def test_reason_is_read(reason: Any, called: bool, expected: FinishReason) -> None:
    calls = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]
    found = read(answer({"content": "x", "tool_calls": calls if called else None}, reason))
    assert isinstance(found, Response)
    assert found.finish == Finish(expected)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ([], None),
        ("7", None),
        ({}, None),
        ({"prompt_tokens": "5", "completion_tokens": 7}, Usage(0, 7, clamped=True)),
        ({"prompt_tokens": 5, "completion_tokens": None}, Usage(5)),
        ({"completion_tokens": 7}, Usage(0, 7)),
        ({"prompt_tokens": True, "completion_tokens": 7}, Usage(0, 7, clamped=True)),
        ({"prompt_tokens": -5, "completion_tokens": 7}, Usage(0, 7, clamped=True)),
        ({"prompt_tokens": 5.0, "completion_tokens": 1e30}, Usage(5, 10**9, clamped=True)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 70},
            },
            Usage(5, 7, 5, 0, 7),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 7, "cached_tokens": 2},
            Usage(5, 7, cache_read=2),
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 1,
                "total_tokens": 8,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(5, 3, reasoning=2),
        ),
    ],
)
def test_usage_is_never_absurd(usage: Any, expected: Usage | None) -> None:
    found = read(answer(usage=usage))
    assert isinstance(found, Response)
    assert found.usage == expected


def test_reasoning_is_sealed_where_the_target_has_a_family() -> None:
    said = {"content": "A", "reasoning_content": "hm"}
    sealed, bare = read(answer(said), family="deep"), read(answer(said))
    assert isinstance(sealed, Response)
    assert isinstance(bare, Response)
    assert sealed.blocks[0] == Block("reasoning", "hm", seal=Seal("c", "deep", "", "hm"))
    assert bare.blocks[0] == Block("reasoning", "hm")


def test_usage_is_written_in_full() -> None:
    assert written(usage=Usage(10, 4, 3, 2, 1))["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert "usage" not in written()


@pytest.mark.parametrize(
    ("blocks", "content"),
    [
        ((), ""),
        ((Block("text", "A"), Block("text", "B")), "AB"),
        ((Block("refusal", "no"),), None),
        ((Block("tool", "{}", ToolHead("c", "f")),), None),
        ((Block("reasoning", "hm"),), ""),
    ],
)
def test_content_is_null_only_beside_something_else(
    blocks: tuple[Block, ...], content: str | None
) -> None:
    assert message(*blocks)["content"] == content


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("stop_sequence", "stop"),
        ("tool_calls", "tool_calls"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("other", "stop"),
    ],
)
def test_reason_is_written(reason: FinishReason, word: str) -> None:
    assert written(finish=Finish(reason))["choices"][0]["finish_reason"] == word


def test_words_about_a_refusal_are_the_refusal() -> None:
    finish = Finish("content_filter", detail="not this")
    assert message(finish=finish)["refusal"] == "not this"


def test_offsets_of_citations_count_from_the_start_of_the_message() -> None:
    first = Block("text", "One. ", citations=(Citation("https://a.example", "A", 0, 3),))
    second = Block("text", "Two.", citations=(Citation("https://b.example"),))
    notes = message(first, Block("reasoning", "hm"), second)["annotations"]
    assert [note["url_citation"] for note in notes] == [
        {"start_index": 0, "end_index": 3, "title": "A", "url": "https://a.example"},
        {
            "start_index": 5,
            "end_index": 9,
            "title": "https://b.example",
            "url": "https://b.example",
        },
    ]


CALL = Block("tool", '{"a":1}', ToolHead("c", "f"))


def carried(found: dict[str, Any]) -> list[Seal | None]:
    """Return the seals on the calls of a message."""
    extras = (call.get("extra_content") for call in found["tool_calls"])
    return [seals.decode(each["google"]["thought_signature"]) if each else None for each in extras]


def test_next_call_carries_the_seal_and_the_text_in_it() -> None:
    thought = Block("reasoning", "hm", seal=Seal("a", "claude", "sig"))
    found = message(thought, Block("text", "A"), CALL, CALL)
    assert carried(found) == [Seal("a", "claude", "sig", "hm"), None]


def test_seal_that_no_call_can_carry_is_not_sent() -> None:
    thought = Block("reasoning", "hm", seal=Seal("a", "claude", "sig"))
    assert "a3gx" not in str(message(thought, Block("text", "A")))


def test_proof_of_gemini_goes_with_the_part_behind_it_only() -> None:
    thought = Block("reasoning", "", seal=Seal("g", "gemini", "sig"))
    assert carried(message(thought, CALL)) == [Seal("g", "gemini", "sig", "")]
    assert carried(message(thought, Block("text", "A"), CALL)) == [None]


def test_text_too_long_for_a_seal_is_left_out_of_it() -> None:
    thought = Block("reasoning", "h" * 200_000, seal=Seal("a", "claude", "sig"))
    assert carried(message(thought, CALL)) == [Seal("a", "claude", "sig")]


def test_deprecated_form_has_one_call() -> None:
    found = written(CALL, CALL, finish=Finish("tool_calls"), legacy_functions=True)
    choice = found["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in choice["message"]


def test_call_without_arguments_or_id_is_whole() -> None:
    call = message(Block("tool", "", ToolHead("", "f", ns="ns")))["tool_calls"][0]
    assert call["id"].startswith("call_")
    assert call["function"] == {"name": "ns__f", "arguments": "{}"}


def test_index_written_as_a_string_is_a_number() -> None:
    first, second = (
        {"index": index, "message": {"content": text}, "finish_reason": "stop"}
        for index, text in (("0", "a"), ("1", "b"))
    )
    found = read({"choices": [second, first]})
    assert isinstance(found, Response)
    assert found.blocks == (Block("text", "a"),)
