"""Streams of upstreams: what the golden files leave open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Delta,
    Failure,
    Finish,
    Sealed,
    Start,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.gemini.frame import frame_data
from kurolproxy.protocols.gemini.partial_args import PartialArguments
from kurolproxy.protocols.gemini.quick import Lesson
from kurolproxy.protocols.gemini.stream_decode import GeminiDecoder
from kurolproxy.tokens import Usage
from tests.protocols.gemini.answering import END, USAGE, context, decode, frame, response, words

CALL = {"functionCall": {"name": "f", "args": {}}}
FIRST = {"text": "x"}


def end(reason: Any, *parts: dict[str, Any], **more: Any) -> bytes:
    return frame(response(*parts, reason=reason, usageMetadata=USAGE, **more))


# --- the end ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("stop", "stop"),
        (1, "stop"),
        ("MAX_TOKENS", "length"),
        (2, "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        (3, "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_RECITATION", "content_filter"),
        ("IMAGE_OTHER", "content_filter"),
        ("NO_IMAGE", "other"),
        ("LANGUAGE", "other"),
        ("OTHER", "other"),
        ("ESCALATION", "other"),
        ("PUP_LIMITED_DISABLED", "other"),
        ("SOMETHING_NEW", "other"),
        (99, "other"),
    ],
)
def test_reason_is_understood(word: Any, reason: str) -> None:
    last = decode([words("x"), end(word)])[-1]
    assert isinstance(last, Finish)
    assert last.reason == reason
    kept = reason in ("length", "content_filter")
    called = decode([frame(response(CALL)), end(word)])[-1]
    assert isinstance(called, Finish)
    assert called.reason == (reason if kept else "tool_calls")


@pytest.mark.parametrize(
    "word",
    [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    ],
)
def test_reason_that_is_an_error_is_a_failure(word: str) -> None:
    assert decode([words("x"), end(word)])[-1] == Failure(f"the model's answer broke off: {word}")


@pytest.mark.parametrize("word", ["FINISH_REASON_UNSPECIFIED", 0, "", None, [], True, {}])
def test_reason_that_says_nothing_is_no_end(word: Any) -> None:
    assert decode([end(word, FIRST)])[-1] == Failure("the upstream ended its answer in the middle")


def test_answer_is_over_when_its_reason_came_with_the_usage() -> None:
    decoder = GeminiDecoder(context())
    assert isinstance(decoder.feed(words("x") + END)[-1], Finish)
    assert decoder.feed(words("late")) == []
    assert decoder.close() == []


@pytest.mark.parametrize(
    "late",
    [b"", frame({"usageMetadata": USAGE}), frame({"candidates": [], "usageMetadata": USAGE})],
)
def test_usage_behind_the_reason_is_waited_for(late: bytes) -> None:
    decoder = GeminiDecoder(context())
    early = decoder.feed(words("x") + frame(response({"text": "y"}, reason="STOP")))
    assert not any(isinstance(event, Finish) for event in early)
    events = early + decoder.feed(late) + decoder.close()
    assert isinstance(events[-1], Finish)
    assert any(isinstance(event, UsageSeen) for event in events) == bool(late)


def test_several_answers_are_waited_for() -> None:
    first = {**response({"text": "a"}, reason="STOP"), "usageMetadata": USAGE}
    other = {"candidates": [{"index": 1, "finishReason": "STOP"}]}
    total = {**USAGE, "candidatesTokenCount": 20}
    decoder = GeminiDecoder(context(n=2))
    events = decoder.feed(frame(first) + frame({**other, "usageMetadata": total}))
    assert not any(isinstance(event, Finish) for event in events)
    events += decoder.close()
    assert events[-3:] == [UsageSeen(Usage(5, 20)), BlockEnd(0), Finish("stop")]


def test_usage_is_told_when_it_changes() -> None:
    events = decode([words("x"), frame(response(FIRST, usageMetadata=USAGE)), END])
    assert events.count(UsageSeen(Usage(5, 7))) == 1


def test_frame_over_the_limit_breaks_the_answer_off() -> None:
    events = decode([words("x"), b"data: " + b"x" * 500], context(max_event_bytes=300))
    assert events[-1] == Failure("an event of the stream is larger than 300 bytes")
    assert Delta(0, "x") in events


def test_nothing_at_all_is_a_cut_answer() -> None:
    assert decode([b""]) == [Start(), Failure("the upstream ended its answer in the middle")]
    assert decode([b"data: {}\n\n"])[0] == Start()


# --- parts ------------------------------------------------------------------------------


def test_proofs_of_a_model_without_family_are_dropped() -> None:
    signed = {"text": "Hi", "thoughtSignature": "AAAA"}
    events = decode([frame(response({**CALL, "thoughtSignature": "AAAA"}, signed)), END])
    assert any(isinstance(event, Sealed) for event in events)
    events = decode(
        [frame(response({**CALL, "thoughtSignature": "AAAA"}, signed)), END], context(family="")
    )
    assert not any(isinstance(event, Sealed) for event in events)


def test_arguments_are_read_exactly() -> None:
    text = '{"b":123456789012345678901234567890,"a":1.5,"n":{"x":[]}}'
    part = f'{{"functionCall":{{"name":"f","args":{text}}}}}'
    data = f'data: {{"candidates":[{{"content":{{"parts":[{part}]}}}}]}}\r\n\r\n'.encode()
    assert Delta(0, text) in decode([data, END])


def test_call_in_pieces_is_open_from_its_first_one() -> None:
    decoder = GeminiDecoder(context())
    head = {"functionCall": {"name": "f", "id": "c", "willContinue": True}}
    events = decoder.feed(frame(response(head)))
    assert events[-1] == BlockStart(0, "tool", ToolHead("c", "f"))
    again = {"functionCall": {"name": "f", "id": "c", "partialArgs": [], "willContinue": True}}
    assert decoder.feed(frame(response(again))) == []
    piece = {"functionCall": {"partialArgs": [{"jsonPath": "$.a", "boolValue": True}]}}
    assert decoder.feed(frame(response(piece))) == [Delta(0, '{"a":true}'), BlockEnd(0)]


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (
            [("$.a", {"stringValue": "x", "willContinue": True}), ("$.a", {"stringValue": "y"})],
            "xy",
        ),
        ([("$.a", {"stringValue": "x"}), ("$.a", {"stringValue": "y"})], "y"),
        ([("$.a", {"numberValue": 5})], 5),
        ([("$.a", {"nullValue": "NULL_VALUE"})], None),
        ([("$.a", {"stringValue": "x"}), ("$.a", {})], "x"),
        ([("$['a'][1]['b']['c d']", {"boolValue": False})], [None, {"b": {"c d": False}}]),
        ([("$.a[0]", {"stringValue": "é"}), ("$.a[1].x", {"numberValue": 2})], ["é", {"x": 2}]),
    ],
)
def test_pieces_of_arguments_find_their_place(items: list[tuple[str, Any]], text: Any) -> None:
    arguments = PartialArguments()
    assert arguments.add([{"jsonPath": path, **value} for path, value in items]) == ""
    assert json.loads(arguments.text()) == {"a": text}


@pytest.mark.parametrize(
    "path",
    [None, "", "$", "a", "$.", "$.a[", "$.a[x]", "$[9999999]", "$.a[70]", "$[0]", "$.a" * 99],
)
def test_path_that_leads_nowhere_is_an_error(path: Any) -> None:
    assert PartialArguments().add([{"jsonPath": path, "stringValue": "x"}]) != ""


@pytest.mark.parametrize("items", [None, 5, [None, 5], {}])
def test_pieces_that_are_none_change_nothing(items: Any) -> None:
    arguments = PartialArguments({"a": 1})
    assert arguments.add(items) == ""
    assert arguments.text() == '{"a":1}'


# --- quick reading ----------------------------------------------------------------------


def counted(text: str, completion: int, **part: Any) -> bytes:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": completion, "totalTokenCount": 9}
    return frame(response({"text": text, **part}, usageMetadata=usage))


def loaded(data: bytes) -> Any:
    return wire.load_exact(frame_data(data))


def test_quick_reading_is_used() -> None:
    lesson = Lesson()
    lesson.learn(counted("a", 1), loaded(counted("a", 1)))
    for text, completion, changed in (("b", 1, False), ('"\n\\', 2, True), ("ü{", 3, True)):
        assert lesson.read(counted(text, completion)) == text
        assert lesson.kind == "text"
        assert (lesson.usage is not None) == changed
    assert lesson.usage == {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 9}


def test_thoughts_are_read_quickly_too() -> None:
    lesson = Lesson()
    thought = counted("a", 1, thought=True)
    lesson.learn(thought, loaded(thought))
    assert lesson.read(counted("b", 1, thought=True)) == "b"
    assert lesson.kind == "reasoning"
    assert lesson.read(counted("b", 1)) == ""


@pytest.mark.parametrize(
    "value",
    [
        response(FIRST, reason="STOP"),
        response({**FIRST, "thoughtSignature": "AAAA"}),
        response(FIRST, FIRST),
        response(CALL),
        {**response(FIRST), "promptFeedback": {}},
        {**response(FIRST), "error": None},
        {"candidates": [*response(FIRST)["candidates"], {"index": 1}]},
        {"candidates": [{"content": {"parts": [FIRST]}, "index": 1}]},
        {"candidates": [{"content": {"parts": [FIRST]}, "groundingMetadata": {}}]},
        {"usageMetadata": USAGE, **response(FIRST)},
        {"candidates": []},
        {},
    ],
)
def test_frame_that_says_more_teaches_nothing(value: Any) -> None:
    lesson = Lesson()
    lesson.learn(frame(value), value)
    assert lesson.read(frame(value)) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"text": "b"', b'"text": ""'),
        (b'"text": "b"', b'"text": "b", "thought": true'),
        (b'"text": "b"', b'"text": "\\ud800"'),
        (b'"text": "b"', b'"text": "\xff"'),
        (b'"text": "b"', b'"text": "\x01"'),
        (b'{"promptTokenCount": 5', b'{"promptTokenCount": 5, "x": ['),
        (b'"totalTokenCount": 9}', b'"totalTokenCount": 9}, "error": {}'),
        (b'{"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 9}', b"7"),
        (b"\r\n\r\n", b"\n\n"),
        (b'"up"', b'"other"'),
    ],
)
def test_frame_of_another_form_is_left_to_the_full_reading(old: bytes, new: bytes) -> None:
    lesson = Lesson()
    first = counted("a", 1)
    lesson.learn(first, loaded(first))
    data = counted("b", 1)
    assert old in data
    assert lesson.read(data) == "b"
    assert lesson.read(data.replace(old, new)) == ""


def test_lessons_stop_where_nothing_repeats() -> None:
    lesson = Lesson()
    for number in range(40):
        data = frame(response(FIRST, createTime=str(number)))
        assert lesson.read(data) == ""
        lesson.learn(data, loaded(data))
    same = frame(response(FIRST, createTime="again"))
    lesson.learn(same, loaded(same))
    assert lesson.read(same) == ""


def test_usage_between_two_quick_readings_is_not_forgotten() -> None:
    stream = [counted("a", 1), counted("b", 2), counted("", 3), counted("c", 2), END]
    seen = [event.usage.completion for event in decode(stream) if isinstance(event, UsageSeen)]
    assert seen == [1, 2, 3, 2, 7]
