"""Requests of clients: what is read, what is refused and why, what is told as lost."""

from __future__ import annotations

from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    CacheHint,
    Image,
    Message,
    Output,
    Reasoning,
    ReasoningWish,
    Role,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.openai_responses.request_decode import decode_request
from tests.protocols.openai_responses.request_support import asked

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


def part(**fields: Any) -> dict[str, Any]:
    """Return a user's message that holds one part."""
    return {"role": "user", "content": [fields]}


def output(value: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c", "output": value}


# --- what is refused ------------------------------------------------------------------------

STATELESS = "is not supported: this gateway is stateless, send the full input"
STATE = [
    ({"previous_response_id": "resp_1"}, f"previous_response_id {STATELESS}."),
    ({"conversation": "conv_1"}, f"conversation {STATELESS}."),
    ({"conversation": {"id": "conv_1"}}, f"conversation {STATELESS}."),
    ({"prompt": {"id": "pmpt_1"}}, "prompt is not supported"),
    ({"background": True}, "background is not supported"),
]


@pytest.mark.parametrize(("fields", "told"), STATE, ids=lambda value: str(value)[:24])
def test_reference_to_what_the_vendor_keeps_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(**fields)
    assert caught.value.message.startswith(told)
    assert caught.value.param == next(iter(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": None},
        {"conversation": None},
        {"prompt": None},
        {"background": False},
        {"background": None},
        {"store": True},
        {"store": False},
        {"stream_options": {"include_obfuscation": True}},
        {"generate": False},
        {"truncation": "disabled"},
        {"metadata": {}},
        {"include": ["reasoning.encrypted_content", "something.new"]},
    ],
)
def test_field_that_asks_for_nothing_is_no_loss(fields: dict[str, Any]) -> None:
    request = asked(**fields)
    assert (request.leftover, request.unknown) == ((), 0)


@pytest.mark.parametrize("reference", [{"type": "item_reference", "id": "msg_1"}, {"id": "rs_1"}])
def test_item_reference_is_refused_with_the_words_that_help(reference: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(USER, reference)
    told = "input[1]: item_reference is not supported: set store=false."
    assert (caught.value.message, caught.value.param) == (told, "input[1]")


@pytest.mark.parametrize(
    "kind",
    [
        "compaction",
        "compaction_trigger",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "computer_call",
        "computer_call_output",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "program",
        "program_output",
    ],
)
def test_item_of_the_vendor_alone_is_refused_by_name(kind: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(USER, {"type": kind, "id": "x"})
    assert caught.value.message == (
        f"input[1].type: an item of type {kind} only works with an OpenAI Responses upstream."
    )
    assert caught.value.param == "input[1].type"


@pytest.mark.parametrize("kind", ["apply_patch", "shell", "local_shell"])
def test_tool_that_only_this_vendors_models_know_is_refused(kind: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(tools=[{"type": kind}])
    told = f"tools[0].type: tool type {kind} only works with an OpenAI Responses upstream."
    assert caught.value.message == told
    with pytest.raises(BadRequest, match=f"tool type {kind} only works"):
        asked(tool_choice={"type": kind})


def test_custom_tool_of_such_a_name_is_taken() -> None:
    request = asked(tools=[{"type": "custom", "name": "apply_patch"}])
    assert request.tools == (Tool("apply_patch", "custom"),)


NESTED = {"type": "namespace", "name": "a", "tools": [{"type": "namespace", "name": "b"}]}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 7}, "input"),
    ({"input": ["Hi"]}, "input[0]"),
    ({"input": [{"content": "Hi"}]}, "input[0].role"),
    ({"input": [{"role": "tool", "content": "Hi"}]}, "input[0].role"),
    ({"input": [{"type": "new_thing"}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
    ({"input": [part(type="video")]}, "input[0].content[0].type"),
    ({"input": [part(type="input_text")]}, "input[0].content[0].text"),
    ({"input": [part(type="input_image")]}, "input[0].content[0].image_url"),
    ({"input": [part(type="input_image", file_id="f")]}, "input[0].content[0].file_id"),
    ({"input": [part(type="input_image", image_url="data:,x")]}, "input[0].content[0].image_url"),
    ({"input": [part(type="input_file")]}, "input[0].content[0].file_data"),
    ({"input": [part(type="input_file", file_id="f")]}, "input[0].content[0].file_id"),
    (
        {"input": [part(type="input_file", filename="a.txt", file_data="x")]},
        "input[0].content[0].file_data",
    ),
    ({"input": [part(type="input_audio")]}, "input[0].content[0].input_audio"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
    ({"input": [{"type": "custom_tool_call", "call_id": "c"}]}, "input[0].name"),
    ({"input": [CALL, output([{"type": "refusal", "refusal": "No"}])]}, "input[1].output"),
    ({"input": [CALL, output({"ok": True})]}, "input[1].output"),
    ({"input": [{"type": "reasoning", "summary": "Hm"}]}, "input[0].summary"),
    ({"input": [{"type": "reasoning", "encrypted_content": 7}]}, "input[0].encrypted_content"),
    ({"input": [{"type": "additional_tools", "tools": [{}]}]}, "input[0].tools[0].name"),
    ({"input": [{"type": "configuration_update", "reasoning": 1}]}, "input[0].reasoning"),
    (
        {"input": [{"type": "configuration_update", "reasoning": {"effort": "huge"}}]},
        "input[0].reasoning.effort",
    ),
    ({"model": None}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"instructions": ["Hi"]}, "instructions"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"temperature": "hot"}, "temperature"),
    ({"include": "all"}, "include"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {}}}, "text.format.type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
    ({"tools": [NESTED]}, "tools[0].tools[0].type"),
    ({"tools": [7]}, "tools[0]"),
    ({"tool_choice": "any"}, "tool_choice"),
    ({"tool_choice": {"name": "f"}}, "tool_choice.type"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
    (
        {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "function"}]}},
        "tool_choice.tools[0].name",
    ),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=lambda value: str(value)[:60])
def test_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_request({"model": "m1", "input": "Hi", **fields})
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


# --- items ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "read"),
    [("user", "user"), ("assistant", "assistant"), ("system", "system"), ("developer", "system")],
)
@pytest.mark.parametrize("more", [{}, {"type": "message", "id": "msg_1", "status": "completed"}])
def test_message_needs_no_type(role: str, read: Role, more: dict[str, Any]) -> None:
    request = asked({"role": role, "content": "Hi", **more})
    assert request.messages == (Message(read, (Text("Hi"),)),)
    assert (request.leftover, request.unknown) == ((), 0)


@pytest.mark.parametrize("content", [None, []])
def test_message_without_content_says_nothing(content: Any) -> None:
    request = asked({"type": "message", "role": "assistant", "content": content})
    assert request.messages == (Message("assistant", ()),)


def test_cache_mark_is_read_with_its_lifetime() -> None:
    marks = [{"mode": "explicit"}, {"mode": "explicit", "ttl": "30m"}, {"ttl": "12h"}, None]
    request = asked(
        *[part(type="input_text", text="a", prompt_cache_breakpoint=mark) for mark in marks]
    )
    found = [each.parts[0] for each in request.messages]
    hints = [CacheHint(), CacheHint(1800), CacheHint(43_200), None]
    assert found == [Text("a", hint) for hint in hints]


def test_image_in_the_form_of_chat_is_taken() -> None:
    request = asked(part(type="input_image", image_url={"url": "https://a.example/b.png"}))
    assert request.messages[0].parts == (Image(url="https://a.example/b.png"),)


@pytest.mark.parametrize(
    ("item", "read"),
    [
        ({"summary": [{"type": "summary_text", "text": "Hm"}]}, Reasoning("Hm")),
        ({"summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}, Reasoning("Hm")),
        ({"summary": [{"text": "a"}, {"text": "b"}], "content": None}, Reasoning("a\n\nb")),
        ({"summary": [{"text": "a"}], "content": [{"text": "raw"}]}, Reasoning("a")),
        ({"summary": [], "encrypted_content": "gAAA"}, Reasoning("", native="gAAA")),
        ({"summary": [], "encrypted_content": "a3gxbroken"}, Reasoning("", native="a3gxbroken")),
        ({"summary": [], "encrypted_content": ""}, Reasoning("")),
        ({"summary": [], "encrypted_content": None}, Reasoning("")),
    ],
)
def test_reasoning_is_read_with_its_words_and_its_proof(
    item: dict[str, Any], read: Reasoning
) -> None:
    request = asked(USER, {"type": "reasoning", "id": "rs_1", **item})
    assert request.messages[1] == Message("assistant", (read,))


SEALS = [
    (Seal("a", "claude", "s"), "Shown", Reasoning("Shown", Seal("a", "claude", "s"))),
    (Seal("a", "c", "s", text="In"), "", Reasoning("In", Seal("a", "c", "s", text="In"))),
    (Seal("a", "c", "s", text="In"), "Out", Reasoning("Out", Seal("a", "c", "s", text="In"))),
    (
        Seal("a", "c", "s", redacted=True),
        "Ignored",
        Reasoning("", Seal("a", "c", "s", redacted=True), redacted=True),
    ),
]


@pytest.mark.parametrize(("seal", "shown", "read"), SEALS)
def test_seal_of_ours_is_opened(seal: Seal, shown: str, read: Reasoning) -> None:
    summary = [{"type": "summary_text", "text": shown}] if shown else []
    item = {"type": "reasoning", "summary": summary, "encrypted_content": seals.encode(seal)}
    assert asked(USER, item).messages[1].parts == (read,)


def test_result_is_read_whoever_wrote_it() -> None:
    request = asked(
        CALL,
        output("text"),
        output([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}]),
        output(None),
        {"type": "custom_tool_call_output", "call_id": "c", "output": "custom"},
        {"type": "function_call_output", "call_id": None, "name": "f", "output": "by name"},
    )
    assert [message.parts[0] for message in request.messages[1:]] == [
        ToolResult("c", (Text("text"),)),
        ToolResult("c", (Text("a"), Text("b"))),
        ToolResult("c"),
        ToolResult("c", (Text("custom"),)),
        ToolResult("", (Text("by name"),), "f"),
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"a": 1.0}', '{"a": 1.0}'), ("", ""), (None, ""), ({"a": 1}, '{"a":1}'), ("{", "{")],
)
def test_arguments_stay_the_text_that_they_are(arguments: Any, text: str) -> None:
    request = asked({**CALL, "arguments": arguments})
    assert request.messages[0].parts == (ToolCall("c", "f", text),)


def test_search_of_the_vendor_is_left_out_and_told() -> None:
    request = asked(USER, {"type": "web_search_call", "id": "ws", "action": {"type": "search"}})
    assert len(request.messages) == 1
    assert (request.leftover, request.unknown) == (("input.web_search_call",), 0)


@pytest.mark.parametrize(
    ("item", "leftover"),
    [
        ({**USER, "phase": "commentary"}, ("input.message.phase",)),
        ({**CALL, "caller": {"type": "direct"}}, ("input.function_call.caller",)),
        (
            part(type="input_file", file_url="https://a.example", detail="high"),
            ("input.input_file.detail",),
        ),
        (part(type="output_text", text="a", annotations=[], logprobs=[]), ()),
        (
            part(type="output_text", text="a", logprobs=[{"token": "a"}]),
            ("input.output_text.logprobs",),
        ),
        (
            part(type="output_text", text="a", annotations=[{"type": "file_citation"}]),
            ("input.output_text.annotations",),
        ),
    ],
)
def test_what_has_no_place_is_told(item: dict[str, Any], leftover: tuple[str, ...]) -> None:
    request = asked(item)
    assert (request.leftover, request.unknown) == (leftover, 0)


def test_unknown_fields_are_counted_at_every_depth() -> None:
    request = asked(
        {**part(type="input_text", text="a", new=1), "new": 1},
        tools=[{"type": "function", "name": "f", "new": 1}],
        reasoning={"effort": "low", "new": 1},
        text={"new": 1},
        new=1,
    )
    assert (request.leftover, request.unknown) == ((), 6)


# --- namespaces -----------------------------------------------------------------------------


def space(name: str, *tools: str) -> dict[str, Any]:
    declared = [{"type": "custom", "name": tool} for tool in tools]
    return {"type": "namespace", "name": name, "tools": declared}


@pytest.mark.parametrize(
    ("tools", "said", "read"),
    [
        ([space("functions", "exec")], None, "functions"),
        ([space("functions", "exec")], "functions", "functions"),
        ([space("functions", "exec")], "other", "other"),
        ([space("functions", "other")], None, None),
        ([space("a", "exec"), space("b", "exec")], None, None),
        ([space("a", "exec"), space("b", "exec"), space("c", "exec")], None, None),
        ([space("a", "exec"), {"type": "custom", "name": "exec"}], None, None),
        ([{"type": "custom", "name": "exec"}], None, None),
    ],
)
def test_call_without_a_namespace_finds_its_only_home(
    tools: list[Any], said: str | None, read: str | None
) -> None:
    call = {"type": "custom_tool_call", "call_id": "c", "name": "exec", "input": "ls"}
    request = asked({**call, "namespace": said}, tools=tools)
    assert request.messages[0].parts == (ToolCall("c", "exec", "ls", "custom", ns=read),)


# --- tools ----------------------------------------------------------------------------------


def test_tools_of_the_conversation_follow_those_of_the_request() -> None:
    late = {"type": "function", "name": "late"}
    request = asked({"type": "additional_tools", "tools": [late]}, USER, tools=[space("a", "b")])
    assert [(tool.ns, tool.name) for tool in request.tools] == [("a", "b"), (None, "late")]


def test_tool_that_a_search_brought_up_is_offered_whatever_it_says() -> None:
    late = {"type": "function", "name": "late", "defer_loading": True}
    found = {"type": "tool_search_output", "call_id": "s", "execution": "client", "tools": [late]}
    request = asked(USER, found, tools=[late])
    assert [tool.deferred for tool in request.tools] == [True, False]


def test_search_that_found_nothing_says_so() -> None:
    found = {"type": "tool_search_output", "call_id": "s", "execution": "client", "tools": []}
    request = asked(USER, found)
    told = ToolResult("s", (Text("No tool was found."),), "tool_search")
    assert request.messages[1].parts == (told,)


@pytest.mark.parametrize(
    ("wired", "name"),
    [
        ("web_search", "web_search"),
        ("web_search_2025_08_26", "web_search"),
        ("web_search_preview", "web_search"),
        ("file_search", "file_search"),
        ("mcp", "mcp"),
        ("computer_use_preview", "computer_use_preview"),
        ("tool_search", "tool_search"),
    ],
)
def test_tool_that_the_vendor_runs_keeps_its_wire_form(wired: str, name: str) -> None:
    item = {"type": wired, "extra": 1}
    tool = Tool(name, "hosted", hosted=name, raw=item)
    assert asked(tools=[item]).tools == (tool,)
    chosen = ToolChoice("named", name)
    assert asked(tools=[item], tool_choice={"type": wired}).tool_choice == chosen


@pytest.mark.parametrize(
    ("wired", "read"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "custom", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "mcp", "server_label": "s"}, ToolChoice("named", "mcp")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "mcp"}]},
            ToolChoice("required", allowed=("mcp",)),
        ),
        (
            {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice("auto", allowed=("f",)),
        ),
    ],
)
def test_choice_of_a_tool_is_read(wired: Any, read: ToolChoice | None) -> None:
    assert asked(tool_choice=wired).tool_choice == read


# --- everything else ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wired", "read"),
    [
        (None, None),
        ({}, None),
        ({"summary": None, "effort": None}, None),
        ({"summary": "auto"}, ReasoningWish(show="summary")),
        ({"generate_summary": "concise"}, ReasoningWish(show="summary")),
        ({"effort": "high"}, ReasoningWish("high", show="none")),
        ({"effort": "none", "summary": "auto"}, ReasoningWish("none", show="summary")),
        ({"mode": "standard", "effort": "low"}, ReasoningWish("low", show="none")),
    ],
)
def test_wish_to_think_is_read(wired: Any, read: ReasoningWish | None) -> None:
    request = asked(reasoning=wired)
    assert (request.reasoning, request.leftover) == (read, ())


def test_last_update_of_a_setting_wins() -> None:
    def update(**fields: Any) -> dict[str, Any]:
        return {"type": "configuration_update", "id": "cu_1", **fields}

    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    request = asked(
        USER,
        update(reasoning={"effort": "high"}, text={"format": schema}),
        update(reasoning={"effort": "low"}),
        update(reasoning={"effort": None}, text={}),
        reasoning={"effort": "max", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
    )
    assert request.reasoning == ReasoningWish("low", show="summary")
    assert request.output == Output("json_schema", "n", {"type": "object"})
    assert request.verbosity == "low"
    plain = asked(update(text={"format": {"type": "text"}}), text={"format": schema})
    assert plain.output is None
    assert (request.leftover, request.unknown) == ((), 0)


@pytest.mark.parametrize(
    ("wired", "tier", "leftover"),
    [
        ("auto", "auto", ()),
        ("default", "standard", ()),
        ("fast", "priority", ()),
        ("ultrafast", "priority", ()),
        ("turbo", None, ("service_tier",)),
        (None, None, ()),
    ],
)
def test_tier_is_read(wired: str | None, tier: str | None, leftover: tuple[str, ...]) -> None:
    request = asked(service_tier=wired)
    assert (request.service_tier, request.leftover) == (tier, leftover)


@pytest.mark.parametrize(
    ("fields", "user", "name", "leftover"),
    [
        ({"user": "u"}, "u", "user", ()),
        ({"safety_identifier": "s"}, "s", "safety_identifier", ()),
        ({"user": "s", "safety_identifier": "s"}, "s", "safety_identifier", ()),
        ({"user": "u", "safety_identifier": "s"}, "s", "safety_identifier", ("user",)),
        ({"user": ""}, None, None, ()),
    ],
)
def test_user_is_known_by_one_name(
    fields: dict[str, str], user: str | None, name: str | None, leftover: tuple[str, ...]
) -> None:
    request = asked(**fields)
    assert (request.user_ref, request.names.get("user_ref")) == (user, name)
    assert request.leftover == leftover


def test_wish_for_log_probabilities_is_kept_to_be_told_as_lost() -> None:
    request = asked(include=["message.output_text.logprobs"], top_logprobs=3)
    assert (request.logprobs, request.top_logprobs) == (True, 3)
    assert request.names["logprobs"] == "include"
