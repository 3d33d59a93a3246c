"""Streams of upstreams: order, ends, and what no bytes may do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import (
    Block,
    Delta,
    Failure,
    Finish,
    Response,
    Seal,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.tokens import Usage
from tests.protocols.openai_chat.support import chunk, context, decode, frame
from tests.protocols.streaming import check_named

DONE = b"data: [DONE]\n\n"


def call(index: int, args: str | None = None, **named: str) -> dict[str, Any]:
    """Return the delta of one call."""
    function = {key: value for key, value in (("arguments", args), *named.items()) if value}
    item: dict[str, Any] = {"index": index, "function": function}
    if "name" in named:
        item["id"] = f"call_{named['name']}"
    return {"tool_calls": [item]}


def read(*pieces: bytes, **asked: Any) -> list[StreamEvent]:
    events = decode([b"".join(pieces)], context(**asked))
    check_named(events)
    return events


def whole(*pieces: bytes, **asked: Any) -> Response:
    found = fold(read(*pieces, **asked))
    assert isinstance(found, Response)
    return found


def failure(*pieces: bytes) -> Failure:
    last = read(*pieces)[-1]
    assert isinstance(last, Failure)
    return last


def calls(*deltas: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the calls that a stream of these deltas holds."""
    found = whole(*(chunk(delta) for delta in deltas), chunk({}, "tool_calls"), DONE)
    return [(block.tool.name, block.text) for block in found.blocks if block.tool]


def test_call_streams_while_it_is_the_only_one() -> None:
    decoder = CODEC.decoder(context())
    decoder.feed(chunk(call(0, "", name="f")))
    assert decoder.feed(chunk(call(0, '{"a"'))) == [Delta(0, '{"a"')]


def test_whole_call_ends_when_the_next_begins() -> None:
    decoder = CODEC.decoder(context())
    decoder.feed(chunk(call(0, "{}", name="f")))
    decoder.feed(chunk(call(1, "", name="g")))
    assert decoder.feed(chunk(call(1, "{"))) == [Delta(1, "{")]


@pytest.mark.parametrize("second", ["f", "g"])
def test_call_without_index_or_id_goes_out_when_the_one_before_it_is_whole(second: str) -> None:
    decoder = CODEC.decoder(context())
    for name in ("f", second):
        item = {"function": {"name": name, "arguments": "{}"}}
        events = decoder.feed(chunk({"tool_calls": [item]}))
    assert Delta(1, "{}") in events


def test_unfinished_call_keeps_the_next_waiting() -> None:
    decoder = CODEC.decoder(context())
    decoder.feed(chunk(call(0, '{"a":', name="f")))
    assert decoder.feed(chunk(call(1, "{}", name="g"))) == []
    assert decoder.feed(chunk(call(0, "1"))) == [Delta(0, "1")]
    assert [type(event).__name__ for event in decoder.feed(chunk(call(0, "}")))] == [
        "Delta",
        "BlockEnd",
        "BlockStart",
        "Delta",
    ]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        (
            [call(0, "{", name="f"), call(1, "{", name="g"), call(1, "}"), call(0, "}")],
            [("f", "{}"), ("g", "{}")],
        ),
        (
            [call(0, "", name="f"), call(1, "", name="g"), call(2, "{}", name="h")],
            [("f", ""), ("g", ""), ("h", "{}")],
        ),
        # Braces inside a string end nothing.
        (
            [call(0, '{"a":"}', name="f"), call(1, "{}", name="g"), call(0, '"}')],
            [("f", '{"a":"}"}'), ("g", "{}")],
        ),
        # Arguments may be any JSON value, or no JSON at all.
        ([call(0, "null", name="f"), call(1, "[1]", name="g")], [("f", "null"), ("g", "[1]")]),
        ([call(0, "{oops", name="f"), call(1, "{}", name="g")], [("f", "{oops"), ("g", "{}")]),
        # Blank fragments behind the end of a call are nobody's.
        (
            [call(0, "{}", name="f"), call(1, "{}", name="g"), call(0, " \n")],
            [("f", "{}"), ("g", "{}")],
        ),
        # A name is repeated, later empty.
        ([call(0, "{", name="f"), call(0, "}", name="f")], [("f", "{}")]),
        ([{"tool_calls": [{"index": 0}, {}]}, call(0, "{}", name="f")], [("f", "{}")]),
    ],
)
def test_calls_come_out_in_order(
    deltas: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    assert calls(*deltas) == expected


def test_call_that_is_counted_without_index_continues_the_last() -> None:
    first = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}
    more = {"tool_calls": [{"function": {"arguments": "}"}}]}
    again = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": " "}}]}
    assert calls(first, more, again) == [("f", "{} ")]


def test_same_tool_twice_without_index_and_id_is_two_calls() -> None:
    one = {"tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]}
    assert calls(one, one) == [("f", '{"a":1}'), ("f", '{"a":1}')]


def test_fragments_without_index_find_their_call_by_id() -> None:
    def part(call_id: str, args: str, name: str = "") -> dict[str, Any]:
        return {"tool_calls": [{"id": call_id, "function": {"name": name, "arguments": args}}]}

    deltas = part("a", "{", "f"), part("b", "{", "g"), part("a", "}"), part("b", "}")
    assert calls(*deltas) == [("f", "{}"), ("g", "{}")]


def test_call_without_a_name_is_malformed() -> None:
    assert "without a name" in failure(chunk(call(0, "{}")), DONE).message


def test_late_fragment_for_a_whole_call_is_malformed() -> None:
    stream = chunk(call(0, "{}", name="f")), chunk(call(1, "{}", name="g")), chunk(call(0, "x"))
    assert "had ended" in failure(*stream).message


def test_cut_call_stays_as_it_is() -> None:
    found = whole(chunk(call(0, '{"a', name="f")), chunk({}, "length"), DONE)
    assert found.blocks == (Block("tool", '{"a', ToolHead("call_f", "f")),)
    assert found.finish == Finish("length")


def test_reasoning_is_sealed_at_the_end_of_its_block() -> None:
    stream = chunk({"reasoning": "a"}), chunk({"reasoning": "b"}), chunk({"content": "x"}), DONE
    blocks = whole(*stream, family="deep").blocks
    assert blocks[0] == Block("reasoning", "ab", seal=Seal("c", "deep", "", "ab"))
    assert whole(*stream).blocks[0] == Block("reasoning", "ab")


@pytest.mark.parametrize(
    ("tail", "end"),
    [
        ([DONE], Finish("stop")),
        ([chunk({}, "length")], Finish("length")),
        ([chunk({}, "length"), chunk({}, "stop"), DONE], Finish("length")),
        ([chunk({}, ""), DONE], Finish("stop")),
        ([b"data: [DONE]"], Finish("stop")),
        ([b"data:[DONE]\r\n\r\n"], Finish("stop")),
        ([b'data: {"choices":[{"finish_reason":"stop"}]}'], Finish("stop")),
        ([], Failure("the upstream ended its answer in the middle")),
        ([chunk({}, "")], Failure("the upstream ended its answer in the middle")),
        ([b"data: [DO"], Failure("the upstream ended its answer in the middle")),
        ([chunk({}, "error"), DONE], Failure("the upstream broke off the answer")),
        ([b'error: {"message":"out of memory"}'], Failure("out of memory")),
        ([b"error: out of memory\n\n"], Failure("out of memory")),
        ([b'event: error\ndata: {"message":"gone"}\n\n'], Failure("gone")),
        ([frame({"object": "error", "message": "m", "code": 503})], Failure("m", "overloaded")),
        ([chunk({}, None, error={"message": "m", "code": 429})], Failure("m", "rate_limited")),
        ([chunk({}, "stop", error=None), DONE], Finish("stop")),
        (
            [frame({"choices": [{"error": {"message": "m"}, "finish_reason": "error"}]})],
            Failure("m"),
        ),
    ],
)
def test_end_of_a_stream(tail: list[bytes], end: StreamEvent) -> None:
    assert read(chunk({"content": "x"}), *tail)[-1] == end


def test_nothing_at_all_is_a_failure() -> None:
    assert failure().message == "the upstream ended its answer in the middle"


def test_nothing_comes_behind_the_end() -> None:
    decoder = CODEC.decoder(context())
    assert isinstance(decoder.feed(DONE + chunk({"content": "x"}))[-1], Finish)
    assert decoder.feed(chunk({"content": "x"})) == []
    assert decoder.close() == []


@pytest.mark.parametrize("index", ["0", "00", 0.0, None, "first"])
def test_choice_without_a_number_is_the_first(index: Any) -> None:
    choice = {"index": index, "delta": {"content": "a"}, "finish_reason": "stop"}
    assert whole(frame({"choices": [choice]}), DONE).blocks == (Block("text", "a"),)


@pytest.mark.parametrize("index", [1, 1.0, "1"])
def test_other_choices_are_left_out(index: Any) -> None:
    choice = {"index": index, "delta": {"content": "a"}, "finish_reason": "stop"}
    assert whole(frame({"choices": [choice]}), chunk({}, "stop"), DONE).blocks == ()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b'event:error\ndata: {"message":"gone"}\n\n', "gone"),
        (b"event: error\ndata: gone\n\n", "gone"),
        (b"event: error\n\n", ""),
        (b'id: 1\nerror: {"message":"gone"}\n\n', "gone"),
    ],
)
def test_error_that_the_frame_says_is_a_failure(broken: bytes, message: str) -> None:
    assert failure(chunk({"content": "a"}), broken) == Failure(message)


@pytest.mark.parametrize(
    "event", [b"data: " + b"x" * 1_000, chunk({"content": "x" * 1_000})], ids=["torn", "whole"]
)
def test_event_over_the_limit_is_a_failure(event: bytes) -> None:
    decoder = CODEC.decoder(context(max_event_bytes=1_000))
    events = decoder.feed(event)
    assert isinstance(events[-1], Failure)
    assert "larger than 1000 bytes" in events[-1].message


def test_event_just_under_the_limit_is_read() -> None:
    text = "x" * (10 << 20)
    assert whole(chunk({"content": text}), DONE).blocks == (Block("text", text),)


@pytest.mark.parametrize("lone", [b"\r", b"data: x\rdata: y\r\r"])
def test_lone_carriage_returns_end_nothing(lone: bytes) -> None:
    assert failure(chunk({"content": "x"}), lone).message.endswith("in the middle")


def test_last_usage_counts_and_is_told_once() -> None:
    usages = (
        {"prompt_tokens": 5, "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": 2},
        {"prompt_tokens": "?"},
        None,
    )
    events = read(*(chunk({"content": "x"}, usage=usage) for usage in usages), DONE)
    seen = [event.usage for event in events if isinstance(event, UsageSeen)]
    assert seen == [Usage(5, 1), Usage(5, 2), Usage(5, 2, clamped=True)]


@pytest.mark.parametrize("choices", [None, [], {}, "x", [None], [5], [{}], [{"delta": 5}]])
def test_chunk_without_a_delta_says_nothing(choices: Any) -> None:
    text = json.dumps({"choices": choices})
    found = whole(f"data: {text}\n\n".encode(), chunk({"content": "x"}), DONE)
    assert found.blocks == (Block("text", "x"),)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": 5},
        {"content": [5, {"type": "text"}, {"type": "thinking", "thinking": 5}]},
        {"reasoning_content": {"a": 1}},
        {"refusal": []},
        {"tool_calls": {"index": 0}},
        {"tool_calls": [None, {"index": True, "function": 5}]},
        {"annotations": [{"type": "url_citation"}]},
        {"function_call": {"name": "", "arguments": ""}},
    ],
)
def test_mistyped_delta_says_nothing(delta: dict[str, Any]) -> None:
    assert whole(chunk(delta), chunk({"content": "x"}), DONE).blocks == (Block("text", "x"),)


def test_integer_of_more_than_64_bits_in_arguments_written_as_an_object_stays_exact() -> None:
    function = {"name": "f", "arguments": {"id": 123456789012345678901234567890}}
    delta = {"tool_calls": [{"index": 0, "id": "c", "function": function}]}
    assert calls(delta) == [("f", '{"id":123456789012345678901234567890}')]
