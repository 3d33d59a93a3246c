"""Passing answers through: what is seen, what is changed, and that nothing else is."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.anthropic.scan import MessagesScanner
from kurolproxy.protocols.base import PassFacts
from kurolproxy.tokens import Usage
from tests.protocols.goldens import ROOT
from tests.protocols.streaming import CUTS, cut, whole_frames

MODEL = "claude-up"


def scanner(model: str = MODEL) -> MessagesScanner:
    return MessagesScanner(model, PassFacts())


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        json.dumps({"type": kind, **fields}).encode(),
    )


def start(model: str = MODEL, **usage: Any) -> bytes:
    return event("message_start", message={"id": "m", "model": model, "usage": usage})


def delta(**said: Any) -> bytes:
    return event("content_block_delta", index=0, delta=said)


def opened(**block: Any) -> bytes:
    return event("content_block_start", index=0, content_block=block)


TEXT = delta(type="text_delta", text="Hello")
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
STOP = event("message_stop")
ERROR = event("error", error={"type": "overloaded_error", "message": "Busy"})


def passed(found: MessagesScanner, *pieces: bytes) -> bytes:
    """Feed what a splitter makes of the pieces, as the relay does."""
    return b"".join(map(found.feed, whole_frames(pieces)))


def test_unchanged_pieces_are_handed_on_as_the_objects_that_were_read() -> None:
    found = scanner()
    for piece in (start(), event("ping"), opened(type="text", text="") + TEXT, TEXT * 3, END, STOP):
        assert found.feed(piece) is piece
    assert found.finished


def test_usage_is_read_of_both_ends() -> None:
    found = scanner()
    passed(found, start(input_tokens=5, cache_read_input_tokens=2, output_tokens=1), TEXT)
    assert found.usage == Usage(prompt=7, cache_read=2)
    passed(found, END + STOP)
    assert found.usage == Usage(prompt=7, completion=7, cache_read=2)


def test_usage_that_nobody_names_is_unknown() -> None:
    found = scanner()
    passed(found, event("message_start", message={"id": "m"}), TEXT, STOP)
    assert found.usage is None
    assert found.finished


MODELS = [
    b'{"type":"message_start","message":{"id":"m","model":"claude-up","usage":{}}}',
    b'{"type": "message_start", "message": {"model" : "claude-up"}}          ',
    b'{"message":{"content":[{"model":"claude-up"}],"model":"claude-up"},"type":"message_start"}',
    b'{"type":"message_start","model":"outer","message":{"model":"cl\\u0061ude-up","x":"\\"model\\":"}}',
]
RENAMED = [
    b'{"type":"message_start","message":{"id":"m","model":"mine/1","usage":{}}}',
    b'{"type": "message_start", "message": {"model" : "mine/1"}}          ',
    b'{"message":{"content":[{"model":"claude-up"}],"model":"mine/1"},"type":"message_start"}',
    b'{"type":"message_start","model":"outer","message":{"model":"mine/1","x":"\\"model\\":"}}',
]


@pytest.mark.parametrize("head", [b"event: message_start\n", b""], ids=["event line", "none"])
@pytest.mark.parametrize(("data", "renamed"), list(zip(MODELS, RENAMED, strict=True)), ids=range(4))
def test_model_is_replaced_at_its_place_and_nothing_else(
    head: bytes, data: bytes, renamed: bytes
) -> None:
    frame = head + b"data: %b\n\n"
    assert scanner("mine/1").feed(frame % data) == frame % renamed
    same = frame % renamed
    assert scanner("mine/1").feed(same) is same


def test_answer_without_a_model_stays_without() -> None:
    frame = event("message_start", message={"id": "m"})
    assert scanner("mine").feed(frame) is frame


def test_start_that_is_broken_goes_on_as_it_is() -> None:
    frame = b'event: message_start\ndata: {"type":"message_start","message":{"model":\n\n'
    found = scanner("mine")
    assert found.feed(frame) is frame
    assert found.failure is None


CONTENT = [
    ("head", start(), False),
    ("ping", event("ping"), False),
    ("comment", b": ping\n\n", False),
    ("empty text block", opened(type="text", text=""), False),
    ("empty thinking block", opened(type="thinking", thinking="", signature=""), False),
    ("empty text", delta(type="text_delta", text=""), False),
    ("empty arguments", delta(type="input_json_delta", partial_json=""), False),
    ("end of a block", event("content_block_stop", index=0), False),
    ("unknown event", event("from_the_future", text="x"), False),
    ("reason to stop", END, False),
    ("broken delta", b"event: content_block_delta\ndata: {\n\n", False),
    ("text", TEXT, True),
    ("thinking", delta(type="thinking_delta", thinking="hm"), True),
    ("signature", delta(type="signature_delta", signature="s"), True),
    ("arguments", delta(type="input_json_delta", partial_json="{"), True),
    ("text at the start", opened(type="text", text="Hello"), True),
    ("call", opened(type="tool_use", id="t", name="n", input={}), True),
    ("vendor's call", opened(type="server_tool_use", id="t", name="n", input={}), True),
    ("redacted thinking", opened(type="redacted_thinking", data="d"), True),
    ("the end", STOP, True),
]


@pytest.mark.parametrize("line", ["its own", "none", "message"])
@pytest.mark.parametrize(
    ("frame", "content"), [each[1:] for each in CONTENT], ids=[each[0] for each in CONTENT]
)
def test_content_is_what_the_client_can_use(frame: bytes, content: bool, line: str) -> None:
    if line != "its own" and frame.startswith(b"event:"):
        data = frame.split(b"\n", 1)[1]
        frame = data if line == "none" else b"event: message\n" + data
    found = scanner()
    assert found.feed(frame) is frame
    assert found.content is content


@pytest.mark.parametrize("together", [True, False])
def test_error_is_held_back_with_all_behind_it(together: bool) -> None:
    found = scanner()
    frames = [start(), TEXT, ERROR, TEXT, STOP]
    out = passed(found, b"".join(frames)) if together else passed(found, *frames)
    assert out == start() + TEXT
    assert found.failure == "Busy"
    assert not found.finished


ERRORS = [
    (b'event: error\ndata: {"type": "error", "error": {"message": "a"}}\n\n', "a"),
    (b'event:error\ndata:{"type":"error","error":{"message":"b"}}\n\n', "b"),
    (b'data: {"error":{"message":"c"},"type" : "error"}\n\n', "c"),
    (b'event: error\r\ndata: {"error":"d"}\r\n\r\n', "d"),
    (b"event: error\ndata: not json\n\n", "the upstream reported an error"),
    (b'event: error\ndata: {"type":"error","error":{}}\n\n', "the upstream reported an error"),
]


@pytest.mark.parametrize(("frame", "message"), ERRORS, ids=range(len(ERRORS)))
def test_error_is_found_in_every_spelling(frame: bytes, message: str) -> None:
    found = scanner()
    assert passed(found, start(), TEXT, frame) == start() + TEXT
    assert found.failure == message


def test_text_that_speaks_of_errors_and_events_goes_through() -> None:
    words = 'event: error\n{"type":"error"} message_stop "message_start" {"error":1}'
    frame = delta(type="text_delta", text=words)
    found = scanner("mine")
    assert passed(found, start("mine"), TEXT, frame, frame.split(b"\n", 1)[1]) == (
        start("mine") + TEXT + frame + frame.split(b"\n", 1)[1]
    )
    assert found.failure is None
    assert not found.finished


def test_nothing_behind_the_end_is_handed_on() -> None:
    found = scanner()
    assert found.feed(start() + STOP + event("ping") + b"data: [DONE]\n\n") == start() + STOP
    assert found.feed(TEXT) == b""
    assert found.close() == b""


def test_stream_that_just_ends_is_not_finished() -> None:
    found = scanner()
    passed(found, start(), TEXT, END)
    assert found.close() == b""
    assert not found.finished


def test_bytes_are_counted_about_as_long_as_the_text() -> None:
    found = scanner()
    words = "word " * 200
    frame = event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})
    compact = frame.replace(b'": ', b'":').replace(b', "', b',"')
    passed(found, start(), compact, compact * 3, compact.split(b"\n", 1)[1])
    assert found.emitted_bytes == 5 * len(words)


def test_results_of_the_vendors_tools_are_not_counted() -> None:
    found = scanner()
    passed(found, TEXT)
    counted = found.emitted_bytes
    passed(
        found, opened(type="web_search_tool_result", content=[{"encrypted_content": "x" * 9999}])
    )
    assert found.emitted_bytes == counted


STREAMS = [path.read_bytes() for path in sorted((ROOT / "anthropic" / "stream").glob("*.sse"))]


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("stream", STREAMS, ids=range(len(STREAMS)))
def test_stream_passes_the_same_however_it_is_cut(stream: bytes, size: int) -> None:
    assert outcome(cut(stream, size)) == outcome([stream])


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 4000), max_size=8))
def test_any_cut_passes_the_same(stream: bytes, cuts: list[int]) -> None:
    at = sorted({0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)})
    assert outcome([stream[one:other] for one, other in pairwise(at)]) == outcome([stream])


def outcome(pieces: Any, model: str = "mine") -> tuple[Any, ...]:
    found = scanner(model)
    out = passed(found, *pieces)
    return out, found.usage, found.content, found.finished, found.failure


@given(st.lists(st.sampled_from([start(), TEXT, END, STOP, ERROR, b"data: {\n\n"]), max_size=6))
def test_same_model_means_same_bytes(frames: list[bytes]) -> None:
    found = scanner()
    out = passed(found, *frames)
    assert b"".join(frames).startswith(out)


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    found = scanner()
    found.feed(data + b"\n\n")
    found.close()


# --- whole answers ----------------------------------------------------------------------

BODY = (
    b'{"content": [{"type":"tool_use","id":"t","name":"n","input":'
    b'{"model":"claude-up","n":12345678901234567890123}},'
    b'{"type":"text","text":"H\xc3\xa9"}], "model" : "claude-up", "type": "message",'
    b' "usage": {"input_tokens": 5, "output_tokens": 7}}'
)


def test_whole_answer_is_the_object_that_was_read_when_the_model_is_the_same() -> None:
    answer = CODEC.passed_answer(BODY, "claude-up")
    assert answer.body is BODY
    assert answer.usage == Usage(5, 7)
    assert answer.failure is None


def test_model_of_a_whole_answer_is_replaced_and_nothing_else() -> None:
    answer = CODEC.passed_answer(BODY, "mine")
    assert answer.body == BODY.replace(b'"model" : "claude-up"', b'"model" : "mine"')


def test_whole_answer_counts_what_the_model_wrote() -> None:
    body = b'{"type":"message","content":[{"type":"text","text":"H\xc3\xa9"},{"type":"thinking","thinking":"hm"},{"type":"tool_use","input":{"a":1}},{"type":"web_search_tool_result","content":"xxxx"},5]}'  # noqa: E501
    answer = CODEC.passed_answer(body, "mine")
    assert answer.emitted_bytes == 3 + 2 + 7
    assert answer.usage is None
    assert answer.body is body


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (b"<html>", "the upstream's answer is not valid JSON"),
        (b"", "the upstream's answer is not valid JSON"),
        (b"[]", "the upstream's answer is no JSON object"),
        (b"{}", "the upstream's answer is no message"),
        (b'{"object":"chat.completion","choices":[]}', "the upstream's answer is no message"),
        (b'{"type":"error","error":{"message":"Busy"}}', "Busy"),
        (b'{"error":{"type":"x"}}', "the upstream reported an error"),
        (b"[" * 300 + b"]" * 300, "the upstream's answer is nested deeper"),
    ],
    ids=range(8),
)
def test_what_is_no_answer_is_told(body: bytes, failure: str) -> None:
    answer = CODEC.passed_answer(body, "mine")
    assert answer.failure is not None
    assert answer.failure.startswith(failure)
    assert answer.usage is None
