"""Requests of clients: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    File,
    Reasoning,
    ReasoningWish,
    Seal,
    ToolCall,
    ToolChoice,
)
from kurolproxy.protocols import seal as seals
from tests.protocols.openai_chat.support import asked, encoded


@pytest.mark.parametrize(
    ("wire", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "critic", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"stop": [5]}, "stop"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
    ],
)
def test_malformed_request_names_the_field(wire: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(**wire)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
        ({"type": "file", "file": {"filename": "a.pdf"}}, "file.file_data"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,raw"}}, "image_url"),
        ({"type": "image_url"}, "image_url"),
        ({"type": "input_audio", "input_audio": {"data": "x"}}, "input_audio.format"),
        ({"type": "text"}, "text"),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,A"}},
            "file.file_data",
        ),
    ],
)
def test_malformed_part_names_the_field(part: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(messages=[{"role": "user", "content": [part]}])
    assert caught.value.param == f"messages[0].content[0].{param}"


def test_video_and_remote_files_are_files() -> None:
    parts = [
        {"type": "video_url", "video_url": {"url": "https://v.example/a.webm?x=1"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "https://f.example/a.pdf"}},
        {"type": "file", "file": {"file_data": "JVBERi0=", "filename": "b.pdf"}},
    ]
    found = asked(messages=[{"role": "user", "content": parts}]).messages[0].parts
    assert found == (
        File(url="https://v.example/a.webm?x=1", mime="video/webm"),
        File(data="AAAA", mime="video/mp4"),
        File(url="https://f.example/a.pdf", mime="application/pdf"),
        File(data="JVBERi0=", mime="application/pdf", name="b.pdf"),
    )


@pytest.mark.parametrize(
    ("thinking", "effort", "wish"),
    [
        (None, "high", ReasoningWish(effort="high")),
        ({"type": "enabled"}, None, ReasoningWish(mode="on")),
        ({"type": "disabled"}, None, ReasoningWish(mode="off")),
        ({"type": "adaptive"}, None, ReasoningWish(mode="adaptive")),
        ({"type": "enabled", "budget_tokens": 5}, "low", ReasoningWish("low", 5, "on")),
        (None, None, None),
    ],
)
def test_wish_to_think_is_read(
    thinking: dict[str, Any] | None, effort: str | None, wish: ReasoningWish | None
) -> None:
    assert asked(thinking=thinking, reasoning_effort=effort).reasoning == wish


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("any", ToolChoice("required")),
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "custom", "custom": {"name": "f"}}, ToolChoice("named", "f")),
        ({"type": "live_search"}, ToolChoice("named", "live_search")),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "x", "name": "f"}]},
            ToolChoice("auto", allowed=("f",)),
        ),
    ],
)
def test_tool_choice_is_read(choice: Any, expected: ToolChoice) -> None:
    assert asked(tool_choice=choice).tool_choice == expected


def test_unknown_service_tier_is_a_named_loss() -> None:
    assert "service_tier" in asked(service_tier="platinum").leftover


def test_what_the_gateway_obeys_itself_is_no_loss() -> None:
    found = asked(store=True, stream=True, stream_options={"include_usage": True})
    assert found.include_usage
    assert encoded(found)[1] == []


def test_losses_are_named_in_the_callers_words() -> None:
    found = asked(max_completion_tokens=5, safety_identifier="u", logprobs=True, min_p=0.1)
    assert encoded(found)[1] == ["logprobs", "safety_identifier", "unknown(1)"]


def test_seal_over_its_limit_is_foreign() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    call["extra_content"] = {"google": {"thought_signature": "a3gx" + "A" * 2_000_000}}
    message = {"role": "assistant", "tool_calls": [call], "reasoning_content": "hm"}
    assert asked(messages=[message]).messages[0].parts == (
        Reasoning("hm"),
        ToolCall("c", "f", "{}"),
    )


def test_redacted_seal_has_no_text() -> None:
    token = seals.encode(Seal("a", "claude", "p", redacted=True))
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    call["extra_content"] = {"google": {"thought_signature": token}}
    message = {"role": "assistant", "tool_calls": [call], "reasoning_content": "hm"}
    first = asked(messages=[message]).messages[0].parts[0]
    assert first == Reasoning("", Seal("a", "claude", "p", redacted=True), redacted=True)
