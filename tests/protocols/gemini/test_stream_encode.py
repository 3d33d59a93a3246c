"""Streams for clients: the exact bytes, and what the golden files leave open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai.errors import APIError

from kurolproxy.errors import GatewayError, UpstreamError, UpstreamTimeout
from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Failure,
    Finish,
    FinishReason,
    ReasoningWish,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.gemini.stream_encode import (
    ARRAY_PING,
    PING,
    GeminiArrayEncoder,
    GeminiEncoder,
    array_error,
)
from kurolproxy.tokens import Usage
from tests.protocols.gemini.answering import SHOWN, context, sdk_parts, sdk_stream

GET = ToolHead("call_1", "get")
PROOF = Seal("a", "claude", "c2ln")
HIDDEN = ReasoningWish(show="none")
# The turn that every protocol's notes write out.
TURN: list[StreamEvent] = [
    Start("up", "up"),
    BlockStart(0, "reasoning"),
    Delta(0, "hm"),
    Sealed(0, PROOF),
    BlockEnd(0),
    BlockStart(1, "text"),
    Delta(1, "Hello"),
    BlockEnd(1),
    BlockStart(2, "tool", GET),
    Delta(2, '{"a":1}'),
    BlockEnd(2),
    UsageSeen(Usage(5, 7, 2, 0, 3)),
    Finish("tool_calls"),
]
NAMES = '"modelVersion":"m1","responseId":"r1"'
USAGE = (
    '"usageMetadata":{"promptTokenCount":5,"cachedContentTokenCount":2,"candidatesTokenCount":4,'
    '"thoughtsTokenCount":3,"totalTokenCount":12},'
)


def element(part: str, end: str = "", usage: str = "") -> str:
    content = f'{{"role":"model","parts":[{part}]}}'
    return f'{{"candidates":[{{"index":0,"content":{content}{end}}}],{usage}{NAMES}}}'


TOKEN = seals.encode(Seal("a", "claude", "c2ln", "hm"))
ELEMENTS = [
    element('{"text":"hm","thought":true}'),
    element(f'{{"text":"Hello","thoughtSignature":"{TOKEN}"}}'),
    element('{"functionCall":{"id":"call_1","name":"get","args":{"a":1}}}'),
    element('{"text":""}', ',"finishReason":"STOP"', USAGE),
]


def write(*events: StreamEvent, wish: ReasoningWish | None = SHOWN) -> bytes:
    return GeminiEncoder(context(wish)).encode(events)


def array(*events: StreamEvent) -> bytes:
    return GeminiArrayEncoder(context()).encode(events)


def block(
    index: int, kind: BlockKind, *texts: str, seal: Seal | None = None, tool: ToolHead | None = None
) -> list[StreamEvent]:
    sealed = [Sealed(index, seal)] if seal is not None else []
    said = (Delta(index, text) for text in texts)
    return [BlockStart(index, kind, tool), *said, *sealed, BlockEnd(index)]


def parts(
    *blocks: list[StreamEvent],
    reason: FinishReason = "stop",
    wish: ReasoningWish | None = SHOWN,
) -> list[dict[str, Any]]:
    """Return the parts of all frames as they stand on the wire."""
    events = [event for each in blocks for event in each]
    frames = write(Start(), *events, Finish(reason), wish=wish).split(b"\n\n")[:-1]
    values = [json.loads(frame.removeprefix(b"data: ")) for frame in frames]
    return [part for value in values for part in value["candidates"][0]["content"]["parts"]]


def token(part: dict[str, Any]) -> Seal | None:
    return seals.decode(part["thoughtSignature"])


# --- bytes ------------------------------------------------------------------------------


def test_one_turn_has_the_bytes_that_all_clients_took() -> None:
    assert write(*TURN).decode() == "".join(f"data: {each}\n\n" for each in ELEMENTS)


def test_one_turn_as_an_array_has_the_same_elements() -> None:
    assert array(*TURN).decode() == f"[{','.join(ELEMENTS)}]"


@pytest.mark.parametrize("kind", [GeminiEncoder, GeminiArrayEncoder])
def test_bytes_are_the_same_event_by_event(kind: type[GeminiEncoder]) -> None:
    encoder = kind(context())
    single = b"".join(encoder.encode([event]) for event in TURN)
    assert single == kind(context()).encode(TURN)


@pytest.mark.parametrize("text", ['"\\\n\t\x00', "\u2028 \x85 ü 👩‍👧", "data: [DONE]", "\ud800"])
def test_any_text_is_one_valid_frame(text: str) -> None:
    found = write(Start(), BlockStart(0, "text"), Delta(0, text))
    assert sdk_stream(found)[0].text == text.replace("\ud800", "\ufffd")
    assert found.count(b"\n") == 2


def test_nothing_goes_out_before_something_is_said() -> None:
    usage = UsageSeen(Usage(5, 0))
    assert write(Start("a", "b"), usage, BlockStart(0, "text"), Failure("gone")) == b""
    assert array(Start("a", "b"), usage, BlockStart(0, "tool", GET)) == b""


# --- thoughts and proofs ----------------------------------------------------------------


@pytest.mark.parametrize("wish", [HIDDEN, None])
def test_hidden_thoughts_travel_in_the_proof(wish: ReasoningWish | None) -> None:
    thought = block(0, "reasoning", "h", "m", seal=PROOF)
    call, _ = parts(thought, block(1, "tool", "{}", tool=GET), wish=wish)
    assert token(call) == Seal("a", "claude", "c2ln", "hm")
    assert call["functionCall"]["name"] == "get"


def test_thoughts_without_a_proof_are_thought_parts_only() -> None:
    thought = block(0, "reasoning", "h", "m")
    assert parts(thought)[:2] == [{"text": "h", "thought": True}, {"text": "m", "thought": True}]
    assert parts(thought, wish=HIDDEN) == [{"text": ""}]


@pytest.mark.parametrize(
    "sealed",
    [
        Seal("a", "claude", "p", redacted=True),
        Seal("r", "gpt", "p", text="its own"),
        Seal("g", "gemini", "p"),
    ],
    ids=["redacted", "with its own text", "gemini's"],
)
def test_proof_that_needs_no_text_gets_none(sealed: Seal) -> None:
    last = parts(block(0, "reasoning", "hm", seal=sealed))[-1]
    assert token(last) == sealed


def test_proof_without_a_part_behind_it_stands_on_the_last_one() -> None:
    thought, last = parts(block(0, "reasoning", "hm", seal=PROOF))
    assert thought == {"text": "hm", "thought": True}
    assert last["text"] == ""
    assert token(last) == Seal("a", "claude", "c2ln", "hm")


def test_proof_stands_between_its_thoughts_and_the_next() -> None:
    other = Seal("a", "claude", "other")
    found = parts(
        block(0, "reasoning", "one", seal=PROOF),
        block(1, "reasoning", "two", seal=other),
        block(2, "text", "Hi"),
    )
    assert [part["text"] for part in found] == ["one", "", "two", "Hi", ""]
    assert token(found[1]) == Seal("a", "claude", "c2ln", "one")
    assert token(found[3]) == Seal("a", "claude", "other", "two")


def test_second_proof_of_a_block_pushes_the_first_out() -> None:
    other = Seal("g", "gemini", "other")
    found = parts([BlockStart(0, "reasoning"), Sealed(0, PROOF), Sealed(0, other), BlockEnd(0)])
    assert list(map(token, found)) == [PROOF, other]


def test_proof_is_standard_base64_whatever_the_vendor_wrote() -> None:
    odd = Seal("c", "deepseek", "not base64: é%", "hm")
    stream = write(Start(), *block(0, "reasoning", seal=odd), Finish("stop"))
    (answer,) = sdk_stream(stream)
    assert answer.candidates
    assert answer.candidates[0].content
    (part,) = answer.candidates[0].content.parts or ()
    assert part.thought_signature is not None
    assert part.thought_signature.startswith(b"kx1")


def test_text_that_no_seal_can_hold_is_left_out_of_it() -> None:
    found = parts(block(0, "reasoning", "x" * 200_000, seal=PROOF))
    assert token(found[-1]) == PROOF


# --- calls ------------------------------------------------------------------------------


def call(*texts: str, head: ToolHead = GET, reason: FinishReason = "tool_calls") -> Any:
    """Return the ``functionCall`` of an answer with one call; None when there is none."""
    return parts(block(0, "tool", *texts, tool=head), reason=reason)[0].get("functionCall")


@pytest.mark.parametrize(
    ("texts", "args"),
    [
        (['{"a"', ":1}"], {"a": 1}),
        (['\n{\r\n "a": [1,\n 2]}\n'], {"a": [1, 2]}),
        ([], {}),
        (["  "], {}),
        (["[1]"], {"input": "[1]"}),
        (['"x"'], {"input": '"x"'}),
        (['{"a":'], {"input": '{"a":'}),
        (['{"a":"\\ud800"}'], {"input": '{"a":"\\ud800"}'}),
        (['{"a":' + "[" * 200 + "]" * 200 + "}"], {"input": '{"a":' + "[" * 200 + "]" * 200 + "}"}),
    ],
)
def test_arguments_are_an_object(texts: list[str], args: Any) -> None:
    found = call(*texts)
    assert found == {"id": "call_1", "name": "get", "args": args}


def test_numbers_of_arguments_stay_as_they_were_written() -> None:
    text = '{"n":123456789012345678901234567890,"f":1.10,"e":1E2}'
    assert text.encode() in write(Start(), *block(0, "tool", text, tool=GET))


def test_free_text_is_wrapped_even_when_it_looks_like_an_object() -> None:
    head = ToolHead("c", "patch", "custom")
    assert call('{"a":1}', head=head)["args"] == {"input": '{"a":1}'}


def test_name_and_id_are_made_where_the_protocol_needs_them() -> None:
    found = call("{}", head=ToolHead("", "run", "function", "shell"))
    assert found["name"] == "shell__run"
    assert found["id"] == "call_2"


@pytest.mark.parametrize("cut", ['{"a":', "", "[1"])
def test_call_that_the_cap_cut_is_not_sent(cut: str) -> None:
    assert call(cut, reason="length") is None


def test_whole_call_before_a_cut_one_is_sent() -> None:
    first, second = block(0, "tool", "{}", tool=GET), block(1, "tool", "{", tool=GET)
    found = parts(first, second, reason="length")
    assert [part.get("functionCall", {}).get("args") for part in found] == [{}, None]


def test_odd_call_before_another_block_is_sent_in_its_place() -> None:
    odd = block(0, "tool", "odd", tool=GET)
    proven = block(1, "reasoning", seal=Seal("g", "gemini", "p"))
    found = parts(odd, proven, block(2, "text", "Hi"), reason="length")
    assert [next(iter(part)) for part in found] == ["functionCall", "text", "text"]
    assert "thoughtSignature" not in found[0]
    assert token(found[1]) == Seal("g", "gemini", "p")


# --- sources and the end ----------------------------------------------------------------


def test_sources_count_bytes_of_all_text() -> None:
    events: list[StreamEvent] = [
        Start(),
        *block(0, "text", "Übe"),
        BlockStart(1, "text"),
        Delta(1, "für alle"),
        Cited(1, Citation("https://a.example", "A", 0, 3)),
        Cited(1, Citation("https://b.example", None, 4, 99)),
        Cited(1, Citation("https://a.example", "A", 4, 8)),
        Cited(1, Citation("https://c.example\ud800", "C")),
        BlockEnd(1),
        Finish("stop"),
    ]
    last = json.loads(write(*events).split(b"\n\n")[-2][6:])["candidates"][0]
    found = last["groundingMetadata"]
    assert [each["web"] for each in found["groundingChunks"]] == [
        {"uri": "https://a.example", "title": "A"},
        {"uri": "https://b.example"},
        {"uri": "https://c.example\ufffd", "title": "C"},
    ]
    assert found["groundingSupports"] == [
        {
            "segment": {"startIndex": 4, "endIndex": 8, "text": "für"},
            "groundingChunkIndices": [0],
        },
        {
            "segment": {"startIndex": 9, "endIndex": 13, "text": "alle"},
            "groundingChunkIndices": [1, 0],
        },
        {
            "segment": {"startIndex": 4, "endIndex": 13, "text": "für alle"},
            "groundingChunkIndices": [2],
        },
    ]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "STOP"),
        ("stop_sequence", "STOP"),
        ("tool_calls", "STOP"),
        ("length", "MAX_TOKENS"),
        ("content_filter", "SAFETY"),
        ("other", "OTHER"),
    ],
)
def test_reason_is_said_in_words_of_the_vendor(reason: FinishReason, word: str) -> None:
    stream = write(Start(), Finish(reason, detail="Why"))
    (answer,) = sdk_stream(stream)
    assert answer.candidates
    assert answer.candidates[0].finish_reason == word
    assert answer.usage_metadata is None
    assert b'"finishMessage":"Why"' in stream


def test_refusal_is_text() -> None:
    assert parts(block(0, "refusal", "No."))[0] == {"text": "No."}


# --- signs of life and errors -----------------------------------------------------------


def test_signs_of_life_do_not_disturb_the_sdk() -> None:
    frames = [each + b"\n\n" for each in write(*TURN).split(b"\n\n")[:-1]]
    lively = PING + PING.join(frames) + PING
    assert sdk_parts(sdk_stream(lively)) == sdk_parts(sdk_stream(b"".join(frames)))


def test_signs_of_life_of_an_array_are_white_space() -> None:
    encoder = GeminiArrayEncoder(context())
    pieces = [ARRAY_PING]
    for event in TURN:
        pieces += [encoder.encode([event]), ARRAY_PING]
    assert json.loads(b"".join(pieces)) == json.loads(array(*TURN))


@pytest.mark.parametrize(
    ("error", "code"), [(UpstreamError("It \ud800 failed."), 502), (UpstreamTimeout("Slow."), 504)]
)
def test_error_of_a_stream_is_raised_by_the_sdk(error: GatewayError, code: int) -> None:
    encoder = GeminiEncoder(context())
    stream = encoder.encode(TURN[:7]) + encoder.error(error, "req_1")
    with pytest.raises(APIError) as raised:
        sdk_stream(stream)
    assert raised.value.code == code
    assert raised.value.message == error.message.replace("\ud800", "\ufffd")


@pytest.mark.parametrize("said", [0, 2])
def test_error_of_an_array_is_its_last_element(said: int) -> None:
    encoder = GeminiArrayEncoder(context())
    data = encoder.encode(TURN[: 4 * said]) + encoder.error(UpstreamError("Gone."), "req_1")
    *before, last = json.loads(data)
    assert len(before) == said
    assert last == {"error": {"code": 502, "message": "Gone.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(("begun", "before"), [(True, b'[{"text":1}'), (False, b"\n\n")])
def test_error_of_an_array_that_others_wrote(begun: bool, before: bytes) -> None:
    data = before + array_error(UpstreamError("Gone."), "req_1", begun=begun)
    assert json.loads(data)[-1]["error"]["message"] == "Gone."
