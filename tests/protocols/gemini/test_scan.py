"""The pass-through: bytes travel untouched but for the model and what would break an SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import PassFacts, Scanner
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.gemini.frame import member_place
from kurolproxy.protocols.gemini.response import decode_response
from kurolproxy.protocols.gemini.scan import GeminiArrayScanner, GeminiScanner, passed_answer
from kurolproxy.tokens import Usage
from tests.protocols.gemini.answering import (
    END,
    USAGE,
    context,
    decode,
    frame,
    response,
    scan,
    sdk_stream,
    words,
)
from tests.protocols.goldens import cases
from tests.protocols.streaming import CUTS, cut

STREAMS = cases("gemini", "stream", "sse")
RESPONSES = cases("gemini", "response", "json")
# Only a translation looks so closely that it finds these broken, or an end in them.
UNSEEN = (
    "broken_event",
    "call_without_name",
    "deep",
    "malformed_response",
    "no_object",
    "partial_arguments_wrong",
)
SEEN = [path for path in STREAMS if path.stem not in UNSEEN]
MODELS = 'said "modelVersion": "up"'


def text(said: str, completion: int = 1) -> bytes:
    return frame(
        response({"text": said}, usageMetadata={**USAGE, "candidatesTokenCount": completion})
    )


# --- bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GeminiScanner, GeminiArrayScanner])
@pytest.mark.parametrize("size", [*CUTS, 1 << 20])
@pytest.mark.parametrize("path", STREAMS, ids=[path.stem for path in STREAMS])
def test_stream_passes_the_same_however_it_is_cut(
    path: Path, size: int, kind: type[GeminiScanner]
) -> None:
    data = path.read_bytes()
    whole, first = scan([data], "public", kind=kind)
    out, scanner = scan(cut(data, size), "public", kind=kind)
    assert out == whole
    for name in ("usage", "content", "finished", "failure"):
        assert getattr(scanner, name) == getattr(first, name), name


@pytest.mark.parametrize("path", SEEN, ids=[path.stem for path in SEEN])
def test_scanner_sees_what_the_decoder_sees(path: Path) -> None:
    data = path.read_bytes()
    folded = fold(decode([data]))
    # The driver ends a last event that is whole but for its blank line.
    ended = b"" if data.endswith(b"\n\n") else b"\n\n"
    _, scanner = scan([data, ended] if path.stem != "cut_off" else [data])
    if isinstance(folded, Failure):
        assert not scanner.finished
        assert scanner.failure == (None if "middle" in folded.message else folded.message)
        return
    assert scanner.finished
    assert scanner.usage == folded.usage


@pytest.mark.parametrize("path", SEEN, ids=[path.stem for path in SEEN])
def test_what_passed_reads_as_before(path: Path) -> None:
    data = path.read_bytes()
    out, scanner = scan([data], "public")
    if scanner.finished:
        assert decode([out])[1:] == decode([data])[1:]
        # The SDK would ask for more of the one, and cannot read the other.
        assert path.stem in ("continuation", "odd_shapes") or sdk_stream(out)


def test_unchanged_piece_is_the_same_object() -> None:
    scanner = GeminiScanner("up", PassFacts())
    pieces = [words("a"), text("b"), text("c") + text("d") * 3, b"data: {}\n\n", END]
    assert all(scanner.feed(piece) is piece for piece in pieces)
    assert scanner.finished


@pytest.mark.parametrize("portion", [1, 7])
def test_model_is_shown_as_the_client_wrote_it(portion: int) -> None:
    frames = [words("a"), *(text("b", at) for at in range(40)), END]
    pieces = [b"".join(frames[at : at + portion]) for at in range(0, len(frames), portion)]
    out, _ = scan(pieces, 'my "model"')
    values = [json.loads(part[6:]) for part in out.split(b"\r\n\r\n")[:-1]]
    assert [each["modelVersion"] for each in values] == ['my "model"'] * 42


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_model_is_never_replaced_inside_what_was_said(size: int) -> None:
    args = {"modelVersion": "up", "deep": {"modelVersion": "up"}}
    call = {"functionCall": {"name": "f", "args": args}}
    said = ['"modelVersion": "up"', MODELS, "up", 'data: {"modelVersion": "up"}']
    frames = [words("a"), *map(words, said), frame(response(call)), words("b"), END]
    out, _ = scan(cut(b"".join(frames), size), "public")
    found = [json.loads(part[6:]) for part in out.split(b"\r\n\r\n")[:-1]]
    assert {each["modelVersion"] for each in found} == {"public"}
    parts = [each["candidates"][0]["content"]["parts"][0] for each in found]
    assert [part["text"] for part in parts[1:5]] == said
    assert parts[5] == call


def test_model_that_changes_is_replaced_all_the_same() -> None:
    other = frame({**response({"text": "b"}), "modelVersion": "another"})
    out, _ = scan([words("a"), words("b"), other, words("c"), END], "public")
    assert b"another" not in out
    assert b'"up"' not in out


def test_frames_without_a_model_pass() -> None:
    bare = {"candidates": response({"text": "a"})["candidates"]}
    stream = [
        frame(bare),
        frame(bare),
        words("b"),
        frame(bare),
        frame({**bare, "usageMetadata": USAGE}),
    ]
    out, scanner = scan(stream, "public")
    assert out == b"".join(stream).replace(b'"up"', b'"public"')
    assert scanner.usage == Usage(5, 7)


@pytest.mark.parametrize(
    "before",
    ['"modelVersion":', '"modelVersion" :\t', '"x":{"modelVersion":"no"},"modelVersion": '],
)
def test_spelling_of_the_upstream_does_not_matter(before: str) -> None:
    def one(model: str) -> bytes:
        said = '"candidates":[{"content":{"parts":[{"text":"a"}]}}]'
        return f'data: {{{before}"{model}",{said}}}\n\n'.encode()

    out, _ = scan([one("up")] * 3, "public")
    assert out == one("public") * 3


# --- forms that break the vendor's SDKs -------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        b": comment\n\n",
        b"\r\n\r\n",
        b"event: ping\n\n",
        b"data: [DONE]\n\n",
        b"data:[DONE]\r\n\r\n",
    ],
)
def test_what_holds_no_response_is_left_out(odd: bytes) -> None:
    stream = [odd, words("a"), odd, words("b") + odd, odd + words("c"), END]
    out, scanner = scan(stream, "up")
    assert sdk_stream(out)
    kept = words("a") + words("b") + words("c") + END
    # Empty lines disturb nobody.
    assert out == (kept if odd.strip() else b"".join(stream))
    assert scanner.finished


def test_frames_of_unusual_form_become_usual() -> None:
    value = json.dumps(response({"text": "a"}), indent=1)
    lines = "".join(f"data:{line}\n" for line in value.split("\n")) + "\n"
    named = b"event: message\nid: 1\n" + words("b")
    out, scanner = scan([lines.encode(), named, words("c"), named, END], "up")
    assert [each.text for each in sdk_stream(out)] == ["a", "b", "c", "b", ""]
    assert scanner.finished


# --- the end --------------------------------------------------------------------------------


def test_answer_is_over_when_its_reason_came_with_the_usage() -> None:
    out, scanner = scan([words("a"), END + words("late"), words("later")], "up")
    assert out == words("a") + END
    assert scanner.finished


REASON = frame(response({"text": "z"}, reason="STOP"))
LATE_USAGE = frame({"candidates": [], "usageMetadata": USAGE, "modelVersion": "up"})


def test_reason_without_usage_is_held_until_it_can_be_booked() -> None:
    scanner = GeminiScanner("up", PassFacts())
    assert scanner.feed(words("a") + REASON) == words("a")
    assert (scanner.content, scanner.finished) == (True, False)
    assert scanner.feed(b"data: {}\n\n") == b""
    assert scanner.feed(LATE_USAGE) == REASON + b"data: {}\n\n" + LATE_USAGE
    assert scanner.finished
    assert scanner.usage == Usage(5, 7)


@pytest.mark.parametrize("kind", [GeminiScanner, GeminiArrayScanner])
def test_reason_without_usage_goes_out_when_the_upstream_ends(kind: type[GeminiScanner]) -> None:
    scanner = kind("up", PassFacts())
    first = scanner.feed(words("a"))
    assert scanner.feed(REASON) == b""
    last = scanner.close()
    assert scanner.finished
    if kind is GeminiScanner:
        assert last == REASON
    else:
        assert len(json.loads(first + last)) == 2


def test_held_end_never_goes_out_before_an_error() -> None:
    scanner = GeminiScanner("up", PassFacts())
    assert scanner.feed(words("a") + REASON + frame(ERROR)) == words("a")
    assert scanner.close() == b""
    assert (scanner.failure, scanner.finished) == ("gone", False)


def test_end_is_not_held_for_another_answer_that_begins_late() -> None:
    scanner = GeminiScanner("up", PassFacts(n=2))
    assert scanner.feed(candidate(0, "STOP")) == b""
    assert scanner.feed(candidate(1)) == candidate(0, "STOP") + candidate(1)
    assert scanner.feed(candidate(1, "STOP", USAGE)) == b""
    assert scanner.close() == candidate(1, "STOP", USAGE)


def test_who_goes_on_behind_the_end_is_not_held_without_an_end() -> None:
    scanner = GeminiScanner("up", PassFacts())
    long = words("b" * 300_000)
    assert [scanner.feed(each) for each in (REASON, long, long, long)] == [b""] * 4
    assert scanner.feed(long) == REASON + long * 4
    assert scanner.finished
    assert scanner.feed(long) == b""


def test_answer_without_a_reason_is_not_finished() -> None:
    out, scanner = scan([words("a"), text("b")], "up")
    assert out == words("a") + text("b")
    assert not scanner.finished
    assert scanner.usage == Usage(5, 1)


def candidate(index: int, reason: str | None = None, usage: Any = None) -> bytes:
    value = response({"text": "a"}, reason=reason)
    value["candidates"][0]["index"] = index
    return frame({**value, "usageMetadata": usage or {}})


@pytest.mark.parametrize(
    ("turns", "finished"),
    [
        ([(0, None), (1, None), (0, "STOP"), (1, "STOP")], True),
        ([(0, None), (1, None), (0, "STOP")], False),
        ([(0, None), (0, "STOP")], True),
        ([(1, "STOP"), (1, None)], True),
    ],
)
def test_several_answers_are_whole_when_none_of_them_goes_on(
    turns: list[tuple[int, str | None]], finished: bool
) -> None:
    pieces = [candidate(*turn, USAGE) for turn in turns]
    out, scanner = scan(pieces, "up", n=2)
    assert out == b"".join(pieces)
    assert scanner.finished is finished


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (b": comment\n\n", False),
        (b"data: {}\n\n", False),
        (frame({"usageMetadata": USAGE}), False),
        (words(""), False),
        (frame(response({"thoughtSignature": "AAAA", "thought": True})), False),
        (frame(response({"functionCall": {}})), False),
        (words("a"), True),
        (words("a", thought=True), True),
        (frame(response({"functionCall": {"name": "f"}})), True),
        (frame(response({"executableCode": {"code": "x"}})), True),
        (frame(response({"text": ""}, reason="STOP")), True),
        (frame({"promptFeedback": {"blockReason": "SAFETY"}}), True),
    ],
)
def test_content_is_what_ends_the_wait(value: bytes, content: bool) -> None:
    scanner: Scanner = GeminiScanner("up", PassFacts())
    scanner.feed(value)
    assert scanner.content is content


ERROR = {"error": {"code": 503, "message": "gone", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (frame(ERROR), "gone"),
        (frame({**response({"text": "a"}), **ERROR}), "gone"),
        (frame([ERROR]), "gone"),
        (frame({"error": {"code": 500}}), "the upstream sent an error without a message"),
        (json.dumps(ERROR, indent=1).encode() + b"\n\n", "gone"),
    ],
)
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_error_ends_the_stream_before_it(
    broken: bytes, message: str, started: bool, apart: bool
) -> None:
    before = words("a") + words("b") if started else b""
    pieces = [before, broken, END]
    out, scanner = scan(pieces if apart else [b"".join(pieces)], "up")
    assert out == before
    assert scanner.failure == message
    assert not scanner.finished


def test_words_that_look_like_an_error_or_an_end_are_neither() -> None:
    said = words('"error": {"message":"x"}, "finishReason": "STOP"')
    null = frame({**response({"text": "a"}), "error": None})
    out, scanner = scan([words("a"), said, null, said], "up")
    assert out == words("a") + said + null + said
    assert scanner.failure is None
    assert not scanner.finished


def test_broken_event_passes_as_it_is() -> None:
    broken = b'data: {"finishReason" nope}\r\n\r\n'
    out, _ = scan([words("a"), broken, END], "up")
    assert out == words("a") + broken + END


# --- usage and the estimate -----------------------------------------------------------------


def test_usage_can_be_asked_for_at_any_time() -> None:
    scanner = GeminiScanner("up", PassFacts())
    seen = []
    for piece in (words("a"), text("b", 1), text("c", 2) + text("d", 3), words("e"), END):
        scanner.feed(piece)
        seen.append(scanner.usage and scanner.usage.completion)
    assert seen == [None, 1, 3, 3, 7]


def test_usage_without_figures_does_not_count() -> None:
    bare = frame(response({"text": "a"}, usageMetadata={"trafficType": "ON_DEMAND"}))
    _, scanner = scan([words("a"), text("b", 4), bare], "up")
    assert scanner.usage == Usage(5, 4)


@pytest.mark.parametrize("portion", [1, 7, 200])
def test_produced_text_is_estimated(portion: int) -> None:
    said = ["Hello", " wor", "ld", " and", " good", " bye", "."] * 40
    frames = [words("a"), *map(words, said)]
    pieces = [b"".join(frames[at : at + portion]) for at in range(0, len(frames), portion)]
    _, scanner = scan(pieces, "public")
    assert scanner.emitted_bytes == sum(map(len, said)) + 1


def test_text_and_calls_of_a_read_frame_are_counted() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    _, scanner = scan(
        [frame(response({"text": "für"}, {"text": "ab", "thought": True}, call))], "up"
    )
    assert scanner.emitted_bytes == 4 + 2 + len('["f",{"a":1}]')


# --- the array ------------------------------------------------------------------------------


def test_elements_go_out_as_they_come() -> None:
    scanner = GeminiArrayScanner("public", PassFacts())
    first = scanner.feed(words("a"))
    assert json.loads(first + b"]")[0]["modelVersion"] == "public"
    second = scanner.feed(words("b") + words("c"))
    last = scanner.feed(END)
    assert scanner.close() == b""
    assert scanner.feed(words("late")) == b""
    found = json.loads(first + second + last)
    texts = [each["candidates"][0]["content"]["parts"][0]["text"] for each in found]
    assert texts == ["a", "b", "c", ""]


def test_array_ends_with_the_upstream() -> None:
    out, scanner = scan(
        [words("a"), b": x\n\n", frame(response({"text": ""}, reason="STOP")), b"data: [DONE]\n\n"],
        kind=GeminiArrayScanner,
    )
    assert len(json.loads(out)) == 2
    assert scanner.finished


def test_array_of_a_broken_answer_stays_open_for_its_error() -> None:
    out, scanner = scan([words("a"), frame(ERROR)], kind=GeminiArrayScanner)
    assert json.loads(out + b"]") == [json.loads(words("a")[6:])]
    assert scanner.failure == "gone"
    out, scanner = scan([words("a")], kind=GeminiArrayScanner)
    assert not scanner.finished
    assert not out.endswith(b"]")


# --- whole answers --------------------------------------------------------------------------


@pytest.mark.parametrize("path", RESPONSES, ids=[path.stem for path in RESPONSES])
def test_whole_answer_passes_where_it_can_be_read(path: Path) -> None:
    data = path.read_bytes()
    found = passed_answer(data, "public")
    folded = fold(decode_response(wire.load_exact(data), context()))
    assert found.recode == (path.stem in ("array", "array_cut", "reasons_as_numbers"))
    if found.failure is not None or found.recode:
        assert found.body == b""
        assert isinstance(folded, Failure) or found.recode
        return
    assert found.body == data.replace(b'"modelVersion": "up"', b'"modelVersion": "public"')
    if not isinstance(folded, Failure):
        assert found.usage == folded.usage


RECODED = [
    ("numbers", response({"text": "a"}, reason=1), True),
    ("array", [response({"text": "a"}), response(reason="STOP")], True),
    ("array of what is no response", [5], True),
    ("array of an error", [{"error": {"code": 400, "message": "no"}}], False),
    ("no answers", [], False),
    ("words", response({"text": "a"}, reason="STOP"), False),
]


@pytest.mark.parametrize(("name", "value", "recode"), RECODED, ids=[row[0] for row in RECODED])
def test_form_that_no_sdk_reads_is_written_once_more(name: str, value: Any, recode: bool) -> None:
    assert passed_answer(json.dumps(value).encode(), "public").recode is recode


def test_reason_that_breaks_a_translation_off_is_for_the_client_to_read() -> None:
    body = json.dumps(response(reason="MALFORMED_FUNCTION_CALL")).encode()
    assert passed_answer(body, "up").body is body


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"5", b"{}", b'{"candidates":[]}', b'{"candidates":[{}]}', b"[" * 300],
)
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    found = passed_answer(body, "public")
    assert found.failure
    assert found.body == b""


def test_text_of_an_answer_without_usage_is_counted() -> None:
    body = json.dumps(response({"text": "für"}, {"text": "ab", "thought": True})).encode()
    assert passed_answer(body, "up").emitted_bytes == 6


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (b'{"m":"up"}', b'"up"'),
        (b'{"a":{"m":"no"},"b":["m"],"m" :\n "up" }', b'"up"'),
        (b'{"a":"\\"m\\":\\"no\\"","m":"u\\"p"}', b'"u\\"p"'),
        (b'{"a":"{{{","m":{"m":[1,{}]}}', b'{"m":[1,{}]}'),
        (b'{"m":[1,"]"],"a":1}', b'[1,"]"]'),
        (b'{"m":null}', b"null"),
        (b'{"m":1 }', b"1"),
        (b'{"m":-1.5e3,"a":2}', b"-1.5e3"),
        (b'{"a":"m","b":{"m":"no"}}', None),
        (b"[]", None),
    ],
)
def test_place_of_a_member_is_found(document: bytes, place: bytes | None) -> None:
    found = member_place(document, b"m")
    assert (found and document[found[1] : found[2]]) == place


def test_big_numbers_survive() -> None:
    body = json.dumps({**response({"text": "a"}), "n": 0}).encode()
    body = body.replace(b'"n": 0', b'"n": 123456789012345678901234567890')
    assert passed_answer(body, "m").body == body.replace(b'"up"', b'"m"')
