"""What a client reads of a stream, byte by byte and through the vendor's SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import (
    BadRequest,
    ContextTooLong,
    GatewayError,
    Overloaded,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
)
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
    ToolChoice,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import seal
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_responses.codec import CODEC
from kurolproxy.tokens import Usage
from tests.protocols.openai_responses.answer_support import (
    BROKEN,
    context,
    decode,
    sdk_created,
    sdk_events,
    sdk_refuses,
    sdk_streamed,
    write,
)
from tests.protocols.streaming import check_guarantees
from tests.unfolding import unfold

HIDDEN = ReasoningWish(show="none")
SEAL = Seal("a", "claude", "c2ln")
CALL = ToolHead("call_1", "get")

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
    BlockStart(2, "tool", CALL),
    Delta(2, '{"a":1}'),
    BlockEnd(2),
    UsageSeen(Usage(prompt=5, completion=7, cache_read=2, reasoning=3)),
    Finish("tool_calls"),
]
ONE_TURN_BYTES = b"""\
event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1700000000,"status":"in_progress","error":null,"incomplete_details":null,"model":"m1","output":[],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"store":false}}

event: response.in_progress
data: {"type":"response.in_progress","sequence_number":1,"response":{"id":"resp_1","object":"response","created_at":1700000000,"status":"in_progress","error":null,"incomplete_details":null,"model":"m1","output":[],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"store":false}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":null}}

event: response.reasoning_summary_part.added
data: {"type":"response.reasoning_summary_part.added","sequence_number":3,"item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","sequence_number":4,"item_id":"rs_1","output_index":0,"summary_index":0,"delta":"hm"}

event: response.reasoning_summary_text.done
data: {"type":"response.reasoning_summary_text.done","sequence_number":5,"item_id":"rs_1","output_index":0,"summary_index":0,"text":"hm"}

event: response.reasoning_summary_part.done
data: {"type":"response.reasoning_summary_part.done","sequence_number":6,"item_id":"rs_1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"hm"}}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":7,"output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"a3gxeyJwIjoiYSIsImYiOiJjbGF1ZGUiLCJzIjoiYzJsbiJ9"}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":8,"output_index":1,"item":{"id":"msg_1","type":"message","role":"assistant","status":"in_progress","content":[]}}

event: response.content_part.added
data: {"type":"response.content_part.added","sequence_number":9,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":10,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"Hello","logprobs":[]}

event: response.output_text.done
data: {"type":"response.output_text.done","sequence_number":11,"item_id":"msg_1","output_index":1,"content_index":0,"text":"Hello","logprobs":[]}

event: response.content_part.done
data: {"type":"response.content_part.done","sequence_number":12,"item_id":"msg_1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"Hello","annotations":[]}}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":13,"output_index":1,"item":{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hello","annotations":[]}]}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":14,"output_index":2,"item":{"id":"fc_1","type":"function_call","call_id":"call_1","name":"get","arguments":"","status":"in_progress"}}

event: response.function_call_arguments.delta
data: {"type":"response.function_call_arguments.delta","sequence_number":15,"item_id":"fc_1","output_index":2,"delta":"{\\"a\\":1}"}

event: response.function_call_arguments.done
data: {"type":"response.function_call_arguments.done","sequence_number":16,"item_id":"fc_1","output_index":2,"arguments":"{\\"a\\":1}"}

event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":17,"output_index":2,"item":{"id":"fc_1","type":"function_call","call_id":"call_1","name":"get","arguments":"{\\"a\\":1}","status":"completed"}}

event: response.completed
data: {"type":"response.completed","sequence_number":18,"response":{"id":"resp_1","object":"response","created_at":1700000000,"status":"completed","error":null,"incomplete_details":null,"model":"m1","output":[{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"a3gxeyJwIjoiYSIsImYiOiJjbGF1ZGUiLCJzIjoiYzJsbiJ9"},{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hello","annotations":[]}]},{"id":"fc_1","type":"function_call","call_id":"call_1","name":"get","arguments":"{\\"a\\":1}","status":"completed"}],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"store":false,"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":0},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":12}}}

"""  # noqa: E501  # the wire has no shorter lines


def block(kind: Any, *inside: StreamEvent, tool: ToolHead | None = None) -> list[StreamEvent]:
    return [Start(), BlockStart(0, kind, tool), *inside, BlockEnd(0), Finish("stop")]


def output(stream: bytes) -> list[dict[str, Any]]:
    """Return the items of the terminal event, checked by the SDK's types and grammar."""
    assert sdk_events(stream)
    sdk_streamed(stream)
    found: list[dict[str, Any]] = response(stream)["output"]
    return found


def response(stream: bytes) -> dict[str, Any]:
    """Return the response of the last event but an error."""
    lines = [line for line in stream.decode().split("\n") if line.startswith("data: ")]
    said = [json.loads(line[6:]) for line in lines]
    found: dict[str, Any] = [each for each in said if "response" in each][-1]["response"]
    return found


def test_one_turn_has_the_bytes_that_all_clients_took() -> None:
    assert write(ONE_TURN) == ONE_TURN_BYTES


def test_bytes_are_the_same_event_by_event() -> None:
    encoder = CODEC.encoder(context())
    assert b"".join(encoder.encode([event]) for event in ONE_TURN) == ONE_TURN_BYTES


def test_text_goes_out_as_it_comes() -> None:
    encoder = CODEC.encoder(context())
    encoder.encode([Start(), BlockStart(0, "text")])
    assert b'"delta":"a"' in encoder.encode([Delta(0, "a")])
    assert encoder.encode([Delta(0, 'b\u2028"')]) == (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        b'"sequence_number":5,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"b'
        + "\u2028".encode()
        + b'\\"","logprobs":[]}\n\n'
    )


def test_text_that_no_json_can_hold_is_mended() -> None:
    written = write(block("text", Delta(0, "a\ud800b")))
    assert output(written)[0]["content"][0]["text"] == "a\ufffdb"


# --- thoughts and proofs --------------------------------------------------------------------


def test_thoughts_are_hidden_from_a_client_that_did_not_ask_for_a_summary() -> None:
    for wish in (HIDDEN, None):
        items = output(write(ONE_TURN, context(wish)))
        assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]
        assert items[0]["summary"] == []
        sealed = seal.decode(items[0]["encrypted_content"])
        assert sealed == Seal("a", "claude", "c2ln", text="hm")


def test_thoughts_hidden_before_us_keep_the_text_of_their_seal() -> None:
    sealed = Seal("a", "claude", "p", text="hidden")
    items = output(write(block("reasoning", Delta(0, "x"), Sealed(0, sealed)), context(HIDDEN)))
    assert seal.decode(items[0]["encrypted_content"]) == sealed


def test_hidden_thoughts_too_long_for_a_seal_are_left_out_of_it() -> None:
    events = block("reasoning", Delta(0, "x" * 175_001), Sealed(0, SEAL))
    items = output(write(events, context(HIDDEN)))
    assert seal.decode(items[0]["encrypted_content"]) == SEAL


def test_redacted_thoughts_carry_their_proof_alone() -> None:
    sealed = Seal("a", "claude", "data", redacted=True)
    for wish in (HIDDEN, ReasoningWish()):
        (item,) = output(write(block("reasoning", Sealed(0, sealed)), context(wish)))
        assert item["summary"] == []
        assert seal.decode(item["encrypted_content"]) == sealed


def test_hidden_thoughts_without_a_proof_leave_no_item() -> None:
    assert output(write(block("reasoning", Delta(0, "hm")), context(HIDDEN))) == []


def test_shown_thoughts_without_a_proof_have_none() -> None:
    (item,) = output(write(block("reasoning", Delta(0, "hm"))))
    assert item == {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": None,
    }


@pytest.mark.parametrize(
    ("kind", "tool"), [("tool", CALL), ("text", None), ("refusal", None)], ids=str
)
def test_proof_on_anything_else_stands_before_it(kind: Any, tool: ToolHead | None) -> None:
    items = output(write(block(kind, Sealed(0, SEAL), Delta(0, "{}"), tool=tool)))
    assert [item["id"] for item in items] == ["rs_1", "fc_1" if tool else "msg_1"]
    assert seal.decode(items[0]["encrypted_content"]) == SEAL
    assert items[0]["summary"] == []


def test_proof_that_comes_late_stands_behind() -> None:
    for kind, tool in (("tool", CALL), ("text", None)):
        items = output(write(block(kind, Delta(0, "{}"), Sealed(0, SEAL), tool=tool)))
        assert [item["id"] for item in items] == ["fc_1" if tool else "msg_1", "rs_1"]
        assert seal.decode(items[1]["encrypted_content"]) == SEAL


def test_proof_of_a_silent_text_is_kept() -> None:
    (item,) = output(write(block("text", Sealed(0, SEAL))))
    assert seal.decode(item["encrypted_content"]) == SEAL


# --- items ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "refusal", "reasoning"])
def test_block_that_says_nothing_is_not_written(kind: Any) -> None:
    assert output(write(block(kind))) == []


def test_neighbouring_texts_are_parts_of_one_message() -> None:
    events: list[StreamEvent] = [
        Start(),
        BlockStart(0, "text"),
        Delta(0, "one"),
        BlockEnd(0),
        BlockStart(1, "text"),
        BlockEnd(1),
        BlockStart(2, "refusal"),
        Delta(2, "no"),
        BlockEnd(2),
        BlockStart(3, "tool", CALL),
        Delta(3, "{}"),
        BlockEnd(3),
        BlockStart(4, "text"),
        Delta(4, "two"),
        BlockEnd(4),
        Finish("tool_calls"),
    ]
    items = output(write(events))
    assert [item["id"] for item in items] == ["msg_1", "fc_1", "msg_2"]
    assert items[0]["content"] == [
        {"type": "output_text", "text": "one", "annotations": []},
        {"type": "refusal", "refusal": "no"},
    ]


def test_call_without_arguments_gets_an_empty_object() -> None:
    written = write(block("tool", tool=CALL))
    assert output(written)[0]["arguments"] == "{}"
    assert b'"delta":"{}"' in written


def test_free_input_stays_empty() -> None:
    head = ToolHead("call_1", "exec", "custom", "functions")
    written = write(block("tool", tool=head))
    assert b"custom_tool_call_input.delta" not in written
    assert output(written) == [
        {
            "id": "ctc_1",
            "type": "custom_tool_call",
            "call_id": "call_1",
            "name": "exec",
            "input": "",
            "status": "completed",
            "namespace": "functions",
        }
    ]


def test_call_without_an_id_gets_one() -> None:
    written = write(block("tool", Delta(0, "{}"), tool=ToolHead("", "get")))
    assert output(written)[0]["call_id"] == "call_1"
    assert b'"call_id":""' not in written


@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        (Citation("https://e.org", "E", 1, 2), (1, 2, "E")),
        (Citation("https://e.org"), (0, 5, "https://e.org")),
        (Citation("https://e.org", "", 3), (3, 5, "https://e.org")),
    ],
)
def test_source_is_an_annotation(citation: Citation, expected: tuple[int, int, str]) -> None:
    for inside in (
        [Delta(0, "Hello"), Cited(0, citation)],
        [Cited(0, citation), Delta(0, "Hello")],
    ):
        written = write(block("text", *inside))
        (note,) = output(written)[0]["content"][0]["annotations"]
        assert (note["start_index"], note["end_index"], note["title"]) == expected
        added = [each for each in sdk_events(written) if "annotation.added" in each.type]
        assert [each.annotation.to_dict() for each in added] == [note]


def test_explanation_of_a_refusal_is_said() -> None:
    events: list[StreamEvent] = [Start(), Finish("content_filter", detail="Not this.")]
    written = write(events)
    assert output(written)[0]["content"] == [{"type": "refusal", "refusal": "Not this."}]


def test_explanation_is_not_said_twice() -> None:
    events = block("refusal", Delta(0, "No."))
    events[-1] = Finish("content_filter", detail="Not this.")
    assert len(output(write(events))[0]["content"]) == 1


# --- the end --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "status", "told"),
    [
        ("stop", "completed", None),
        ("stop_sequence", "completed", None),
        ("tool_calls", "completed", None),
        ("other", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_end_is_told_by_the_status(reason: Any, status: str, told: Any) -> None:
    events: list[StreamEvent] = [*ONE_TURN[:-1], Finish(reason)]
    written = write(events)
    last = response(written)
    assert (last["status"], last["incomplete_details"]) == (status, told)
    assert sdk_events(written)[-1].type == f"response.{status}"
    # Only what was being written when it was cut is not whole.
    assert [item.get("status") for item in output(written)] == [None, "completed", status]


def test_unknown_usage_is_null() -> None:
    assert response(write(block("text", Delta(0, "a"))))["usage"] is None


def test_response_repeats_what_was_asked_of_tools() -> None:
    asked = context(parallel_tools=False, tool_choice=ToolChoice("named", "get"))
    found = response(write(ONE_TURN, asked))
    assert found["parallel_tool_calls"] is False
    assert found["tool_choice"] == {"type": "function", "name": "get"}


def test_nothing_comes_behind_the_terminal_event() -> None:
    written = write(ONE_TURN)
    assert b"[DONE]" not in written
    assert written.count(b"event: response.completed") == 1


def test_pings_disturb_no_reader() -> None:
    frames = [each + b"\n\n" for each in write(ONE_TURN).split(b"\n\n") if each]
    stream = CODEC.ping_early + CODEC.ping.join(frames)
    types = [each.type for each in sdk_created(stream) if each.type != "keepalive"]
    assert types == [each.type for each in sdk_events(write(ONE_TURN))]
    assert sdk_streamed(stream)[1] == "Hello"
    assert decode([stream]) == decode([write(ONE_TURN)])


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("done", range(len(ONE_TURN)))
def test_error_is_read_wherever_the_answer_broke_off(done: int) -> None:
    written = write([*ONE_TURN[:done], Failure("not for the caller")])
    sdk_refuses(written, BROKEN.message)
    assert b"not for the caller" not in written
    failed, error = sdk_events(written)[-2:]
    assert failed.type == "response.failed"
    assert failed.response.error.message == error.message == BROKEN.message
    assert error.error == {
        "type": "server_error",
        "code": "upstream_error",
        "message": BROKEN.message,
        "param": None,
    }


@pytest.mark.parametrize(
    ("error", "code", "failed"),
    [
        (UpstreamError("m"), "upstream_error", "server_error"),
        (UpstreamTimeout("m"), "upstream_timeout", "server_error"),
        (Overloaded("m"), "overloaded", "server_error"),
        (RateLimited("m"), "rate_limit_exceeded", "rate_limit_exceeded"),
        (BadRequest("m", param="input"), None, "invalid_prompt"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_error_has_both_codes(error: GatewayError, code: str | None, failed: str) -> None:
    written = CODEC.encoder(context()).error(error, "req_1")
    last = sdk_events(written)[-1]
    assert (last.code, last.error["code"], last.param) == (code, code, error.param)
    assert response(written)["error"] == {"code": failed, "message": "m"}


def test_words_that_no_json_can_hold_still_go_out() -> None:
    written = CODEC.encoder(context()).error(ContextTooLong("a\ud800"), "req_1")
    assert response(written)["error"]["message"] == "a\ufffd"


def test_error_keeps_what_was_finished_and_counted() -> None:
    events: list[StreamEvent] = [*ONE_TURN[:8], UsageSeen(Usage(5, 7)), Failure("")]
    found = response(write(events))
    assert [item["type"] for item in found["output"]] == ["reasoning"]
    assert found["usage"]["total_tokens"] == 12


def test_our_error_is_a_failure_to_us() -> None:
    assert decode([write([*ONE_TURN[:7], Failure("")])])[-1] == Failure(BROKEN.message)


# --- any answer -----------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAME = st.text("abcdefgh_-", min_size=1, max_size=8)
ARGS = st.dictionaries(NAME, st.integers() | TEXT, max_size=3).map(json.dumps)
HEADS = st.builds(ToolHead, NAME, NAME, st.just("function"), st.none() | NAME)
CUSTOM = st.builds(ToolHead, NAME, NAME, st.just("custom"), st.none() | NAME)
CITATIONS = st.builds(
    Citation, st.just("https://e.org"), TEXT, st.integers(0, 9), st.integers(0, 9)
)
BLOCKS = st.lists(
    st.one_of(
        st.builds(Block, st.just("refusal"), TEXT),
        st.builds(Block, st.just("reasoning"), TEXT, seal=st.none() | st.just(SEAL)),
        st.builds(Block, st.just("reasoning"), st.just(""), seal=st.just(SEAL)),
        st.builds(
            Block,
            st.just("text"),
            TEXT,
            citations=st.lists(CITATIONS, max_size=2, unique=True).map(tuple),
        ),
        st.builds(Block, st.just("tool"), ARGS, HEADS),
        st.builds(Block, st.just("tool"), TEXT, CUSTOM),
    ),
    max_size=6,
)


def _wrapped(each: Block) -> Block:
    """Return a block as it is read again: its proof is one of this protocol then."""
    if each.seal is None:
        return each
    proof = seal.encode(each.seal)
    return Block(each.kind, each.text, each.tool, Seal("r", "gpt", proof), each.citations)


def _unnamed(each: Block) -> Block:
    if each.seal is None:
        return each
    return Block(each.kind, each.text, seal=Seal("r", "gpt", each.seal.proof))


@given(BLOCKS, st.sampled_from(["length", "content_filter"]))
def test_what_is_written_is_read_again(blocks: list[Block], reason: Any) -> None:
    answer = Response("", "up", tuple(blocks), Usage(5, 7, 1, 2, 3), Finish(reason))
    events = unfold(answer)
    check_guarantees(events)
    written = write(events)
    sdk_events(written)
    streamed = fold(decode([written]))
    whole = fold(
        CODEC.decode_response(json.loads(CODEC.encode_response(answer, context())), context())
    )
    for found in (streamed, whole):
        assert isinstance(found, Response)
        assert [_unnamed(each) for each in found.blocks] == [_wrapped(each) for each in blocks]
        assert (found.usage, found.finish) == (answer.usage, answer.finish)


@given(BLOCKS, st.data())
def test_any_grouping_of_events_writes_the_same_bytes(
    blocks: list[Block], data: st.DataObject
) -> None:
    events = unfold(Response("", "up", tuple(blocks), None, Finish("stop")))
    encoder, out, at = CODEC.encoder(context()), b"", 0
    while at < len(events):
        size = data.draw(st.integers(1, 5))
        out += encoder.encode(events[at : at + size])
        at += size
    assert out == write(events)
