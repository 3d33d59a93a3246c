"""Streams of an upstream, read event by event."""

from __future__ import annotations

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
    Response,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_responses.assembly import _READERS, Assembly
from kurolproxy.protocols.openai_responses.codec import CODEC
from kurolproxy.protocols.openai_responses.quick import Lesson
from kurolproxy.sse import read_frame
from kurolproxy.tokens import Usage
from tests.protocols.goldens import cases
from tests.protocols.openai_responses.answer_support import context, decode, frame
from tests.protocols.streaming import check_guarantees, cuts

STREAMS = [path.read_bytes() for path in cases("openai_responses", "stream", "sse")]
# What JSON can say: no halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)

CREATED = frame("response.created", response={"id": "resp_u", "model": "up"})
DONE = frame("response.completed", response={"status": "completed", "output": []})


def text_delta(text: str, **more: Any) -> bytes:
    place = {"item_id": "msg_u", "output_index": 0, "content_index": 0}
    return frame("response.output_text.delta", **place, delta=text, logprobs=[], **more)


def call_delta(text: str, index: int = 0) -> bytes:
    return frame("response.function_call_arguments.delta", output_index=index, delta=text)


def item_event(kind: str, index: int, **item: Any) -> bytes:
    return frame(f"response.output_item.{kind}", output_index=index, item=item)


def call(name: str = "get", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{name}", "name": name, **more}


def answered(*frames: bytes) -> Response:
    folded = fold(decode([b"".join((CREATED, *frames, DONE))]))
    assert isinstance(folded, Response)
    return folded


def test_nothing_comes_behind_the_end() -> None:
    decoder = CODEC.decoder(context())
    assert isinstance(decoder.feed(CREATED + DONE)[-1], Finish)
    assert decoder.feed(text_delta("more")) == []
    assert decoder.close() == []


def test_text_goes_out_as_it_comes() -> None:
    decoder = CODEC.decoder(context())
    decoder.feed(CREATED)
    assert decoder.feed(text_delta("a")) == [BlockStart(0, "text"), Delta(0, "a")]
    assert decoder.feed(text_delta("b")) == [Delta(0, "b")]


def test_call_is_known_when_it_is_announced() -> None:
    decoder = CODEC.decoder(context())
    events = decoder.feed(item_event("added", 0, **call("get", arguments="", namespace="fs")))
    assert events == [Start(), BlockStart(0, "tool", ToolHead("call_get", "get", ns="fs"))]


def test_empty_deltas_are_swallowed() -> None:
    assert answered(text_delta("")).blocks == ()


@pytest.mark.parametrize("delta", [None, 3, ["a"], {"text": "a"}], ids=str)
def test_delta_that_is_no_text_says_nothing(delta: Any) -> None:
    assert answered(text_delta(delta)).blocks == ()


def test_event_that_is_too_large_breaks_the_answer_off() -> None:
    events = decode([CREATED + text_delta("x" * 999)], context(max_event_bytes=500))
    assert events[-1] == Failure("an event of the stream is larger than 500 bytes")


def test_empty_stream_is_a_failure() -> None:
    assert decode([]) == [Start(), Failure("the upstream ended its answer in the middle")]


def test_done_mark_is_no_end() -> None:
    events = decode([CREATED + text_delta("a") + b"data: [DONE]\n\n"])
    assert isinstance(events[-1], Failure)


def test_proof_of_no_family_is_left_out() -> None:
    item = item_event("done", 0, type="reasoning", encrypted_content="p", summary=[])
    stream = CREATED + item + DONE
    assert Sealed(0, Seal("r", "gpt", "p")) in decode([stream])
    folded = fold(decode([stream], context(family="")))
    assert isinstance(folded, Response)
    assert folded.blocks == ()


def test_proof_of_an_announcement_is_not_final() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    added = item_event("added", 0, **item, encrypted_content="not yet")
    done = item_event("done", 0, **item, encrypted_content="final")
    (block,) = answered(added, done).blocks
    assert block.seal == Seal("r", "gpt", "final", item_id="rs_1")


def test_thoughts_of_an_open_model_may_come_as_content_parts() -> None:
    part = {"type": "reasoning_text", "text": "hm"}
    done = frame("response.content_part.done", output_index=0, content_index=0, part=part)
    (block,) = answered(done).blocks
    assert (block.kind, block.text) == ("reasoning", "hm")


def test_text_begins_while_thoughts_are_not_ended() -> None:
    decoder = CODEC.decoder(context())
    thought = frame("response.reasoning_text.delta", output_index=0, content_index=0, delta="hm")
    said = frame("response.output_text.delta", output_index=1, content_index=0, delta="Hi")
    decoder.feed(CREATED + thought)
    assert decoder.feed(said) == [BlockEnd(0), BlockStart(1, "text"), Delta(1, "Hi")]


def test_item_without_its_end_holds_back_the_next_one_until_the_end() -> None:
    decoder = CODEC.decoder(context())
    decoder.feed(CREATED + text_delta("a"))
    assert decoder.feed(item_event("added", 1, **call())) == []
    assert decoder.feed(call_delta("{}", 1)) == []
    assert decoder.feed(text_delta("b")) == [Delta(0, "b")]
    assert decoder.feed(DONE) == [
        BlockEnd(0),
        BlockStart(1, "tool", ToolHead("call_get", "get")),
        Delta(1, "{}"),
        BlockEnd(1),
        Finish("tool_calls"),
    ]


def test_message_keeps_its_place_before_a_call_that_is_announced_later() -> None:
    message = item_event("added", 0, type="message", content=[])
    added = item_event("added", 1, **call())
    blocks = answered(message, added, text_delta("late"), call_delta("{}", 1)).blocks
    assert [block.kind for block in blocks] == ["text", "tool"]


def test_silent_message_keeps_no_place() -> None:
    message = item_event("added", 0, type="message", content=[])
    ended = item_event("done", 0, type="message", content=[])
    decoder = CODEC.decoder(context())
    decoder.feed(CREATED + message + ended)
    assert decoder.feed(item_event("added", 1, **call())) == [
        BlockStart(0, "tool", ToolHead("call_get", "get"))
    ]


@pytest.mark.parametrize("number", [0, 1, 7])
def test_words_of_an_announced_message_go_out_whatever_part_they_are(number: int) -> None:
    message = item_event("added", 0, type="message", content=[])
    said = frame("response.refusal.delta", output_index=0, content_index=number, delta="No")
    decoder = CODEC.decoder(context())
    decoder.feed(CREATED + message)
    assert decoder.feed(said) == [BlockStart(0, "refusal"), Delta(0, "No")]


def test_item_that_is_told_twice_counts_once() -> None:
    part = {"type": "output_text", "text": "Hi"}
    item = item_event("done", 0, type="message", id="msg_1", content=[part])
    assert [block.text for block in answered(item, item).blocks] == ["Hi"]


def test_terminal_event_adds_only_what_is_missing() -> None:
    def message(id_: str, text: str) -> dict[str, Any]:
        part = {"type": "output_text", "text": text}
        return {"type": "message", "id": id_, "content": [part]}

    one, two = message("msg_1", "One"), message("msg_2", "Two")
    # The vendor's own item has a number among the events, and none in the end.
    told = item_event("added", 0, type="web_search_call") + item_event("done", 1, **one)
    end = frame("response.completed", response={"output": [one, two]})
    folded = fold(decode([CREATED + told + end]))
    assert isinstance(folded, Response)
    assert [block.text for block in folded.blocks] == ["One", "Two"]


def test_full_text_that_contradicts_what_was_said_is_ignored() -> None:
    done = {"output_index": 0, "content_index": 0, "text": "Something else"}
    blocks = answered(text_delta("Hello"), frame("response.output_text.done", **done)).blocks
    assert [block.text for block in blocks] == ["Hello"]


def test_words_behind_the_end_of_a_part_are_not_lost() -> None:
    part = {"type": "output_text", "text": "a"}
    done = frame("response.content_part.done", output_index=0, content_index=0, part=part)
    ended = item_event("done", 0, type="message", content=[part])
    blocks = answered(text_delta("a"), done, text_delta("b"), ended, text_delta("c")).blocks
    assert [block.text for block in blocks] == ["a", "b", "c"]


def test_arguments_of_the_announcement_count_when_no_others_come() -> None:
    added = item_event("added", 0, **call(arguments='{"a":1}'))
    assert answered(added).blocks[0].text == '{"a":1}'
    assert answered(added, call_delta('{"b":2}')).blocks[0].text == '{"b":2}'


def test_name_that_comes_with_the_finished_item_opens_the_call() -> None:
    finished = item_event("done", 0, **call(arguments='{"a":1}'))
    (block,) = answered(call_delta('{"a"'), call_delta(":1}"), finished).blocks
    assert (block.tool, block.text) == (ToolHead("call_get", "get"), '{"a":1}')


@pytest.mark.parametrize(
    ("status", "reason", "called", "expected"),
    [
        ("completed", None, False, "stop"),
        ("completed", None, True, "tool_calls"),
        ("incomplete", "max_output_tokens", True, "length"),
        ("incomplete", "content_filter", True, "content_filter"),
        ("incomplete", "steered", False, "other"),
        ("incomplete", None, False, "other"),
        ("complete", None, False, "other"),
        ("complete", None, True, "tool_calls"),
        (None, None, False, "stop"),
    ],
)
def test_end_says_why(status: str | None, reason: str | None, called: bool, expected: str) -> None:
    details = {"reason": reason} if reason else None
    output = [call(arguments="{}")] if called else []
    response = {"status": status, "incomplete_details": details, "output": output}
    events = decode([frame("response.completed", response=response)])
    assert events[-1] == Finish(expected)  # type: ignore[arg-type]  # the table has its words


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", "rate_limited"),
        ("server_is_overloaded", "overloaded"),
        ("invalid_image_url", "bad_request"),
        ("context_length_exceeded", "bad_request"),
        ("server_error", "upstream_error"),
        ("unheard_of", "upstream_error"),
    ],
)
def test_failure_says_what_it_was(code: str, kind: str) -> None:
    failed = {"status": "failed", "error": {"code": code, "message": "Words."}}
    for stream in (
        frame("response.failed", response=failed),
        frame("error", code=code, message="Words.", param=None),
        frame("error", error={"code": code, "message": "Words."}),
    ):
        assert decode([stream])[-1] == Failure("Words.", kind)


def test_usage_of_a_failed_answer_is_kept() -> None:
    usage = {"input_tokens": 5, "output_tokens": 7}
    events = decode([frame("response.failed", response={"usage": usage, "error": {}})])
    assert [event.usage for event in events if hasattr(event, "usage")] == [Usage(5, 7)]


# --- the quick way --------------------------------------------------------------------------


def test_quick_reading_is_used() -> None:
    lesson, assembly = Lesson(), Assembly(context())
    rows = [("a", 1, "x1", ""), ("b", 23, "", "b"), ("é", 4, "yy", "é"), ('"', 5, "z", "")]
    for text, number, pad, expected in rows:
        data = text_delta(text, sequence_number=number, obfuscation=pad)
        assert lesson.read(data) == expected
        event = wire.loads(read_frame(data)[1])
        assembly.event("", event)
        assert assembly.touched is not None
        lesson.learn(data, event, assembly.touched)


@pytest.mark.parametrize(
    "change",
    [
        (b'"output_index":0', b'"output_index":1'),
        (b'"delta":"b"', b'"delta":"b\n"'),
        (b'"delta":"b"', b'"delta":"\xff"'),
        (b'"delta":"b"', b'"delta":"b","delta":"c"'),
        (b'"sequence_number":2', b'"sequence_number":02'),
        (b'"sequence_number":2', b'"sequence_number":-2'),
        (b'"obfuscation":"p"', b'"obfuscation":"p","x":"y"'),
        (b"}\n\n", b"},\n\n"),
    ],
    ids=lambda change: repr(change[1]),
)
def test_quick_reading_leaves_what_differs_to_the_full_one(change: tuple[bytes, bytes]) -> None:
    lesson, assembly = Lesson(), Assembly(context())
    first = text_delta("a", sequence_number=1, obfuscation="o")
    event = wire.loads(read_frame(first)[1])
    assembly.event("", event)
    assert assembly.touched is not None
    lesson.learn(first, event, assembly.touched)
    second = text_delta("b", sequence_number=2, obfuscation="p")
    assert lesson.read(second) == "b"
    assert change[0] in second
    assert lesson.read(second.replace(*change)) == ""


def slowly(frames: list[bytes]) -> list[StreamEvent]:
    """Decode events of which none repeats the bytes of another: none is read quickly."""
    unlike = [
        each.replace(b'"type":', b'"unread":%d,"type":' % at, 1) for at, each in enumerate(frames)
    ]
    return decode([b"".join(unlike)])


@given(st.lists(st.tuples(TEXT, st.text("aZ09", max_size=4)), max_size=8), st.booleans())
def test_quick_reading_is_the_full_reading(said: list[tuple[str, str]], pads: bool) -> None:
    frames = [
        text_delta(text, sequence_number=at, **({"obfuscation": pad} if pads else {}))
        for at, (text, pad) in enumerate(said)
    ]
    stream = [CREATED, *frames, DONE]
    events = decode([b"".join(stream)])
    assert events == slowly(stream)
    assert [event.text for event in events if isinstance(event, Delta)] == [
        each for each, _ in said
    ]


# --- any bytes ------------------------------------------------------------------------------


@given(st.data())
def test_any_split_of_a_stream_gives_the_same_events(data: st.DataObject) -> None:
    stream = data.draw(st.sampled_from(STREAMS))
    events = decode(data.draw(cuts(stream)))
    check_guarantees(events)
    assert events == decode([stream])


@given(st.data())
def test_any_bytes_give_a_whole_event_list(data: st.DataObject) -> None:
    stream = bytearray(data.draw(st.sampled_from(STREAMS)))
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    check_guarantees(decode(data.draw(cuts(bytes(stream)))))


@given(st.data())
def test_any_order_of_events_gives_a_whole_event_list(data: st.DataObject) -> None:
    frames = [each + b"\n\n" for stream in STREAMS for each in stream.split(b"\n\n") if each]
    chosen = data.draw(st.lists(st.sampled_from(frames), max_size=14))
    stream = b"".join(chosen) + DONE
    events = decode([stream])
    check_guarantees(events)
    assert events == decode(data.draw(cuts(stream)))


_SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | _SHORT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_SHORT, inner),
    max_leaves=6,
)
_WORDS = st.sampled_from(
    [
        "annotations",
        "arguments",
        "call_id",
        "code",
        "content",
        "content_index",
        "delta",
        "encrypted_content",
        "error",
        "id",
        "incomplete_details",
        "input",
        "item",
        "item_id",
        "message",
        "name",
        "namespace",
        "output",
        "output_index",
        "part",
        "reason",
        "refusal",
        "response",
        "status",
        "summary",
        "summary_index",
        "text",
        "type",
        "url",
        "usage",
    ]
)
_TYPES = st.sampled_from(
    [
        "message",
        "reasoning",
        "function_call",
        "custom_tool_call",
        "output_text",
        "refusal",
        "reasoning_text",
        "summary_text",
        "url_citation",
        "web_search_call",
        "completed",
        "failed",
        "incomplete",
    ]
)
_SHAPES = st.recursive(
    _JSON | _TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner),
    max_leaves=14,
)
_EVENTS = st.sampled_from(sorted(_READERS))


@given(st.lists(st.tuples(_EVENTS, st.dictionaries(_WORDS, _SHAPES)), max_size=6))
def test_any_events_give_a_whole_event_list(events: list[tuple[str, dict[str, Any]]]) -> None:
    stream = b"".join(
        frame(name, **{k: v for k, v in fields.items() if k != "type"}) for name, fields in events
    )
    check_guarantees(decode([stream, DONE]))


@given(_SHAPES)
def test_any_document_is_an_answer_or_a_failure(value: Any) -> None:
    check_guarantees(CODEC.decode_response(value, context()))
