"""Reading streams: nothing raises, the guarantees hold, however the bytes come."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Delta,
    Failure,
    Finish,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.folding import fold
from kurolproxy.tokens import Usage
from tests.protocols.anthropic.support import context, decode
from tests.protocols.goldens import ROOT
from tests.protocols.streaming import check_guarantees


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        json.dumps({"type": kind, **fields}).encode(),
    )


def start(id_: str = "msg_1") -> bytes:
    return event("message_start", message={"id": id_, "model": "up"})


def opened(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, **said: Any) -> bytes:
    return event("content_block_delta", index=index, delta=said)


def text(index: int, words: str) -> bytes:
    return delta(index, type="text_delta", text=words)


def closed(index: int) -> bytes:
    return event("content_block_stop", index=index)


def end(reason: str | None = "end_turn", **usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage or None) + event(
        "message_stop"
    )


def read(*pieces: bytes) -> list[StreamEvent]:
    return decode([b"".join(pieces)])


def test_one_text_delta_is_one_event() -> None:
    decoder = CODEC.decoder(context())
    decoder.feed(start() + opened(0, type="text", text=""))
    assert decoder.feed(text(0, "Hello")) == [Delta(0, "Hello")]


def test_blocks_that_overlap_are_put_in_a_row() -> None:
    events = read(
        start(),
        opened(4, type="text", text=""),
        opened(2, type="tool_use", id="t", name="get", input={}),
        delta(2, type="input_json_delta", partial_json="{"),
        text(4, "a"),
        closed(2),
        text(4, "b"),
        closed(4),
        end("tool_use"),
    )
    assert events[1:] == [
        BlockStart(0, "text"),
        Delta(0, "a"),
        Delta(0, "b"),
        BlockEnd(0),
        BlockStart(1, "tool", ToolHead("t", "get")),
        Delta(1, "{"),
        BlockEnd(1),
        Finish("tool_calls"),
    ]


def test_block_announced_twice_ends_the_first() -> None:
    events = read(
        start(),
        opened(0, type="text", text=""),
        text(0, "a"),
        opened(0, type="text", text=""),
        text(0, "b"),
        end(),
    )
    starts = [each.index for each in events if isinstance(each, BlockStart)]
    assert starts == [0, 1]
    check_guarantees(events)


def test_text_behind_the_end_of_its_block_gets_a_new_one() -> None:
    events = read(start(), opened(0, type="text"), text(0, "a"), closed(0), text(0, "b"), end())
    answer = fold(events)
    assert not isinstance(answer, Failure)
    assert [block.text for block in answer.blocks] == ["a", "b"]


@pytest.mark.parametrize(
    "pieces",
    [
        (delta(0, type="input_json_delta", partial_json="{"),),
        (
            opened(0, type="tool_use", id="t", name="get", input={}),
            closed(0),
            delta(0, type="input_json_delta", partial_json="{"),
        ),
        (opened(0, type="tool_use", id="t", name="get", input={}), text(0, "words")),
    ],
    ids=["no call", "ended call", "words in a call"],
)
def test_stray_piece_of_a_call_breaks_the_answer_off(pieces: tuple[bytes, ...]) -> None:
    events = read(start(), *pieces, end())
    assert events[-1] == Failure("a piece of a block came outside of its block")
    check_guarantees(events)


@pytest.mark.parametrize("name", [{}, {"name": ""}, {"name": None}, {"name": 5}], ids=str)
def test_call_without_a_name_breaks_the_answer_off(name: dict[str, Any]) -> None:
    events = read(start(), opened(0, type="tool_use", id="t", **name, input={}), end())
    assert events[-1] == Failure("a tool call came without a name")
    check_guarantees(events)


def test_arguments_said_twice_count_once() -> None:
    events = read(
        start(),
        opened(0, type="tool_use", id="t", name="get", input={"a": 1}),
        delta(0, type="input_json_delta", partial_json='{"a":1}'),
        closed(0),
        end("tool_use"),
    )
    assert [each.text for each in events if isinstance(each, Delta)] == ['{"a":1}']


def test_proof_is_sealed_with_the_family_of_the_target() -> None:
    pieces = (
        start(),
        opened(0, type="thinking", thinking="", signature=""),
        delta(0, type="signature_delta", signature="si"),
        delta(0, type="signature_delta", signature="g"),
        closed(0),
        end(),
    )
    events = decode([b"".join(pieces)], context(family="fam"))
    assert Sealed(0, Seal("a", "fam", "sig")) in events


FINISHES = [
    ("end_turn", False, "stop"),
    ("pause_turn", False, "stop"),
    ("tool_use", False, "stop"),
    ("tool_use", True, "tool_calls"),
    ("end_turn", True, "tool_calls"),
    ("stop_sequence", True, "tool_calls"),
    ("max_tokens", True, "length"),
    ("model_context_window_exceeded", False, "length"),
    ("refusal", True, "content_filter"),
    ("compaction", False, "other"),
    (None, False, "other"),
    (None, True, "tool_calls"),
]


@pytest.mark.parametrize(("reason", "called", "finish"), FINISHES, ids=str)
def test_reason_to_stop(reason: str | None, called: bool, finish: str) -> None:
    call = opened(0, type="tool_use", id="t", name="get", input={}) + closed(0)
    last = read(start(), call if called else b"", end(reason))[-1]
    assert isinstance(last, Finish)
    assert last.reason == finish


ERRORS = [
    ({"error": {"type": "overloaded_error", "message": "Busy"}}, "Busy", "overloaded"),
    ({"error": {"type": "rate_limit_error", "message": "Slow"}}, "Slow", "rate_limited"),
    ({"error": {"type": "invalid_request_error", "message": "Bad"}}, "Bad", "bad_request"),
    ({"error": {"type": "request_too_large", "message": "Big"}}, "Big", "bad_request"),
    ({"error": {"type": "api_error", "message": "Hm"}}, "Hm", "upstream_error"),
    ({"error": {"type": "invented_error", "message": None}}, "", "upstream_error"),
    ({"error": "only words"}, "only words", "upstream_error"),
    ({"message": "beside"}, "beside", "upstream_error"),
    ({}, "", "upstream_error"),
]


@pytest.mark.parametrize(("fields", "message", "kind"), ERRORS, ids=str)
def test_error_event_is_a_failure_of_its_kind(
    fields: dict[str, Any], message: str, kind: str
) -> None:
    assert read(start(), event("error", **fields), text(0, "late")) == [
        Start("msg_1", "up"),
        Failure(message, kind),
    ]


def test_error_object_without_event_and_type_is_a_failure() -> None:
    assert read(b'data: {"error": {"message": "no"}}\n\n') == [Start(), Failure("no")]


def test_error_before_the_message_still_has_a_start() -> None:
    check_guarantees(read(event("error", error={"type": "overloaded_error", "message": "x"})))


@pytest.mark.parametrize(
    "frame",
    [
        b"event: ping\ndata: {}\n\n",
        b"event: ping\ndata: not json\n\n",
        b": a comment\n\n",
        b"retry: 500\n\n",
        b"data: [DONE]\n\n",
        b"event: from_the_future\ndata: {]\n\n",
        event("from_the_future", index=0),
        event("content_block_delta", index=0, delta={"type": "mood_delta", "mood": "x"}),
        event("content_block_delta", index=0, delta=None),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": 5}),
        event("content_block_stop", index=9),
        event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": 5}),
    ],
    ids=range(13),
)
def test_frame_that_says_nothing_changes_nothing(frame: bytes) -> None:
    frames = [start(), opened(0, type="text", text=""), text(0, "a"), closed(0), end()]
    for at in range(1, len(frames)):
        assert read(*frames[:at], frame, *frames[at:]) == read(*frames)


@pytest.mark.parametrize("name", ["content_block_delta", "message_start", "error", "message"])
@pytest.mark.parametrize("data", [b"{]", b"[1]", b'"text"', b"\xff"], ids=repr)
def test_known_event_that_is_no_object_breaks_the_answer_off(name: str, data: bytes) -> None:
    frame = b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    events = read(start(), frame, end())
    assert events[-1] == Failure("an event of the stream is no JSON object")


def test_event_that_nests_too_deep_breaks_the_answer_off() -> None:
    deep = b"[" * 200 + b"]" * 200
    frame = b'data: {"type":"content_block_delta","index":0,"x":' + deep + b"}\n\n"
    assert isinstance(read(start(), frame, end())[-1], Failure)


def test_broken_utf8_becomes_a_replacement_character() -> None:
    frame = text(0, "aXb").replace(b"X", b"\xff")
    assert Delta(0, "a\ufffdb") in read(start(), opened(0, type="text"), frame, end())


def test_lone_surrogate_becomes_a_replacement_character() -> None:
    frame = text(0, "aXb").replace(b"X", rb"\ud800")
    assert Delta(0, "a\ufffdb") in read(start(), opened(0, type="text"), frame, end())


def test_data_may_stand_on_several_lines() -> None:
    frame = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta",\ndata: "index":0,'
        b'"delta":{"type":"text_delta","text":"ab"}}\n\n'
    )
    assert Delta(0, "ab") in read(start(), opened(0, type="text"), frame, end())


def test_byte_order_mark_before_the_stream_is_skipped() -> None:
    assert read(b"\xef\xbb\xbf" + start(), end()) == read(start(), end())


@pytest.mark.parametrize(
    "frame", [b"data: " + b"x" * 1_000, text(0, "x" * 1_000)], ids=["torn", "whole"]
)
def test_frame_over_the_limit_breaks_the_answer_off(frame: bytes) -> None:
    decoder = CODEC.decoder(context(max_event_bytes=1_000))
    decoder.feed(start())
    events = decoder.feed(frame)
    assert len(events) == 1
    assert isinstance(events[0], Failure)
    assert "larger than 1000 bytes" in events[0].message
    assert decoder.feed(end()) == []
    assert decoder.close() == []


def test_nothing_follows_the_end() -> None:
    decoder = CODEC.decoder(context())
    whole = decoder.feed(start() + end())
    assert isinstance(whole[-1], Finish)
    assert decoder.feed(start("msg_2") + text(0, "late")) == []
    assert decoder.close() == []


@pytest.mark.parametrize(
    "pieces",
    [(), (start(),), (start(), opened(0, type="text"), text(0, "a"), closed(0))],
    ids=["nothing", "head only", "no end"],
)
def test_end_of_bytes_is_no_end_of_the_answer(pieces: tuple[bytes, ...]) -> None:
    events = read(*pieces)
    assert events[-1] == Failure("the stream ended before its message did")
    check_guarantees(events)


def test_message_that_begins_after_its_words_is_the_same_message() -> None:
    events = read(text(0, "a"), start(), text(0, "b"), end())
    check_guarantees(events)
    assert isinstance(events[-1], Finish)


USAGES = [
    ([{"input_tokens": 5}], Usage(prompt=5)),
    (
        [{"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}],
        Usage(prompt=10, cache_read=3, cache_write=2),
    ),
    ([{"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 7}], Usage(5, 7)),
    ([{"input_tokens": 5}, {"input_tokens": 0, "output_tokens": 7}], Usage(0, 7)),
    ([{"input_tokens": 5}, {"input_tokens": None, "output_tokens": 7.9}],
     Usage(5, 7, clamped=True)),
    ([{"input_tokens": 5, "output_tokens": 1}, {}], Usage(5)),
    ([{}, {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}}],
     Usage(0, 7, 0, 0, 3)),
    ([{"input_tokens": -5}, {"output_tokens": 10**30}], Usage(0, 10**9, clamped=True)),
    ([{"input_tokens": 10**9, "cache_read_input_tokens": 10**9}],
     Usage(10**9, cache_read=10**9, clamped=True)),
    ([{"input_tokens": "5", "output_tokens": [1]}], Usage(clamped=True)),
    ([[], "many", None], None),
]  # fmt: skip


@pytest.mark.parametrize(("usages", "total"), USAGES, ids=str)
def test_each_counter_that_is_named_again_replaces_the_one_before(
    usages: list[Any], total: Usage | None
) -> None:
    first = event("message_start", message={"id": "m", "usage": usages[0]})
    more = [event("message_delta", delta={}, usage=usage) for usage in usages[1:]]
    seen = [each.usage for each in read(first, *more, end()) if isinstance(each, UsageSeen)]
    assert (seen[-1] if seen else None) == total


STREAMS = [path.read_bytes() for path in sorted((ROOT / "anthropic" / "stream").glob("*.sse"))]


@pytest.mark.parametrize("stream", STREAMS, ids=range(len(STREAMS)))
def test_event_lines_are_not_needed(stream: bytes) -> None:
    lines = stream.splitlines(keepends=True)
    bare = b"".join(each for each in lines if not each.startswith(b"event: "))
    if b"not json" not in bare:
        assert decode([bare]) == decode([stream])
        named = bare.replace(b"data: {", b"event: message\ndata: {")
        assert decode([named]) == decode([stream])


# --- properties -------------------------------------------------------------------------


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 4000), max_size=8))
def test_any_cut_of_a_stream_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    at = sorted({0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)})
    pieces = [stream[one:other] for one, other in pairwise(at)]
    assert decode(pieces) == decode([stream])


@given(st.sampled_from(STREAMS), st.integers(0, 4000), st.binary(max_size=30))
def test_no_damage_to_a_stream_raises(stream: bytes, at: int, bytes_: bytes) -> None:
    at %= len(stream)
    check_guarantees(decode([stream[:at] + bytes_ + stream[at + len(bytes_) :]]))
    check_guarantees(decode([stream[:at]]))


# What the parser can hand us: it reads larger integers as floats.
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
WORDS = st.sampled_from(
    [
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "error",
        "ping",
    ]
)
KEYS = st.sampled_from(
    ["index", "delta", "content_block", "message", "usage", "error", "stop_reason"]
)
BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "redacted_thinking", "x"])},
    optional={
        "text": JSON,
        "input": JSON,
        "id": JSON,
        "name": JSON,
        "signature": JSON,
        "data": JSON,
    },
)
DELTAS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text_delta", "thinking_delta", "input_json_delta", "y"])},
    optional={"text": JSON, "thinking": JSON, "partial_json": JSON},
)
EVENTS = st.fixed_dictionaries(
    {"type": WORDS},
    optional={
        "index": st.integers(0, 2) | JSON,
        "content_block": BLOCKS | JSON,
        "delta": DELTAS | JSON,
        "message": st.dictionaries(KEYS, JSON) | JSON,
        "usage": JSON,
        "error": JSON,
    },
)


@given(st.lists(EVENTS, max_size=12))
def test_any_events_keep_the_guarantees(events: list[dict[str, Any]]) -> None:
    stream = b"".join(
        b"data: " + json.dumps(each, allow_nan=False, default=str).encode() + b"\n\n"
        for each in events
        if _sayable(each)
    )
    check_guarantees(decode([stream]))


def _sayable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@given(JSON)
def test_any_answer_keeps_the_guarantees(body: Any) -> None:
    check_guarantees(CODEC.decode_response(body, context()))


@given(st.lists(BLOCKS | JSON, max_size=5), JSON, JSON)
def test_any_message_keeps_the_guarantees(content: list[Any], reason: Any, usage: Any) -> None:
    body = {"type": "message", "content": content, "stop_reason": reason, "usage": usage}
    check_guarantees(CODEC.decode_response(body, context()))


def test_integer_of_more_than_64_bits_in_an_input_stays_exact() -> None:
    given = {"id": 123456789012345678901234567890}
    block = opened(0, type="tool_use", id="t", name="f", input=given)
    events = decode([start(), block, closed(0), end("tool_use"), event("message_stop")])
    assert Delta(0, '{"id":123456789012345678901234567890}') in events
