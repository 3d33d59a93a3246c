"""What a Messages request means, and what is refused of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    CacheHint,
    Message,
    Reasoning,
    ReasoningWish,
    Request,
    Seal,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols import seal
from kurolproxy.protocols.anthropic.codec import CODEC
from tests.fakes.recordings import ids, needs_recordings, recordings_dir, select

HELLO: dict[str, Any] = {
    "model": "m1",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "Hello"}],
}


def read(**fields: Any) -> Request:
    return CODEC.decode_request({**HELLO, **fields})


def said(*blocks: dict[str, Any], role: str = "user") -> Request:
    return read(messages=[{"role": role, "content": list(blocks)}])


def tool(**fields: Any) -> dict[str, Any]:
    return {"name": "get", "input_schema": {"type": "object"}, **fields}


def refused(body: dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        CODEC.decode_request(body)
    return caught.value


@pytest.mark.parametrize("cap", [None, "100", 1.5, -1, True, [100]], ids=repr)
def test_request_without_a_whole_cap_is_refused_in_the_vendors_words(cap: object) -> None:
    error = refused({**HELLO, "max_tokens": cap})
    assert error.message == "max_tokens: Field required"
    assert error.param == "max_tokens"


def test_missing_cap_is_refused() -> None:
    error = refused({name: value for name, value in HELLO.items() if name != "max_tokens"})
    assert error.param == "max_tokens"


def test_cap_of_zero_is_refused_when_translated() -> None:
    error = refused({**HELLO, "max_tokens": 0})
    assert error.message.startswith("max_tokens: 0 only warms the cache")


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("no model", {"model": None}, "model"),
    ("no messages", {"messages": None}, "messages"),
    ("empty messages", {"messages": []}, "messages"),
    ("message is a text", {"messages": ["Hello"]}, "messages[0]"),
    ("no role", {"messages": [{"content": "x"}]}, "messages[0].role"),
    ("unknown role", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ("no content", {"messages": [{"role": "user"}]}, "messages[0].content"),
    ("content is a number", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("container", {"container": "c1"}, "container"),
    ("mcp servers", {"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
    ("compaction", {"compaction": {"type": "auto"}}, "compaction"),
    ("thread", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
    ("bash", {"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
    ("editor", {"tools": [{"type": "text_editor_20250728", "name": "e"}]}, "tools[0].type"),
    ("memory", {"tools": [{"type": "memory_20250818", "name": "memory"}]}, "tools[0].type"),
    ("computer", {"tools": [tool(), {"type": "computer_toolset_20260801"}]}, "tools[1].type"),
    ("browser", {"tools": [{"type": "browser_toolset_20260801"}]}, "tools[0].type"),
    ("tool without a name", {"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ("tool is a text", {"tools": ["get"]}, "tools[0]"),
    ("unknown choice", {"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
    ("choice without a name", {"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ("unknown thinking", {"thinking": {"type": "deep"}}, "thinking.type"),
    ("stop is a text", {"stop_sequences": "END"}, "stop_sequences"),
    ("stop holds a number", {"stop_sequences": ["a", 1]}, "stop_sequences[1]"),
    ("temperature is a text", {"temperature": "hot"}, "temperature"),
    ("grammar output", {"output_config": {"format": {"type": "x"}}}, "output_config.format.type"),
    ("no schema", {"output_format": {"type": "json_schema"}}, "output_format.schema"),
    (
        "system holds an image",
        {"system": [{"type": "image", "source": {}}]},
        "system[0].source.type",
    ),
]


@pytest.mark.parametrize(
    ("fields", "param"), [each[1:] for each in REFUSALS], ids=[each[0] for each in REFUSALS]
)
def test_what_cannot_be_meant_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused({**HELLO, **fields}).param == param


BLOCKS: list[tuple[str, dict[str, Any], str]] = [
    ("no type", {"text": "x"}, "type"),
    ("unknown", {"type": "hologram"}, "type"),
    ("text without text", {"type": "text"}, "text"),
    ("no source", {"type": "image"}, "source"),
    ("image by id", {"type": "image", "source": {"type": "file", "file_id": "f"}}, "source.type"),
    ("file by id", {"type": "document", "source": {"type": "file", "file_id": "f"}}, "source.type"),
    ("strange source", {"type": "image", "source": {"type": "ftp"}}, "source.type"),
    ("container upload", {"type": "container_upload", "file_id": "f"}, "type"),
    ("sealed compaction", {"type": "compaction", "encrypted_content": "e"}, "encrypted_content"),
    ("result without an id", {"type": "tool_result", "content": "x"}, "tool_use_id"),
]


@pytest.mark.parametrize(
    ("block", "param"), [each[1:] for each in BLOCKS], ids=[each[0] for each in BLOCKS]
)
def test_block_that_cannot_be_meant_is_refused_by_its_place(
    block: dict[str, Any], param: str
) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}, block]}]
    assert refused({**HELLO, "messages": messages}).param == f"messages[0].content[1].{param}"


def test_call_in_a_users_message_is_refused() -> None:
    block = {"type": "tool_use", "id": "t1", "name": "get", "input": {}}
    messages = [{"role": "user", "content": [block]}]
    assert refused({**HELLO, "messages": messages}).param == "messages[0].content"


def test_typed_client_tool_is_refused_in_words() -> None:
    error = refused({**HELLO, "tools": [{"type": "bash_20250124", "name": "bash"}]})
    assert (
        error.message
        == "tools[0].type: tool type bash_20250124 only works with an anthropic upstream."
    )


THINKING: list[tuple[str, dict[str, Any], ReasoningWish | None]] = [
    ("nothing", {}, None),
    ("adaptive", {"thinking": {"type": "adaptive"}}, ReasoningWish(mode="adaptive")),
    (
        "adaptive, omitted",
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        ReasoningWish(mode="adaptive", show="none"),
    ),
    (
        "adaptive with an effort",
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
        ReasoningWish("xhigh", mode="adaptive"),
    ),
    ("between tools", {"thinking": {"type": "between_tools"}}, ReasoningWish(mode="adaptive")),
    (
        "budget",
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        ReasoningWish(budget=2048),
    ),
    ("on", {"thinking": {"type": "enabled"}}, ReasoningWish(mode="on")),
    (
        "off, whatever the effort",
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
        ReasoningWish(mode="off", show="none"),
    ),
    ("effort alone", {"output_config": {"effort": "low"}}, ReasoningWish("low", show="none")),
    ("unknown effort", {"output_config": {"effort": "heroic"}}, None),
]


@pytest.mark.parametrize(
    ("fields", "wish"), [each[1:] for each in THINKING], ids=[each[0] for each in THINKING]
)
def test_thinking_and_effort_are_one_wish(
    fields: dict[str, Any], wish: ReasoningWish | None
) -> None:
    assert read(**fields).reasoning == wish


def test_unknown_effort_is_a_loss() -> None:
    assert read(output_config={"effort": "heroic"}).leftover == ("output_config.effort",)


def test_the_last_effort_of_a_turn_wins() -> None:
    request = read(
        output_config={"effort": "max"},
        messages=[
            {"role": "system", "content": "a", "output_config": {"effort": "low"}},
            {"role": "user", "content": "Hello"},
            {"role": "system", "output_config": {"effort": "high"}},
            {"role": "system", "content": "b", "output_config": {}},
        ],
    )
    assert request.reasoning == ReasoningWish("high", show="none")


CHOICES: list[tuple[dict[str, Any], ToolChoice, bool | None]] = [
    ({"type": "auto"}, ToolChoice("auto"), None),
    ({"type": "any"}, ToolChoice("required"), None),
    ({"type": "none"}, ToolChoice("none"), None),
    ({"type": "tool", "name": "get"}, ToolChoice("named", "get"), None),
    ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto"), False),
    ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required"), None),
]


@pytest.mark.parametrize(("wire", "choice", "parallel"), CHOICES, ids=str)
def test_tool_choice_says_two_things(
    wire: dict[str, Any], choice: ToolChoice, parallel: bool | None
) -> None:
    request = read(tools=[tool()], tool_choice=wire)
    assert (request.tool_choice, request.parallel_tools) == (choice, parallel)


def test_results_stand_apart_from_the_users_words_in_their_order() -> None:
    request = read(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t2"},
                    {"type": "tool_result", "tool_use_id": "t1", "content": []},
                    {"type": "text", "text": "both"},
                ],
            }
        ]
    )
    assert request.messages == (
        Message("tool", (ToolResult("t2"), ToolResult("t1"))),
        Message("user", (Text("both"),)),
    )


def test_arguments_are_compact_json_in_the_clients_order() -> None:
    block = {"type": "tool_use", "id": "t1", "name": "get", "input": {"b": [1, 2.5], "a": "ü"}}
    (message,) = said(block, role="assistant").messages
    assert message.parts == (ToolCall("t1", "get", '{"b":[1,2.5],"a":"ü"}'),)


def test_call_without_input_has_empty_arguments() -> None:
    (message,) = said({"type": "tool_use", "id": "t1", "name": "get"}, role="assistant").messages
    assert message.parts == (ToolCall("t1", "get", "{}"),)


PROOF = Seal("g", "gemini", "p", text="what was thought")
THOUGHTS: list[tuple[str, dict[str, Any], Reasoning]] = [
    ("empty signature", {"thinking": "hm", "signature": ""}, Reasoning("hm")),
    ("no signature", {"thinking": "hm"}, Reasoning("hm")),
    ("bare proof", {"thinking": "hm", "signature": "sig"}, Reasoning("hm", native="sig")),
    (
        "our seal, text hidden",
        {"thinking": "", "signature": seal.encode(PROOF)},
        Reasoning("what was thought", PROOF),
    ),
    (
        "our seal, text shown",
        {"thinking": "hm", "signature": seal.encode(PROOF)},
        Reasoning("hm", PROOF),
    ),
    (
        "no seal of ours after all",
        {"thinking": "hm", "signature": "a3gxbroken"},
        Reasoning("hm", native="a3gxbroken"),
    ),
]


@pytest.mark.parametrize(
    ("fields", "part"), [each[1:] for each in THOUGHTS], ids=[each[0] for each in THOUGHTS]
)
def test_thinking_keeps_its_proof(fields: dict[str, Any], part: Reasoning) -> None:
    (message,) = said({"type": "thinking", **fields}, role="assistant").messages
    assert message.parts == (part,)


def test_summary_of_a_compaction_is_text_and_a_failed_one_is_nothing() -> None:
    request = said(
        {"type": "compaction", "content": "What was said.", "signature": "s"},
        {"type": "compaction", "content": None},
        role="assistant",
    )
    assert request.messages == (Message("assistant", (Text("What was said."),)),)
    assert request.unknown == 0


def test_only_the_attribution_of_the_client_is_taken_out_of_the_system_prompt() -> None:
    blocks = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=1"},
        {"type": "text", "text": "Be x-anthropic-billing-header: kind."},
    ]
    assert read(system=blocks).system == (Text("Be x-anthropic-billing-header: kind."),)
    assert read(system="Be kind.").system == (Text("Be kind."),)


@pytest.mark.parametrize(
    ("control", "hint"),
    [
        ({"type": "ephemeral"}, CacheHint()),
        ({"type": "ephemeral", "ttl": "5m"}, CacheHint(300)),
        ({"type": "ephemeral", "ttl": "1h"}, CacheHint(3600)),
        ({"type": "ephemeral", "ttl": "forever"}, CacheHint()),
        (None, None),
    ],
)
def test_cache_hint_is_read_everywhere(control: object, hint: CacheHint | None) -> None:
    request = read(
        cache_control=control,
        system=[{"type": "text", "text": "s", "cache_control": control}],
        tools=[tool(cache_control=control)],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "cache_control": control},
                    {"type": "text", "text": "x", "cache_control": control},
                ],
            }
        ],
    )
    found = [request.cache, request.system[0].cache, request.tools[0].cache]
    for message in request.messages:
        found += [part.cache for part in message.parts if isinstance(part, Text | ToolResult)]
    assert found == [hint] * 5


LOSSES: list[tuple[str, dict[str, Any], tuple[str, ...], int]] = [
    ("nothing", {}, (), 0),
    ("null says nothing", {"speed": None, "made_up": None}, (), 0),
    (
        "vendor features",
        {"speed": "fast", "diagnostics": {}, "context_management": {"edits": []}},
        ("speed", "diagnostics", "context_management"),
        0,
    ),
    ("a new thread", {"thread": {"type": "create"}}, ("thread",), 0),
    ("no servers", {"mcp_servers": []}, (), 0),
    ("unknown fields", {"foo": 1, "bar": 2, "metadata": {"team": "x"}}, (), 3),
    ("unknown tier", {"service_tier": "turbo"}, ("service_tier",), 0),
    ("tool features", {"tools": [tool(eager_input_streaming=True, zeal=9)]},
     ("tools.eager_input_streaming",), 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "leftover", "unknown"), [each[1:] for each in LOSSES], ids=[e[0] for e in LOSSES]
)
def test_what_has_no_place_is_named_or_counted(
    fields: dict[str, Any], leftover: tuple[str, ...], unknown: int
) -> None:
    request = read(**fields)
    assert (request.leftover, request.unknown) == (leftover, unknown)


def test_losses_inside_blocks_are_named_or_counted() -> None:
    request = said(
        {"type": "text", "text": "x", "sparkle": True},
        {"type": "image", "source": {"type": "url", "url": "u"}, "transformations": []},
    )
    assert request.leftover == ("messages.image.transformations",)
    assert request.unknown == 1


def test_losses_are_named_in_the_clients_words() -> None:
    names = read(output_format={"type": "json_schema", "schema": {}}, thinking=None).names
    assert names["stop"] == "stop_sequences"
    assert names["user_ref"] == "metadata.user_id"
    assert names["output"] == "output_format"
    assert names["reasoning"] == "output_config.effort"


CLIENTS = sorted(recordings_dir().glob("clients/claude-code*.json")) if recordings_dir() else []


@needs_recordings
def test_recorded_requests_of_claude_code_are_read() -> None:
    assert CLIENTS
    for path in CLIENTS:
        request = CODEC.decode_request(json.loads(path.read_bytes()))
        assert len(request.tools) == 15
        assert any(message.role == "tool" for message in request.messages)


RECORDED = [each for each in select(protocol="messages") if each.request is not None]
# Requests of the other route, and one with a tool that only the vendor's models know.
OTHER_ROUTE = ("messages-anthropic-count-tokens", "messages-anthropic-count-tokens-error")


@needs_recordings
@pytest.mark.parametrize("recorded", RECORDED, ids=ids(RECORDED))
def test_recorded_request_is_read(recorded: Any) -> None:
    if recorded.stem in OTHER_ROUTE:
        assert refused(recorded.request_json).param == "max_tokens"
        return
    request = CODEC.decode_request(recorded.request_json)
    assert request.messages
    assert request.max_tokens == recorded.request_json["max_tokens"]
    assert request.unknown == 0


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": ""}
USE = {"type": "tool_use", "id": "t", "name": "get", "input": {}}
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://a.test/p.png"}}
PAPER = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
WORDS = {"type": "text", "text": "seen"}


@pytest.mark.parametrize(
    ("block", "lost"),
    [
        (
            {"type": "tool_result", "tool_use_id": "t", "content": [THOUGHT, USE, WORDS, PICTURE]},
            ("messages.tool_result.thinking", "messages.tool_result.tool_use"),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [PAPER, USE, PICTURE]}},
            ("messages.document.document", "messages.document.tool_use"),
        ),
        (
            {"type": "search_result", "title": "t", "source": "s", "content": [WORDS, PICTURE]},
            ("messages.search_result.image",),
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_blocks_that_have_no_place_inside_of_another_are_named(
    block: dict[str, Any], lost: tuple[str, ...]
) -> None:
    assert said(block).leftover == lost
