"""Streams for clients: the exact bytes, and what the golden files leave open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.errors import UpstreamError
from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Citation,
    Cited,
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
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.tokens import Usage
from tests.protocols.openai_chat.support import context, sdk_chunks

GET = ToolHead("call_1", "get")
# The turn that every protocol's notes write out.
TURN: list[StreamEvent] = [
    Start("up", "up"),
    BlockStart(0, "reasoning"),
    Delta(0, "hm"),
    Sealed(0, Seal("a", "claude", "c2ln")),
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
HEAD = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,'
    '"model":"m1","choices":['
)


def chunk(delta: str, reason: str = "null") -> str:
    return f'{HEAD}{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}\n\n'


def written(*events: StreamEvent, **asked: Any) -> str:
    return CODEC.encoder(context(**asked)).encode(events).decode()


def deltas(*events: StreamEvent, **asked: Any) -> list[dict[str, Any]]:
    """Return the deltas between the role and the finish reason."""
    text = written(Start(), *events, Finish("stop"), **asked)
    datas = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
    return [json.loads(data)["choices"][0]["delta"] for data in datas[1:-2]]


def test_one_turn_is_written_byte_for_byte() -> None:
    token = seals.encode(Seal("a", "claude", "c2ln", "hm"))
    google = f'{{"google":{{"thought_signature":"{token}"}}}}'
    usage = (
        '{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"prompt_tokens_details":'
        '{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}}'
    )
    assert written(*TURN) == "".join(
        [
            chunk('{"role":"assistant","content":""}'),
            chunk('{"reasoning_content":"hm"}'),
            chunk('{"content":"Hello"}'),
            chunk(
                '{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":'
                f'{{"name":"get","arguments":""}},"extra_content":{google}}}]}}'
            ),
            chunk('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":1}"}}]}'),
            chunk("{}", '"tool_calls"'),
            f'{HEAD}],"usage":{usage}}}\n\n',
            "data: [DONE]\n\n",
        ]
    )


def test_turn_is_the_same_in_any_portions() -> None:
    encoder = CODEC.encoder(context())
    assert "".join(encoder.encode([event]).decode() for event in TURN) == written(*TURN)


def test_usage_goes_to_those_who_asked() -> None:
    assert '"usage"' in written(*TURN)
    assert '"usage"' not in written(*TURN, include_usage=False)
    assert '"usage"' not in written(Start(), Finish("stop"))


@pytest.mark.parametrize("text", ['"\\\n\t\x00', "\u2028 ü 👩‍👧", "<|im_end|>", "[DONE]", "\ud800"])
def test_any_text_is_one_valid_chunk(text: str) -> None:
    found = written(BlockStart(0, "text"), Delta(0, text))
    mended = text.replace("\ud800", "\ufffd")
    assert sdk_chunks(found.encode())[0].choices[0].delta.content == mended
    assert found.count("\n") == 2


def test_calls_are_counted_in_order() -> None:
    found = deltas(
        BlockStart(0, "tool", GET),
        BlockEnd(0),
        BlockStart(1, "text"),
        Delta(1, "x"),
        BlockEnd(1),
        BlockStart(2, "tool", ToolHead("", "put", ns="ns")),
        Delta(2, "{}"),
        BlockEnd(2),
    )
    calls = [delta["tool_calls"][0] for delta in found if "tool_calls" in delta]
    assert [call["index"] for call in calls] == [0, 0, 1, 1]
    # Arguments are JSON even where there are none; id and name stand once.
    assert calls[1] == {"index": 0, "function": {"arguments": "{}"}}
    assert calls[2]["id"].startswith("call_")
    assert calls[2]["function"]["name"] == "ns__put"
    assert "id" not in calls[3]


def test_free_form_call_is_one_delta() -> None:
    tool = ToolHead("c", "sql", "custom")
    blocks = BlockStart(0, "tool", tool), Delta(0, "SELECT "), Delta(0, "1"), BlockEnd(0)
    custom = {"name": "sql", "input": "SELECT 1"}
    assert deltas(*blocks) == [
        {"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": custom}]}
    ]


def test_deprecated_form_has_one_call_and_its_own_reason() -> None:
    blocks = [
        BlockStart(0, "tool", GET),
        Delta(0, "{}"),
        BlockEnd(0),
        BlockStart(1, "tool", GET),
        Delta(1, "{}"),
        BlockEnd(1),
    ]
    assert deltas(*blocks, legacy_functions=True) == [
        {"function_call": {"name": "get", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ]
    end = written(Start(), *blocks, Finish("tool_calls"), legacy_functions=True)
    assert '"finish_reason":"function_call"' in end


def test_citations_come_once_with_offsets_into_the_message() -> None:
    found = deltas(
        BlockStart(0, "text"),
        Delta(0, "One. "),
        BlockEnd(0),
        BlockStart(1, "text"),
        Cited(1, Citation("https://a.example", "A", 1, 2)),
        Delta(1, "Two."),
        Cited(1, Citation("https://b.example")),
        BlockEnd(1),
    )
    notes = [note["url_citation"] for note in found[-1]["annotations"]]
    assert [(note["start_index"], note["end_index"]) for note in notes] == [(6, 7), (5, 9)]


def test_words_about_a_refusal_come_as_one() -> None:
    refused = Finish("content_filter", detail="no")
    assert '{"refusal":"no"}' in written(Start(), refused)
    said = BlockStart(0, "refusal"), Delta(0, "never"), BlockEnd(0)
    assert '{"refusal":"no"}' not in written(Start(), *said, refused)


def test_proof_of_gemini_is_lost_behind_text() -> None:
    sealed = BlockStart(0, "reasoning"), Sealed(0, Seal("g", "gem", "p")), BlockEnd(0)
    call = BlockStart(1, "tool", GET), BlockEnd(1)
    assert "extra_content" in str(deltas(*sealed, *call))
    text = BlockStart(1, "text"), Delta(1, "x"), BlockEnd(1)
    late = BlockStart(2, "tool", GET), BlockEnd(2)
    assert "extra_content" not in str(deltas(*sealed, *text, *late))


def test_failure_is_left_to_the_error() -> None:
    assert written(Failure("gone")) == ""
    found = CODEC.encoder(context()).error(UpstreamError("gone"), "r1")
    assert found == (
        b'data: {"error":{"message":"gone","type":"server_error","param":null,'
        b'"code":"upstream_error"}}\n\n'
    )
