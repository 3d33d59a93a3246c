"""Whatever a request holds, the vendor answers or refuses: it never breaks."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.demo.proof import prove
from kurolproxy.demo.read import Refused
from kurolproxy.demo.reply import events
from kurolproxy.demo.script import reply
from kurolproxy.demo.sending import Sending
from kurolproxy.demo.wires import CHAT, GEMINI, MESSAGES, RESPONSES, Received, Wire

PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
USER_PARTS: list[Any] = [
    {"type": "text", "text": "look"},
    {"type": "image_url", "image_url": {"url": PNG}},
    {"type": "file", "file": {"file_data": PNG, "filename": "a"}},
]
CHAT_BODY = {
    "model": "demo-think",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": USER_PARTS},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": prove("x")}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
        {"type": "custom", "custom": {"name": "g"}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}},
    "stop": ["x"],
    "n": 2,
    "max_tokens": 99,
    "reasoning_effort": "low",
}
RESPONSES_BODY = {
    "model": "demo-think",
    "stream": True,
    "instructions": "i",
    "input": [
        {"role": "user", "content": [{"type": "input_image", "image_url": PNG}]},
        {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": prove("x")},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "{}"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": []},
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": SCHEMA},
        {"type": "namespace", "name": "ns", "tools": [{"type": "custom", "name": "g"}]},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "r", "schema": SCHEMA}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 99,
}
MESSAGES_BODY = {
    "model": "demo-think",
    "stream": True,
    "max_tokens": 4_000,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                },
                {"type": "document", "source": {"type": "url", "url": "https://x"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x", "signature": prove("x")},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [{"type": "text", "text": "r"}],
                }
            ],
        },
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "f"},
    "thinking": {"type": "enabled", "budget_tokens": 1_024},
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "stop_sequences": ["x"],
}
GEMINI_BODY = {
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [
        {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": prove("x")},
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "name": "f",
                        "response": {"output": "r"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
                    }
                }
            ],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "maxOutputTokens": 99,
        "stopSequences": ["x"],
        "candidateCount": 2,
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 9},
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    },
}
WIRES: list[tuple[str, Wire, dict[str, Any]]] = [
    ("chat", CHAT, CHAT_BODY),
    ("responses", RESPONSES, RESPONSES_BODY),
    ("messages", MESSAGES, MESSAGES_BODY),
    ("gemini", GEMINI, GEMINI_BODY),
]

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 50),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
    st.just([None]),
    st.just({"type": "text"}),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a body: its holder and its key."""
    pairs: list[tuple[Any, Any]] = []
    keys: Any = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        pairs.append((value, key))
        if isinstance(value[key], dict | list):
            pairs += _places(value[key])
    return pairs


def _answer(wire: Wire, body: dict[str, Any]) -> None:
    for verb in ("streamGenerateContent", "generateContent"):
        received = Received(body, "f" * 64, model="demo-think", verb=verb, sse=True)
        ask = wire.read(received)
        if ask.n > 5:
            return
        answer = reply(ask)
        sending = Sending(ask.model, ask.fingerprint, 0, body)
        assert orjson.dumps(wire.whole(answer, sending))
        writer = wire.writer(answer, sending, received)
        assert b"".join(writer.write(event) for event in events(answer))


@pytest.mark.parametrize(("name", "wire", "body"), WIRES, ids=[name for name, _, _ in WIRES])
def test_the_request_that_is_spoiled_below_is_a_good_one(
    name: str, wire: Wire, body: dict[str, Any]
) -> None:
    _answer(wire, body)


@pytest.mark.parametrize(("name", "wire", "body"), WIRES, ids=[name for name, _, _ in WIRES])
@given(data=st.data())
def test_spoiled_request_is_answered_or_refused(
    name: str, wire: Wire, body: dict[str, Any], data: st.DataObject
) -> None:
    spoiled = copy.deepcopy(body)
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(_places(spoiled)))
        holder[key] = copy.deepcopy(data.draw(_VALUES))
    if not isinstance(spoiled.get("model", "demo-think"), str):
        return
    spoiled["model"] = "demo-think"
    with contextlib.suppress(Refused):
        _answer(wire, spoiled)
