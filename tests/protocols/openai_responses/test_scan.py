"""Answers on their way through: what changes, what is seen, and what is not touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.protocols.asked import read
from kurolproxy.protocols.base import Circumstances, PassFacts, TargetView
from kurolproxy.protocols.openai_responses.codec import CODEC
from kurolproxy.protocols.openai_responses.scan import ResponsesScanner, last_usage
from kurolproxy.protocols.translator import translate
from kurolproxy.tokens import Usage
from tests.protocols.goldens import cases
from tests.protocols.openai_responses.answer_support import (
    BROKEN,
    context,
    decode,
    frame,
    ids,
    scan,
    sdk_events,
    sdk_refuses,
    write,
)
from tests.protocols.streaming import CUTS, cut

STREAMS = [path.read_bytes() for path in cases("openai_responses", "stream", "sse")]
USAGE = {"input_tokens": 5, "output_tokens": 7}


def created(**more: Any) -> bytes:
    return frame("response.created", response={"id": "resp_u", "model": "up", **more})


def completed(**more: Any) -> bytes:
    response = {"id": "resp_u", "model": "up", "output": [], "usage": USAGE, **more}
    return frame("response.completed", response=response)


def said(text: str) -> bytes:
    return frame("response.output_text.delta", delta=text, output_index=0)


def scanner(model: str = "mine") -> ResponsesScanner:
    return ResponsesScanner(model, PassFacts())


@pytest.mark.parametrize("name", ["created", "in_progress", "queued", "completed", "incomplete"])
def test_model_is_replaced_in_every_event_that_has_one(name: str) -> None:
    data = frame(f"response.{name}", response={"model": "up", "status": "x"})
    assert scanner().feed(data) == data.replace(b'"up"', b'"mine"')


def test_model_that_is_equal_leaves_the_bytes_untouched() -> None:
    for data in (created(), said("a"), completed()):
        assert scanner("up").feed(data) is data


def test_delta_behind_the_first_content_is_handed_on_as_it_is() -> None:
    found = scanner()
    found.feed(created() + said("a"))
    piece = said("b") * 3
    assert found.feed(piece) is piece


def test_model_elsewhere_is_not_touched() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"model": "up"}}]
    data = created(tools=tools, metadata={"model": "up"})
    assert scanner().feed(data).count(b'"up"') == 2
    text = said('"model":"up"')
    assert scanner().feed(text) is text


@pytest.mark.parametrize("spaced", [False, True])
def test_numbers_and_order_of_keys_survive(spaced: bool) -> None:
    body = b'{"response":{"x":1e400,"big":123456789012345678901,"model":"up"},"type":"x"}'
    if spaced:
        body = body.replace(b":", b" : ").replace(b",", b" , ")
    data = b"event: response.created\ndata: " + body + b"\n\n"
    assert scanner().feed(data) == data.replace(b'"up"', b'"mine"')


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b'{"response":null}',
        b'{"response":{}}',
        b'{"response":{"model":"a","model":"b"}}',
        b'{"response":"x"}',
        b'{"response":{"model":',
    ],
)
def test_what_cannot_be_edited_goes_on_as_it_is(body: bytes) -> None:
    for name in (b"response.created", b"response.completed"):
        data = b"event: %b\ndata: %b\n\n" % (name, body)
        assert scanner().feed(data) == data


@pytest.mark.parametrize(
    "data",
    [
        said("a"),
        frame("response.reasoning_summary_text.delta", delta="a"),
        frame("response.function_call_arguments.delta", delta="{"),
        frame("response.output_item.added", item={"type": "function_call", "name": "f"}),
        frame("response.output_item.added", item={"type": "web_search_call"}),
        frame("response.output_item.done", item={"type": "message", "content": [{"text": "a"}]}),
        frame("response.output_item.done", item={"type": "reasoning", "encrypted_content": "p"}),
        completed(),
    ],
    ids=lambda data: data.split(b"\n")[0][7:].decode() + str(len(data)),
)
def test_content_is_seen(data: bytes) -> None:
    for form in (data, data.split(b"\n", 1)[1]):
        found = scanner()
        found.feed(created())
        assert not found.content
        found.feed(form)
        assert found.content


@pytest.mark.parametrize(
    "data",
    [
        created(),
        said(""),
        b": ping\n\n",
        frame("keepalive"),
        frame("response.output_item.added", item={"type": "message", "content": []}),
        frame("response.output_item.added", item={"type": "reasoning", "summary": []}),
        frame("response.output_item.done", item={"type": "reasoning", "summary": []}),
        frame("response.content_part.added", part={"type": "output_text", "text": ""}),
    ],
    ids=lambda data: data.split(b"\n")[0].decode() + str(len(data)),
)
def test_what_says_nothing_is_no_content(data: bytes) -> None:
    found = scanner()
    found.feed(data)
    assert not found.content


def test_nothing_behind_the_end_is_handed_on() -> None:
    out, found = scan([created() + said("a") + completed() + b"data: [DONE]\n\n", said("b")])
    assert out.endswith(completed().replace(b'"up"', b'"mine"'))
    assert found.finished
    assert found.usage == Usage(5, 7)


def test_stream_without_its_end_is_not_finished() -> None:
    out, found = scan([created() + said("a")], "up")
    assert out == created() + said("a")
    assert not found.finished


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame("error", message="Flat.", code=None), "Flat."),
        (frame("error", error={"message": "Nested."}), "Nested."),
        (frame("response.failed", response={"error": {"message": "Failed."}}), "Failed."),
        (frame("response.failed", response={}), "the upstream reported an error"),
        (frame("response.cancelled", response={}), "the upstream reported an error"),
        (b'data: {"error":{"message":"Like Chat."}}\n\n', "Like Chat."),
        (b"event: error\ndata: plain words\n\n", "plain words"),
        (b'data: {"type":"error","message":"No event line."}\n\n', "No event line."),
    ],
)
def test_error_is_seen_and_kept_back(data: bytes, words: str) -> None:
    for before in (created(), created() + said("a")):
        out, found = scan([before, data + said("b")], "up")
        assert out == before
        assert found.failure == words
        assert not found.finished


def test_word_error_in_a_text_is_no_error() -> None:
    text = said('"error": event: error {"type":"error"}')
    _, found = scan([created() + said("a"), text, completed()])
    assert found.failure is None
    assert found.finished


def test_usage_of_a_failure_is_kept() -> None:
    data = frame("response.failed", response={"error": {"message": "m"}, "usage": USAGE})
    assert scan([data])[1].usage == Usage(5, 7)


def test_usage_is_found_before_tools_that_name_a_field_so() -> None:
    tools = [{"name": "f", "parameters": {"properties": {"usage": {"type": "object"}}}}]
    assert scan([completed(tools=tools, output=[{"usage": "x"}])])[1].usage == Usage(5, 7)


def test_search_for_usage_is_bounded() -> None:
    hostile = b'{"usage":' * 200_000
    assert last_usage(hostile) is None
    assert last_usage(b'{"usage":{"input_tokens":5,"output_tokens":7}}' + b" " * 99) == Usage(5, 7)


def test_answer_that_tells_no_usage_is_weighed() -> None:
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "four"}]},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
    ]
    assert scan([completed(usage=None, output=output)])[1].emitted_bytes == 11
    streamed = scan([created(), said("four"), completed(usage=None, output=output)])[1]
    assert streamed.emitted_bytes == 4
    body = json.dumps({"model": "m", "output": output}).encode()
    assert CODEC.passed_answer(body, "m").emitted_bytes == 11


def test_done_events_are_not_counted_again() -> None:
    done = frame("response.output_text.done", text="four")
    piece = said("four") + done
    assert scan([created(), said("a"), piece, piece])[1].emitted_bytes == 9


@pytest.mark.parametrize("size", CUTS)
def test_any_cut_of_a_stream_passes_the_same(size: int) -> None:
    for stream in STREAMS:
        out, found = scan(cut(stream, size))
        whole, first = scan([stream])
        assert out == whole
        assert (found.usage, found.content, found.finished, found.failure) == (
            first.usage,
            first.content,
            first.finished,
            first.failure,
        )
        assert found.emitted_bytes == first.emitted_bytes


def test_scanner_and_decoder_agree_about_the_end() -> None:
    for path in cases("openai_responses", "stream", "sse"):
        events = decode([path.read_bytes()])
        found = scan([path.read_bytes()])[1]
        if path.stem in ("broken_event", "stray_arguments", "call_without_name"):
            # What is malformed is handed on as it is.
            continue
        assert found.finished == (type(events[-1]).__name__ == "Finish"), path.stem


@given(st.data())
def test_any_bytes_pass_without_a_fault(data: st.DataObject) -> None:
    stream = bytearray(data.draw(st.sampled_from(STREAMS)))
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    scan([bytes(stream)])
    CODEC.passed_answer(bytes(stream), "mine")


# --- an error of ours in a stream that passes -----------------------------------------------


def test_error_goes_on_with_the_id_and_the_numbers_of_the_upstream() -> None:
    whole = write(decode([created() + said("Hello") + completed()]))
    frames = [each + b"\n\n" for each in whole.split(b"\n\n") if each]
    for done in range(1, len(frames)):
        begun = b"".join(frames[:done])
        out, found = scan([begun], "m1")
        assert out == begun
        stream = begun + found.error(BROKEN, "req_1", context())
        failed = sdk_events(stream)[-2]
        assert failed.response.id == "resp_1"
        sdk_refuses(stream, BROKEN.message)


def test_numbers_go_on_behind_what_was_handed_on() -> None:
    first = frame("response.created", sequence_number=0, response={"id": "resp_u", "model": "m1"})
    delta = frame("response.output_text.delta", sequence_number=1, delta="a")
    done = frame("response.output_text.done", sequence_number=2, text="a")
    kept = frame("error", sequence_number=7, message="No.")
    for last in (b": ping\n\n", b"", kept):
        _, found = scan([first + delta, done, last], "m1")
        written = found.error(BROKEN, "req_1", context())
        assert written.startswith(b"event: response.failed\n")
        assert b'"sequence_number":3,' in written
        assert b'"sequence_number":4,' in written


def test_driver_writes_the_error_by_the_scanner() -> None:
    body = b'{"model":"m1","input":"Hi","stream":true}'
    asked = read(body, CODEC.passing, 100)
    view, around = TargetView("up", "m1"), Circumstances(1_700_000_000, ids())
    rewriter = translate(CODEC, CODEC, asked, view, around).rewriter()
    whole = write(decode([created() + said("Hello") + completed()]))
    begun = whole[: whole.index(b"event: response.output_text.done")]
    broken = rewriter.feed(begun) + rewriter.close()
    assert rewriter.failure is not None
    sdk_refuses(broken + rewriter.error(BROKEN, "req_1"), BROKEN.message)


def test_error_before_anything_begins_the_stream() -> None:
    sdk_refuses(scanner().error(BROKEN, "req_1", context()), BROKEN.message)


# --- whole answers --------------------------------------------------------------------------


def test_whole_answer_keeps_its_bytes_but_for_the_model() -> None:
    body = b'{ "output" : [ ], "x":12345678901234567890123, "model" : "up" }'
    assert CODEC.passed_answer(body, "up").body is body
    assert CODEC.passed_answer(body, "mine").body == body.replace(b'"up"', b'"mine"')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "the upstream's answer is not valid JSON: "),
        (b"[]", "the upstream's answer is no response"),
        (b'{"choices":[]}', "the upstream's answer is no response"),
        (b'{"error":{"message":"No."}}', "No."),
        (b'{"status":"failed","output":[],"error":{"message":"No."}}', "No."),
        (b'{"status":"queued","output":[]}', "the upstream did not finish the answer"),
        (b'{"status":"cancelled","output":[]}', "the upstream reported an error"),
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes, words: str) -> None:
    found = CODEC.passed_answer(body, "mine").failure
    assert found is not None
    assert found.startswith(words)
