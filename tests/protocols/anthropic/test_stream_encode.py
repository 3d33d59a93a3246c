"""Writing streams: the exact bytes, and what the vendor's SDK makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import APIStatusError
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import UpstreamError
from kurolproxy.ir import (
    Block,
    BlockEnd,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Failure,
    Finish,
    ReasoningWish,
    Response,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import seal
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.folding import fold
from kurolproxy.tokens import Usage
from tests.protocols.anthropic.support import SHOWN, context, decode, sdk_events, sdk_message
from tests.unfolding import unfold

HIDDEN = ReasoningWish(mode="adaptive", show="none")
SEAL = Seal("a", "claude", "c2ln")

# The turn of mapping.md §11, in the bytes that all clients were tried with.
ONE_TURN: list[StreamEvent] = [
    Start("up", "upstream-model"),
    BlockStart(0, "reasoning"),
    Delta(0, "hm"),
    Sealed(0, SEAL),
    BlockEnd(0),
    BlockStart(1, "text"),
    Delta(1, "Hello"),
    BlockEnd(1),
    BlockStart(2, "tool", ToolHead("call_1", "get")),
    Delta(2, '{"a":1}'),
    BlockEnd(2),
    UsageSeen(Usage(prompt=5, completion=7, cache_read=2, reasoning=3)),
    Finish("tool_calls"),
]
ONE_TURN_BYTES = b"""\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"a3gxeyJwIjoiYSIsImYiOiJjbGF1ZGUiLCJzIjoiYzJsbiJ9"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hello"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"call_1","name":"get","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"a\\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":3,"cache_read_input_tokens":2,"cache_creation_input_tokens":0,"output_tokens":7,"output_tokens_details":{"thinking_tokens":3}}}

event: message_stop
data: {"type":"message_stop"}

"""  # noqa: E501  # the wire has no shorter lines


def write(events: list[StreamEvent], wish: ReasoningWish | None = SHOWN) -> bytes:
    return CODEC.encoder(context(wish)).encode(events)


def block(kind: Any, *inside: StreamEvent, tool: ToolHead | None = None) -> list[StreamEvent]:
    return [Start(), BlockStart(0, kind, tool), *inside, BlockEnd(0), Finish("stop")]


def test_one_turn_has_the_bytes_that_all_clients_took() -> None:
    assert write(ONE_TURN) == ONE_TURN_BYTES


def test_bytes_are_the_same_event_by_event() -> None:
    encoder = CODEC.encoder(context())
    assert b"".join(encoder.encode([event]) for event in ONE_TURN) == ONE_TURN_BYTES


def test_hidden_thoughts_travel_in_the_proof() -> None:
    for wish in (HIDDEN, None):
        message = sdk_message(write(ONE_TURN, wish))
        thinking = message.content[0]
        assert thinking.thinking == ""
        assert seal.decode(thinking.signature) == Seal("a", "claude", "c2ln", text="hm")
        assert [each.type for each in message.content] == ["thinking", "text", "tool_use"]


def test_thoughts_hidden_before_us_keep_the_text_of_their_seal() -> None:
    sealed = Seal("a", "claude", "p", text="hidden")
    message = sdk_message(write(block("reasoning", Sealed(0, sealed)), HIDDEN))
    assert seal.decode(message.content[0].signature) == sealed


def test_thoughts_that_come_behind_their_proof_stay_hidden() -> None:
    written = write(block("reasoning", Delta(0, "hm"), Sealed(0, SEAL), Delta(0, "ooze")), HIDDEN)
    assert b"ooze" not in written
    assert sdk_message(written).content[0].thinking == ""


@pytest.mark.parametrize(
    "sealed",
    [Seal("a", "claude", "p", redacted=True), Seal("g", "gemini", "p", text="exact")],
    ids=["redacted", "with its own text"],
)
def test_proof_that_needs_no_text_gets_none(sealed: Seal) -> None:
    written = write(block("reasoning", Delta(0, "hm"), Sealed(0, sealed)), HIDDEN)
    assert seal.decode(sdk_message(written).content[0].signature) == sealed


def test_hidden_thoughts_without_a_proof_leave_no_block() -> None:
    events: list[StreamEvent] = [
        Start(),
        BlockStart(0, "reasoning"),
        Delta(0, "hm"),
        BlockEnd(0),
        BlockStart(1, "text"),
        Delta(1, "Hello"),
        BlockEnd(1),
        Finish("stop"),
    ]
    for event in sdk_events(write(events, HIDDEN)):
        assert getattr(event, "index", 0) == 0
    assert [each.type for each in sdk_message(write(events, HIDDEN)).content] == ["text"]
    assert [each.type for each in sdk_message(write(events)).content] == ["thinking", "text"]


def test_shown_thoughts_without_a_proof_have_an_empty_signature() -> None:
    written = write(block("reasoning", Delta(0, "hm")))
    assert b"signature_delta" not in written
    (thinking,) = sdk_message(written).content
    assert (thinking.thinking, thinking.signature) == ("hm", "")


def test_redacted_thoughts_are_thinking_with_a_proof_alone() -> None:
    redacted = Seal("a", "claude", "data", redacted=True)
    for wish in (SHOWN, HIDDEN):
        (thinking,) = sdk_message(write(block("reasoning", Sealed(0, redacted)), wish)).content
        assert thinking.type == "thinking"
        assert seal.decode(thinking.signature) == redacted


@pytest.mark.parametrize("kind", ["text", "refusal", "reasoning"])
def test_block_that_says_nothing_is_not_written(kind: Any) -> None:
    assert b"content_block" not in write(block(kind))


def test_refusal_is_text() -> None:
    assert sdk_message(write(block("refusal", Delta(0, "No.")))).content[0].text == "No."


def test_proof_on_anything_but_thoughts_is_left_out() -> None:
    assert b"signature" not in write(block("text", Delta(0, "x"), Sealed(0, SEAL)))


def test_source_on_the_web_is_a_citation() -> None:
    cited = Cited(0, Citation("https://e.org/\u2028", None, 0, 1))
    for inside in ([Delta(0, "x"), cited], [cited, Delta(0, "x")]):
        (text,) = sdk_message(write(block("text", *inside))).content
        assert text.text == "x"
        assert [each.url for each in text.citations] == ["https://e.org/\u2028"]


TOOLS = [
    (ToolHead("call_1-A", "get"), "call_1-A", "get"),
    (ToolHead("toolu_" + "x" * 90, "get"), "toolu_" + "x" * 90, "get"),
    (ToolHead("call.1", "get"), "call_1_41e5461c", "get"),
    (ToolHead("", "get"), "toolu_2", "get"),
    (ToolHead("c", "get", ns="srv"), "c", "srv__get"),
    (ToolHead("c", 'a"b\n'), "c", 'a"b\n'),
]


@pytest.mark.parametrize("texts", [["SELECT ", '"*"'], ['{"a":', "1}"], ["é😀\\\n"], []])
def test_bare_input_of_a_custom_tool_is_an_object(texts: list[str]) -> None:
    head = ToolHead("call_1", "query", "custom")
    begun: list[StreamEvent] = [Start("up"), BlockStart(0, "tool", head)]
    deltas: list[StreamEvent] = [Delta(0, text) for text in texts]
    events = [*begun, *deltas, BlockEnd(0), Finish("tool_calls")]
    message = sdk_message(CODEC.encoder(context()).encode(events))
    whole = fold(events)
    assert isinstance(whole, Response)
    body = json.loads(CODEC.encode_response(whole, context()))
    given = body["content"][0]["input"]
    assert message.content[0].input == given == {"input": "".join(texts)}


@pytest.mark.parametrize(("head", "id_", "name"), TOOLS, ids=str)
def test_call_has_an_id_that_this_protocol_allows(head: ToolHead, id_: str, name: str) -> None:
    (call,) = sdk_message(write(block("tool", tool=head))).content
    assert (call.id, call.name, call.input) == (id_, name, {})


FINISHES = [
    (Finish("stop"), {"stop_reason": "end_turn", "stop_sequence": None}),
    (Finish("other"), {"stop_reason": "end_turn", "stop_sequence": None}),
    (Finish("tool_calls", "x"), {"stop_reason": "tool_use", "stop_sequence": None}),
    (Finish("length"), {"stop_reason": "max_tokens", "stop_sequence": None}),
    (Finish("stop_sequence", "END"), {"stop_reason": "stop_sequence", "stop_sequence": "END"}),
    (
        Finish("content_filter", detail="Not that."),
        {
            "stop_reason": "refusal",
            "stop_sequence": None,
            "stop_details": {"type": "refusal", "explanation": "Not that."},
        },
    ),
]


@pytest.mark.parametrize(("finish", "fields"), FINISHES, ids=str)
def test_end_says_why(finish: Finish, fields: dict[str, Any]) -> None:
    written = write([Start(), finish])
    (data,) = (
        json.loads(line[6:])
        for line in written.splitlines()
        if line.startswith(b'data: {"type":"message_delta"')
    )
    assert data["delta"] == fields
    assert data["usage"]["output_tokens"] == 0
    assert written.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_figures_that_do_not_add_up_are_never_negative() -> None:
    usage = Usage(prompt=1, cache_read=5)
    message = sdk_message(write([Start(), UsageSeen(usage), Finish("stop")]))
    assert message.usage.input_tokens == 0


def test_failure_is_left_to_the_error_event() -> None:
    encoder = CODEC.encoder(context())
    assert encoder.encode([Failure("secret host")]) == b""


def test_error_is_an_event_that_the_sdk_raises() -> None:
    encoder = CODEC.encoder(context())
    written = encoder.encode([Start(), BlockStart(0, "text"), Delta(0, "so far")])
    written += encoder.error(UpstreamError("It broke\noff."), "req_1")
    assert written.endswith(
        b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
        b'"message":"It broke\\noff."},"request_id":"req_1"}\n\n'
    )
    with pytest.raises(APIStatusError, match="It broke"):
        sdk_message(written)


def test_pings_are_what_the_sdk_ignores() -> None:
    head, rest = ONE_TURN_BYTES.split(b"\n\n", 1)
    stream = CODEC.ping_early + head + b"\n\n" + CODEC.ping + rest
    assert sdk_message(stream) == sdk_message(ONE_TURN_BYTES)
    assert CODEC.ping == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert CODEC.ping_early == b": ping\n\n"


# --- properties -------------------------------------------------------------------------

# Lone surrogates too: an encoder never fails on what a str can hold.
TEXTS = st.text(st.characters(codec=None), max_size=20)
IDS = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
ARGS = st.dictionaries(
    st.text(max_size=4), st.integers(0, 9) | st.text(max_size=4), max_size=3
).map(lambda value: json.dumps(value, ensure_ascii=False))
SEALS = st.builds(Seal, st.just("a"), st.just("claude"), st.text(min_size=1, max_size=9))
BLOCKS = st.one_of(
    st.builds(Block, st.just("text"), st.text(min_size=1)),
    st.builds(Block, st.just("reasoning"), st.text(min_size=1), st.none(), SEALS | st.none()),
    st.builds(Block, st.just("tool"), ARGS, st.builds(ToolHead, IDS, st.text(min_size=1))),
)


def answer_of(blocks: list[Block], usage: Usage) -> Response:
    called = any(each.kind == "tool" for each in blocks)
    finish = Finish("tool_calls" if called else "stop")
    return Response("msg_1", "m1", tuple(blocks), usage, finish)


USAGES = st.integers(0, 99).flatmap(
    lambda read: st.builds(
        Usage, st.integers(read + 9, 999), st.integers(0, 999), st.just(read), st.integers(0, 9)
    )
)


@given(st.lists(BLOCKS, max_size=5), USAGES)
def test_what_is_written_is_read_again(blocks: list[Block], usage: Usage) -> None:
    answer = answer_of(blocks, usage)
    read = fold(decode([write(unfold(answer))]))
    assert read == resealed(answer)


@given(st.lists(BLOCKS, max_size=5), USAGES)
def test_whole_answer_is_read_again(blocks: list[Block], usage: Usage) -> None:
    answer = answer_of(blocks, usage)
    body = json.loads(CODEC.encode_response(answer, context()))
    read = fold(CODEC.decode_response(body, context()))
    assert not isinstance(read, Failure)
    assert [parsed(each) for each in read.blocks] == [
        parsed(each) for each in resealed(answer).blocks
    ]
    assert (read.usage, read.finish) == (answer.usage, answer.finish)


def resealed(answer: Response) -> Response:
    """Return the answer as it comes back: our seal is the proof of the second upstream."""
    blocks = tuple(
        Block(
            each.kind,
            each.text,
            each.tool,
            each.seal and Seal("a", "claude", seal.encode(each.seal)),
        )
        for each in answer.blocks
    )
    return Response(answer.id, answer.model, blocks, answer.usage, answer.finish)


def parsed(one: Block) -> tuple[Any, ...]:
    text = json.loads(one.text or "{}") if one.kind == "tool" else one.text
    return (one.kind, text, one.tool, one.seal)


@given(st.lists(TEXTS, max_size=4), TEXTS, TEXTS)
def test_any_text_can_be_written(texts: list[str], name: str, url: str) -> None:
    events: list[StreamEvent] = [Start(), BlockStart(0, "text")]
    events += [Delta(0, each) for each in texts if each]
    events += [Cited(0, Citation(url, name)), BlockEnd(0)]
    events += [BlockStart(1, "tool", ToolHead(name, name)), BlockEnd(1)]
    events += [Finish("stop_sequence", url), Finish("content_filter", detail=name)]
    for frame in write(events).decode().split("\n\n")[:-1]:
        json.loads(frame.split("\ndata: ")[1])


@given(TEXTS, TEXTS, TEXTS)
def test_any_whole_answer_can_be_written(text: str, name: str, args: str) -> None:
    cited = Block("text", text, citations=(Citation(text),))
    call = Block("tool", args, ToolHead(name, name))
    finish = Finish("content_filter", detail=text)
    json.loads(CODEC.encode_response(Response("", "", (cited, call), None, finish), context()))


PROVED = [BlockStart(1, "reasoning"), Sealed(1, SEAL), BlockEnd(1)]
TOOL = [BlockStart(2, "tool", ToolHead("call_1", "get")), Delta(2, "{}"), BlockEnd(2)]


@pytest.mark.parametrize(
    ("behind", "kinds"),
    [
        (PROVED, ["text"]),
        ([*PROVED, *TOOL], ["text", "thinking", "tool_use"]),
        ([BlockStart(1, "reasoning"), Delta(1, "hm"), *PROVED[1:]], ["text", "thinking"]),
    ],
    ids=["at the end", "before a call", "with its thought"],
)
def test_proof_without_a_thought_does_not_end_an_answer(
    behind: list[StreamEvent], kinds: list[str]
) -> None:
    said: list[StreamEvent] = [Start(), BlockStart(0, "text"), Delta(0, "Hi"), BlockEnd(0)]
    message = sdk_message(write([*said, *behind, Finish("stop")]))
    assert [each.type for each in message.content] == kinds
