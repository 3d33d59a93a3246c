"""The pass-through: bytes travel untouched but for the model and a usage nobody asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.ir import Failure
from kurolproxy.protocols.base import PassFacts
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.protocols.openai_chat.scan import ChatScanner, model_place, passed_answer
from kurolproxy.tokens import Usage
from tests.protocols.goldens import cases
from tests.protocols.openai_chat.support import chunk, context, decode, frame, scan
from tests.protocols.streaming import CUTS, cut

DONE = b"data: [DONE]\n\n"
ROLE = chunk({"role": "assistant", "content": ""})
USAGE = frame({"model": "up", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}})
STREAMS = cases("openai_chat", "stream", "sse")
RESPONSES = cases("openai_chat", "response", "json")
# Only a translation looks so closely that it finds these broken.
UNSEEN = ("bad_json", "deep_json", "finish_error", "late_fragment", "no_object")
SEEN = [path for path in STREAMS if path.stem not in UNSEEN]


def stream(*pieces: bytes) -> bytes:
    return b"".join(pieces)


# --- bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*CUTS, 1 << 20])
@pytest.mark.parametrize("path", STREAMS, ids=[path.stem for path in STREAMS])
def test_stream_passes_the_same_however_it_is_cut(path: Path, size: int) -> None:
    data = path.read_bytes()
    whole, first = scan([data], "public", hide_usage=True)
    out, scanner = scan(cut(data, size), "public", hide_usage=True)
    assert out == whole
    for name in ("usage", "content", "finished", "failure"):
        assert getattr(scanner, name) == getattr(first, name), name


@pytest.mark.parametrize("path", SEEN, ids=[path.stem for path in SEEN])
def test_scanner_sees_what_the_decoder_sees(path: Path) -> None:
    data = path.read_bytes()
    folded = fold(decode([data]))
    # The driver ends a last event that is whole but for its blank line.
    _, scanner = scan([data, b"\n\n" if data.endswith(b"data: [DONE]") else b""])
    if isinstance(folded, Failure):
        assert not scanner.finished
        assert scanner.failure == (None if "middle" in folded.message else folded.message)
        return
    assert scanner.finished
    assert scanner.usage == folded.usage


def test_unchanged_piece_is_the_same_object() -> None:
    scanner = ChatScanner("up", PassFacts())
    pieces = [ROLE, chunk({"content": "a"}), chunk({"content": "b"}) * 3, USAGE, DONE]
    assert all(scanner.feed(piece) is piece for piece in pieces)
    assert scanner.finished


def test_model_is_shown_as_the_client_wrote_it() -> None:
    pieces = [ROLE, *(chunk({"content": "a"}) for _ in range(80)), USAGE, DONE]
    out, _ = scan(pieces, 'my "model"')
    models = [json.loads(part[6:])["model"] for part in out.split(b"\n\n")[:-2]]
    assert models == ['my "model"'] * 82


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_model_is_never_replaced_inside_what_was_said(size: int) -> None:
    said = ['"model":"up"', 'data: {"model":"up"}', "up"]
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": {"model": "up"}}}
    pieces = [*(chunk({"content": text}) for text in said), chunk({"tool_calls": [call]})]
    # Azure's order: the model stands behind the choices.
    tail = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}], "model": "up"}
    data = stream(ROLE, *pieces, *pieces, frame(tail), DONE)
    out, _ = scan(cut(data, size), "public")
    found = [json.loads(part[6:]) for part in out.split(b"\n\n")[:-2]]
    assert {each["model"] for each in found} == {"public"}
    deltas = [each["choices"][0]["delta"] for each in found]
    assert [delta["content"] for delta in deltas if delta.get("content")] == said * 2
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls == [call] * 3


@pytest.mark.parametrize(
    "before", ['"model":', '"model": ', '"model" :\t', '"mod\\u0065l":"no","model":']
)
def test_spelling_of_the_upstream_does_not_matter(before: str) -> None:
    def one(model: str) -> bytes:
        rest = f'{before}"{model}","choices":[{{"delta":{{"content":"a"}}}}]'
        return f'data: {{"x":{{"model":"up"}},{rest}}}\n\n'.encode()

    out, _ = scan([one("up")] * 3, "public")
    assert out == one("public") * 3


def test_each_frame_of_changing_models_is_replaced() -> None:
    def named(model: str) -> bytes:
        return frame({"model": model, "choices": [{"delta": {"content": "a"}}]})

    out, _ = scan([named(""), named("a"), named("b") + named("a"), named("b"), DONE], "public")
    assert out == named("public") * 5 + DONE


def test_usage_nobody_asked_for_is_taken_out() -> None:
    out, scanner = scan([ROLE, chunk({"content": "a"}), chunk({}, "stop"), USAGE, DONE], "up")
    assert USAGE in out
    hidden, scanner = scan([stream(ROLE, chunk({}, "stop"), USAGE, DONE)], "up", hide_usage=True)
    assert hidden == stream(ROLE, chunk({}, "stop"), DONE)
    assert scanner.usage == Usage(5, 7)


def test_usage_beside_a_choice_stays() -> None:
    last = chunk({}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 7})
    azure = frame({"model": "up", "choices": [], "prompt_filter_results": [], "usage": None})
    data = stream(azure, ROLE, last, DONE)
    out, scanner = scan([data], "up", hide_usage=True)
    assert out == data
    assert scanner.usage == Usage(5, 7)


def test_frame_that_cannot_be_read_is_passed_on() -> None:
    broken = b'data: {"choices":[{]}\n\n'
    comment = b": thinking\r\n\r\n"
    data = stream(comment, broken, ROLE, chunk({"content": "a"}), broken, comment, DONE)
    out, scanner = scan([data], "up")
    assert out == data
    assert scanner.finished


def test_carriage_returns_stay() -> None:
    data = stream(ROLE, chunk({"content": "a"}), USAGE, DONE).replace(b"\n", b"\r\n")
    out, scanner = scan([data], "up")
    assert out == data
    assert scanner.usage == Usage(5, 7)
    assert scanner.finished


# --- ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "added", "finished"),
    [
        ([DONE], b"", True),
        ([chunk({}, "stop")], DONE, True),
        ([chunk({}, "stop"), DONE], b"", True),
        ([chunk({}, ""), chunk({})], b"", False),
        ([], b"", False),
        ([chunk({"content": "data: [DONE]"})], b"", False),
        ([b"data:[DONE]\r\n\r\n"], b"", True),
    ],
)
def test_whole_answer_gets_its_mark(tail: list[bytes], added: bytes, finished: bool) -> None:
    data = [ROLE, chunk({"content": "a"}), *tail]
    out, scanner = scan(data, "up")
    assert out == b"".join(data) + added
    assert scanner.finished is finished


def turn(index: Any, reason: str | None = None) -> bytes:
    choice = {"index": index, "delta": {"content": "a"}, "finish_reason": reason}
    return frame({"model": "up", "choices": [choice]})


@pytest.mark.parametrize(
    ("turns", "finished"),
    [
        ([turn(0), turn(1), turn(0, "stop"), turn(1, "stop")], True),
        ([turn(0), turn(1), turn(0, "stop")], False),
        ([turn(0), turn(1), turn(1, "stop"), turn(1)], False),
        ([turn(0), turn(0), turn(0, "stop"), turn(1)], False),
        ([turn("0"), turn("1"), turn("1", "stop"), turn("0", "stop")], True),
        # An upstream that gives one answer whatever was asked.
        ([turn(0), turn(0, "stop")], True),
    ],
)
def test_several_answers_are_whole_when_none_of_them_goes_on(
    turns: list[bytes], finished: bool
) -> None:
    out, scanner = scan(turns, "up", n=2)
    assert out == b"".join(turns) + (DONE if finished else b"")
    assert scanner.finished is finished


def test_bytes_behind_the_mark_are_dropped() -> None:
    data = stream(ROLE, chunk({}, "stop"), DONE)
    out, scanner = scan([data + chunk({"content": "late"}), chunk({"content": "later"})], "up")
    assert out == data
    assert scanner.finished


# Errors that the frame says, not the data: none of them has the field.
ERROR_FRAMES = [
    b'event:error\ndata: {"message":"gone"}\n\n',
    b'event: error\r\ndata: {"message":"gone"}\r\n\r\n',
    b'data: {"message":"gone"}\nevent: error\n\n',
    b"event: error\ndata: gone\n\n",
    b'event: error\ndata: "gone"\n\n',
    b"error: gone\n\n",
    b'error:{"message":"gone"}\r\n\r\n',
    b'id: 1\nerror: {"message":"gone"}\n\n',
    b'data: {}\nerror: {"message":"gone"}\n\n',
]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (frame({"error": {"message": "gone", "code": 500}}), "gone"),
        (chunk({"content": "a"}, error={"message": "gone"}), "gone"),
        (b'event: error\ndata: {"message":"gone"}\n\n', "gone"),
        (b'error: {"message":"gone"}\n\n', "gone"),
        (frame({"object": "error", "message": "gone"}), "gone"),
        (frame({"error": {"code": 500}}), "the upstream sent an error without a message"),
        (frame({"choices": [{"error": {"message": "gone"}}]}), "gone"),
        *((spelt, "gone") for spelt in ERROR_FRAMES),
        (b"event: error\n\n", "the upstream sent an error without a message"),
    ],
)
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_error_ends_the_stream_before_it(
    broken: bytes, message: str, started: bool, apart: bool
) -> None:
    before = stream(ROLE, chunk({"content": "a"})) if started else b""
    pieces = [before, broken, chunk({"content": "b"}) + DONE]
    out, scanner = scan(pieces if apart else [b"".join(pieces)], "up")
    assert out == before
    assert scanner.failure == message
    assert not scanner.finished


def test_word_error_in_a_text_is_no_error() -> None:
    said = chunk({"content": '"error": {"message":"x"}'}, None, error=None)
    out, scanner = scan([ROLE, said, said, DONE], "up")
    assert out == stream(ROLE, said, said, DONE)
    assert scanner.failure is None


@pytest.mark.parametrize(
    ("piece", "content"),
    [
        (ROLE, False),
        (b": ping\n\n", False),
        (frame({"model": "", "choices": []}), False),
        (chunk({"content": None, "tool_calls": None}), False),
        (USAGE, False),
        (chunk({"content": "a"}), True),
        (chunk({"reasoning": "a"}), True),
        (chunk({"refusal": "a"}), True),
        (chunk({"tool_calls": [{"index": 0}]}), True),
        (chunk({"content": [{"type": "text", "text": "a"}]}), True),
        (chunk({}, "stop"), True),
        (DONE, True),
    ],
)
def test_content_is_what_ends_the_wait(piece: bytes, content: bool) -> None:
    scanner = ChatScanner("up", PassFacts())
    scanner.feed(piece)
    assert scanner.content is content


# --- the estimate ---------------------------------------------------------------------------


@pytest.mark.parametrize("portion", [1, 7, 200])
def test_produced_text_is_estimated(portion: int) -> None:
    words = ["Hello", " wor", "ld", " and", " good", " bye", "."] * 40
    text = [chunk({"content": word}) for word in words]
    calls = [
        chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}),
        *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": word}}]}) for word in words),
    ]
    sent = [ROLE, *text, b": ping\n\n", *calls]
    pieces = [b"".join(sent[at : at + portion]) for at in range(0, len(sent), portion)]
    _, scanner = scan(pieces, "public")
    produced = 2 * sum(map(len, words))
    assert 0.98 * produced <= scanner.emitted_bytes <= 1.6 * produced


def test_text_of_a_read_stream_is_counted_exactly() -> None:
    data = stream(ROLE, chunk({"content": "für"}), chunk({"reasoning": "ab"}), DONE)
    _, scanner = scan([data], "public")
    assert scanner.emitted_bytes == len("für".encode()) + 2


# --- whole answers --------------------------------------------------------------------------


@pytest.mark.parametrize("path", RESPONSES, ids=[path.stem for path in RESPONSES])
def test_whole_answer_passes_where_it_can_be_read(path: Path) -> None:
    data = path.read_bytes()
    found = passed_answer(data, "public")
    folded = fold(CODEC.decode_response(json.loads(data), context()))
    if isinstance(folded, Failure):
        assert found.failure == folded.message
        assert found.body == b""
        return
    assert found.failure is None
    assert found.usage == folded.usage
    assert found.body == data.replace(b'"model": "up"', b'"model": "public"')


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5", b'{"choices":[]}', b"[" * 300])
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    found = passed_answer(body, "public")
    assert found.failure
    assert found.body == b""


def test_answer_of_the_same_name_is_the_same_object() -> None:
    body = json.dumps({"model": "m", "choices": [{"message": {"content": "x"}}]}).encode()
    assert passed_answer(body, "m").body is body


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (b'{"model":"up"}', b'"up"'),
        (b'{"a":{"model":"no"},"b":["model"],"model" :\n "up" }', b'"up"'),
        (b'{"a":"\\"model\\":\\"no\\"","model":"u\\"p"}', b'"u\\"p"'),
        (b'{"a":"{{{","model":"up"}', b'"up"'),
        (b'{"model":null}', None),
        (b'{"a":{"model":"no"}}', None),
        (b"[]", None),
    ],
)
def test_place_of_the_model_is_found(document: bytes, place: bytes | None) -> None:
    found = model_place(document)
    assert (found and document[found[1] : found[2]]) == place


def test_big_numbers_survive() -> None:
    body = b'{"seed":123456789012345678901234567890,"model":"up","choices":[{"message":{}}]}'
    assert passed_answer(body, "m").body == body.replace(b'"up"', b'"m"')


def test_text_of_an_answer_is_counted() -> None:
    calls: list[Any] = [{"function": {"name": "f", "arguments": "{}"}}]
    message = {"content": "für", "reasoning_content": "ab", "tool_calls": calls}
    body = json.dumps({"choices": [{"message": message}, {"message": {"content": "c"}}]})
    assert passed_answer(body.encode(), "m").emitted_bytes == 4 + 2 + 1 + 2 + 1
