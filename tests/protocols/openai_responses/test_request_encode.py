"""Requests to upstreams: how each part of the neutral form and each trait shows in them."""

from __future__ import annotations

from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    BlockStart,
    CacheHint,
    Citation,
    File,
    Image,
    Message,
    Output,
    Reasoning,
    ReasoningWish,
    Refusal,
    Request,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolHead,
    ToolResult,
)
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.pipeline import ToolRestorer
from tests.protocols.openai_responses.request_support import body, encoded, target

USER = Message("user", (Text("Hi"),))
HI = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
CUSTOM = Tool("sql", "custom", description="Run.", grammar={"syntax": "lark", "definition": "x"})
SEARCH = Tool("web_search", "hosted", hosted="web_search", raw={"type": "web_search_20250305"})
OURS = Seal("r", "openai", "gAAA", item_id="rs_1")


def request(*messages: Message, **fields: Any) -> Request:
    return Request("m1", messages or (USER,), **fields)


def sent(*parts: Any, view: TargetView | None = None) -> list[dict[str, Any]]:
    """Return the items of an assistant's turn, between two words of the user."""
    items = body(request(USER, Message("assistant", parts), USER), view)["input"]
    return [item for item in items if item != HI]


def part(said: Any, view: TargetView | None = None) -> dict[str, Any]:
    """Return how a part is written that stands in a user's message."""
    found: dict[str, Any] = body(request(Message("user", (said,))), view)["input"][0]["content"][0]
    return found


# --- the body -------------------------------------------------------------------------------


def test_least_body() -> None:
    assert body(request()) == {
        "model": "up",
        "input": [HI],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.parametrize(
    ("traits", "fields", "said"),
    [
        ({}, {"max_tokens": 90}, {"max_output_tokens": 90}),
        ({}, {"max_tokens": 9}, {"max_output_tokens": 16}),
        ({"max_output_tokens": 50}, {"max_tokens": 90}, {"max_output_tokens": 50}),
        ({"max_output_tokens": 5}, {"max_tokens": 90}, {"max_output_tokens": 16}),
        ({"max_output_tokens": 50}, {}, {}),
        ({}, {"temperature": 1.5, "top_p": 0.5}, {"temperature": 1.5, "top_p": 0.5}),
        ({}, {"temperature": 0.0}, {"temperature": 0.0}),
        ({"sampling": "no"}, {"temperature": 1.0, "top_p": 0.5}, {}),
        ({"sampling": "only_without_reasoning"}, {"temperature": 1.0}, {}),
        (
            {"sampling": "only_without_reasoning"},
            {"temperature": 1.0, "reasoning": ReasoningWish("none")},
            {"temperature": 1.0, "reasoning": {"effort": "none"}},
        ),
        ({}, {"stream": True}, {"stream": True}),
        ({}, {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        ({}, {"cache_key": "k"}, {"prompt_cache_key": "k"}),
        ({}, {"service_tier": "priority"}, {}),
        ({"allow_service_tier": True}, {"service_tier": "priority"}, {"service_tier": "priority"}),
        ({"allow_service_tier": True}, {"service_tier": "standard"}, {"service_tier": "default"}),
        ({"allow_service_tier": True}, {}, {}),
        ({"top_k": True}, {"top_k": 4, "seed": 1, "presence_penalty": 1.0}, {}),
        ({}, {"logprobs": True, "top_logprobs": 2}, {}),
        ({}, {"parallel_tools": False}, {}),
    ],
)
def test_field_is_said_as_the_target_takes_it(
    traits: dict[str, Any], fields: dict[str, Any], said: dict[str, Any]
) -> None:
    assert body(request(**fields), target(**traits)) == body(request()) | said


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"top_k": 4},
        {"presence_penalty": 1.0},
        {"frequency_penalty": 1.0},
        {"logprobs": True},
        {"top_logprobs": 2},
        {"service_tier": "flex"},
        {"user_ref": "u"},
        {"cache": CacheHint()},
    ],
)
def test_field_that_cannot_be_said_is_a_loss(fields: dict[str, Any]) -> None:
    assert encoded(request(**fields))[1] == list(fields)


def test_what_is_said_is_no_loss() -> None:
    said = request(
        max_tokens=99,
        temperature=1.0,
        top_p=0.5,
        stop=("END",),
        verbosity="low",
        cache_key="k",
        stream=True,
        system=(Text("Be kind."),),
        reasoning=ReasoningWish("low"),
        output=Output("json_schema", "n", CLOSED, True, "words"),
        tools=(Tool("f", description="F.", schema=CLOSED, strict=True), CUSTOM),
        tool_choice=ToolChoice("auto", allowed=("f",)),
        parallel_tools=True,
    )
    assert encoded(said)[1] == []


def test_allowed_storage_leaves_the_vendor_its_default() -> None:
    assert "store" not in body(request(), target(allow_store=True))


def test_model_that_does_not_think_is_not_asked_for_proofs() -> None:
    assert "include" not in body(request(), target(thinking="none"))


def test_stop_texts_are_ours_to_find() -> None:
    outgoing, lost = encoded(request(stop=("a", "b", "c", "d", "e")))
    assert outgoing.local_stop == ("a", "b", "c", "d", "e")
    assert "stop" not in outgoing.body
    assert lost == []


def test_several_answers_are_refused() -> None:
    with pytest.raises(BadRequest, match="one answer") as caught:
        encoded(request(n=2, names={"n": "candidateCount"}))
    assert caught.value.param == "candidateCount"


def test_user_is_hashed_when_the_operator_wants_it() -> None:
    view = target(forward_user=True)
    view.hash_user = lambda user: f"hash of {user}"
    assert body(request(user_ref="u"), view)["safety_identifier"] == "hash of u"
    assert "safety_identifier" not in body(request(), view)
    assert "safety_identifier" not in body(request(user_ref="u"), target(forward_user=True))


@pytest.mark.parametrize(
    ("wish", "traits", "said"),
    [
        (None, {}, None),
        (ReasoningWish("high"), {}, {"effort": "high", "summary": "auto"}),
        (ReasoningWish("high", show="none"), {}, {"effort": "high"}),
        (ReasoningWish("high", show="raw"), {}, {"effort": "high", "summary": "auto"}),
        (ReasoningWish("max"), {"efforts": ("low",)}, {"effort": "low", "summary": "auto"}),
        (ReasoningWish("none"), {}, {"effort": "none"}),
        (ReasoningWish("none"), {"efforts": ("low",)}, {"effort": "low", "summary": "auto"}),
        (ReasoningWish(mode="off"), {}, {"effort": "none"}),
        (ReasoningWish(mode="on"), {}, {"summary": "auto"}),
        (ReasoningWish(mode="adaptive", show="none"), {}, None),
        (ReasoningWish(budget=8192), {}, {"effort": "medium", "summary": "auto"}),
        (ReasoningWish(budget=-1), {}, {"summary": "auto"}),
        (ReasoningWish("high"), {"thinking": "none"}, None),
        (ReasoningWish("high"), {"no_effort_with_tools": True}, None),
    ],
)
def test_wish_to_think_is_said(
    wish: ReasoningWish | None, traits: dict[str, Any], said: dict[str, str] | None
) -> None:
    outgoing, lost = encoded(request(reasoning=wish, tools=(Tool("f"),)), target(**traits))
    assert outgoing.body.get("reasoning") == said
    unsaid = {"thinking", "no_effort_with_tools"} & traits.keys()
    assert lost == (["reasoning"] if unsaid else [])


@pytest.mark.parametrize(
    ("output", "form", "lost"),
    [
        (Output("json_object"), {"type": "json_object"}, []),
        (
            Output("json_schema", "n", CLOSED, True, "words"),
            {"name": "n", "description": "words", "schema": CLOSED, "strict": True},
            [],
        ),
        (
            Output("json_schema", None, {"$schema": "x", **OPEN}, True),
            {"name": "response", "schema": OPEN, "strict": False},
            ["output.strict"],
        ),
        (
            Output("json_schema", "n", OPEN, None),
            {"name": "n", "schema": OPEN, "strict": False},
            [],
        ),
        (
            Output("json_schema", "n", None),
            {"name": "n", "schema": {"type": "object"}, "strict": False},
            [],
        ),
    ],
)
def test_form_of_the_answer_is_flat(output: Output, form: dict[str, Any], lost: list[str]) -> None:
    outgoing, dropped = encoded(request(output=output))
    assert outgoing.body["text"] == {"format": {"type": "json_schema", **form}}
    assert dropped == lost


def test_form_is_asked_for_in_words_where_it_has_no_field() -> None:
    output = Output("json_schema", "n", CLOSED, True)
    said = request(output=output, system=(Text("Be kind."),))
    outgoing, lost = encoded(said, target(structured_output=False))
    first, _, rest = outgoing.body["instructions"].partition("\n\n")
    assert first == "Be kind."
    assert rest.endswith('"additionalProperties":false}')
    assert "text" not in outgoing.body
    assert lost == []


# --- system ---------------------------------------------------------------------------------


def test_system_is_told_in_the_instructions() -> None:
    lead = Message("system", (Text("Second."),))
    said = body(request(lead, USER, system=(Text("First."),)))
    assert (said["instructions"], said["input"]) == ("First.\n\nSecond.", [HI])


def test_later_system_is_a_developer_in_its_place() -> None:
    picture = Image(url="https://a.example/b.png")
    said = body(request(USER, Message("system", (Text("Now."), picture)), USER))
    assert [item["role"] for item in said["input"]] == ["user", "developer", "user"]
    assert [each["type"] for each in said["input"][1]["content"]] == ["input_text", "input_image"]
    assert "instructions" not in said


def test_marked_system_is_a_developer_too() -> None:
    system = (Text("First."), Text("Second.", CacheHint(3600)))
    said = body(request(system=system), target(cache="explicit"))
    assert "instructions" not in said
    assert said["input"][0] == {
        "type": "message",
        "role": "developer",
        "content": [
            {"type": "input_text", "text": "First."},
            {
                "type": "input_text",
                "text": "Second.",
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
            },
        ],
    }
    assert body(request(system=system))["instructions"] == "First.\n\nSecond."


# --- the conversation -----------------------------------------------------------------------


def test_turn_keeps_its_order() -> None:
    found = sent(
        Reasoning("Hm", OURS),
        Text("One"),
        Text("Two"),
        Refusal("No"),
        ToolCall("c", "f", '{"a": 1}'),
        Text("Three"),
        view=target(reasoning_family="openai"),
    )
    assert [item["type"] for item in found] == [
        "reasoning",
        "message",
        "function_call",
        "message",
        "function_call_output",
    ]
    found = sent(Text("One"), Text("Two"), Refusal("No"))
    assert found == [
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "One", "annotations": []},
                {"type": "output_text", "text": "Two", "annotations": []},
                {"type": "refusal", "refusal": "No"},
            ],
        }
    ]


def test_citation_goes_back_with_its_text() -> None:
    cited = Text("Rain.", citations=(Citation("https://a.example", "Weather", 0, 5),))
    bare = Text("Sun.", citations=(Citation("https://b.example"),))
    notes = [part["annotations"][0] for part in sent(cited, bare)[0]["content"]]
    kind = {"type": "url_citation", "start_index": 0}
    assert notes == [
        {**kind, "end_index": 5, "url": "https://a.example", "title": "Weather"},
        {**kind, "end_index": 0, "url": "https://b.example", "title": ""},
    ]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            ToolCall("c", "f", '{"a": 1}'),
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
        ),
        (
            ToolCall("c", "f", ""),
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        ),
        (
            ToolCall("c", "f", "SELECT 1", "custom"),
            {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "SELECT 1"},
        ),
        (
            ToolCall("c", "f", "", "custom", ns="a"),
            {
                "type": "custom_tool_call",
                "call_id": "c",
                "name": "f",
                "namespace": "a",
                "input": "",
            },
        ),
    ],
)
def test_call_and_its_result_are_said(call: ToolCall, said: dict[str, Any]) -> None:
    told = "No result: the call was interrupted."
    output = {"type": said["type"] + "_output", "call_id": "c", "output": told}
    assert sent(call) == [said, output]


def test_names_that_the_vendor_does_not_take_are_changed_the_same_way_every_time() -> None:
    call, output = sent(ToolCall("c" * 65, "a.b", "{}", ns="ns"))
    assert call["call_id"].startswith("c" * 55 + "_")
    assert len(call["call_id"]) == 64
    assert output["call_id"] == call["call_id"]
    assert call["name"].startswith("ns__a_b_")
    assert "namespace" not in call
    assert sent(ToolCall("c" * 65, "a.b", "{}", ns="ns")) == [call, output]


def result(*parts: Any, view: TargetView | None = None, **more: Any) -> Any:
    history = (
        USER,
        Message("assistant", (ToolCall("c", "f", "{}"),)),
        Message("tool", (ToolResult("c", parts, **more),)),
    )
    return body(request(*history), view)["input"][2]["output"]


def test_result_is_a_text_or_parts() -> None:
    picture = Image(data="iVBORw0KGgo=")
    assert result() == ""
    assert result(Text("a")) == "a"
    assert result(Text("a"), Text("b")) == "a\nb"
    url = "data:image/png;base64,iVBORw0KGgo="
    assert result(Text("a"), picture) == [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "detail": "auto", "image_url": url},
    ]
    assert result(File(text="words", name="a.txt")) == "[file: a.txt]\nwords"
    marked = result(Text("a"), view=target(cache="explicit"), cache=CacheHint())
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    assert marked == [{"type": "input_text", "text": "a", **mark}]


def test_error_of_a_tool_is_a_loss() -> None:
    history = (
        USER,
        Message("assistant", (ToolCall("c", "f", "{}"),)),
        Message("tool", (ToolResult("c", (Text("bad"),), is_error=True),)),
    )
    assert encoded(request(*history))[1] == ["messages.tool_result.is_error"]


@pytest.mark.parametrize(
    ("prefill", "last"), [(True, "assistant"), (False, "user")], ids=["kept", "continued"]
)
def test_last_word_of_the_assistant(prefill: bool, last: str) -> None:
    said = body(request(USER, Message("assistant", (Text("So"),))), target(prefill=prefill))
    assert said["input"][-1]["role"] == last
    assert prefill or said["input"][-1]["content"][0]["text"] == "Continue."


def test_conversation_of_the_system_alone_gets_a_user() -> None:
    said = body(request(Message("system", (Text("Be kind."),))))
    assert said["instructions"] == "Be kind."
    assert said["input"] == [{**HI, "content": [{"type": "input_text", "text": "(empty)"}]}]


# --- reasoning ------------------------------------------------------------------------------

THOUGHT = {
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Hm"}],
    "id": "rs_1",
    "encrypted_content": "gAAA",
}


@pytest.mark.parametrize(
    ("thought", "said"),
    [
        (Reasoning("Hm", OURS), THOUGHT),
        (Reasoning("", OURS), {**THOUGHT, "summary": []}),
        (Reasoning("", Seal("r", "openai", "gAAA", text="Hm", item_id="rs_1")), THOUGHT),
        (Reasoning("Hm", Seal("r", "openai", "gAAA")), {**THOUGHT, "id": None}),
        (Reasoning("Hm", Seal("r", "other", "gAAA")), None),
        (Reasoning("Hm", Seal("a", "openai", "gAAA")), None),
        (Reasoning("Hm"), None),
        (Reasoning("", native="gAAA"), None),
    ],
)
def test_thoughts_go_back_to_their_family_alone(
    thought: Reasoning, said: dict[str, Any] | None
) -> None:
    view = target(reasoning_family="openai")
    wanted = {name: value for name, value in (said or {}).items() if value is not None}
    found = sent(thought, Text("So"), view=view)
    assert found[:-1] == ([wanted] if said else [])
    assert found[-1]["content"][0]["text"] == "So"
    history = request(USER, Message("assistant", (thought, Text("So"))), USER)
    assert encoded(history, view)[1] == ([] if said else ["messages.reasoning"])
    assert len(sent(thought, Text("So"))) == 1


def test_thoughts_stand_before_what_they_led_to() -> None:
    view = target(reasoning_family="openai")
    second = Seal("r", "openai", "gBBB", item_id="rs_2")
    found = sent(
        Reasoning("Hm", OURS),
        Reasoning("And", second),
        ToolCall("c", "f", "{}"),
        ToolCall("d", "f", "{}", seal=Seal("r", "openai", "gCCC")),
        view=view,
    )
    proofs = [item.get("encrypted_content", item["type"]) for item in found[:5]]
    assert proofs == ["gAAA", "gBBB", "function_call", "gCCC", "function_call"]


def test_thoughts_that_led_to_nothing_are_left_out() -> None:
    view = target(reasoning_family="openai")
    history = request(USER, Message("assistant", (Text("So"), Reasoning("Hm", OURS))), USER)
    outgoing, lost = encoded(history, view)
    assert [item["type"] for item in outgoing.body["input"]] == ["message"] * 3
    assert lost == ["messages.reasoning"]


# --- media ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wired"),
    [
        (
            Image(url="https://a.example/b.png", detail="low"),
            {"type": "input_image", "detail": "low", "image_url": "https://a.example/b.png"},
        ),
        (
            Image(data="QQ==", mime="image/webp"),
            {
                "type": "input_image",
                "detail": "auto",
                "image_url": "data:image/webp;base64,QQ==",
            },
        ),
        (
            File(data="JVBERi0x", mime="application/pdf", title="Paper"),
            {
                "type": "input_file",
                "filename": "Paper",
                "file_data": "data:application/pdf;base64,JVBERi0x",
            },
        ),
        (
            File(data="JVBERi0x"),
            {
                "type": "input_file",
                "filename": "document.pdf",
                "file_data": "data:application/pdf;base64,JVBERi0x",
            },
        ),
        (
            File(url="https://a.example/b.pdf", mime="application/pdf"),
            {"type": "input_file", "file_url": "https://a.example/b.pdf"},
        ),
        (
            File(text="words", title="T", context="C"),
            {"type": "input_text", "text": "[file: T]\nC\nwords"},
        ),
        (
            Audio("UklG", "wav"),
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        ),
    ],
)
def test_media_are_said(said: Any, wired: dict[str, Any]) -> None:
    assert part(said) == wired
    assert encoded(request(Message("user", (said,))))[1] == []


@pytest.mark.parametrize(
    ("said", "traits", "told"),
    [
        (Image(url="https://a.example"), {"vision": False}, "images"),
        (File(data="JVBERi0x"), {"pdf": False}, "PDF files"),
        (File(url="https://a.example", mime="application/pdf"), {"pdf": False}, "PDF files"),
        (File(url="https://a.example/a.mp4", mime="video/mp4"), {}, "films"),
    ],
)
def test_media_that_the_model_cannot_read_are_refused(
    said: Any, traits: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadRequest, match=f"Model public does not accept {told}"):
        part(said, target(**traits))


def test_last_four_cache_marks_win() -> None:
    marks = [Text(str(at), CacheHint(ttl)) for at, ttl in enumerate((300, 3600, None, 300, 3600))]
    said = Message("assistant", (Text("no place", CacheHint()),))
    history = request(Message("user", tuple(marks[:3])), said, Message("user", tuple(marks[3:])))
    outgoing, lost = encoded(history, target(cache="explicit"))
    parts = [part for item in outgoing.body["input"] for part in item["content"]]
    found = [part.get("prompt_cache_breakpoint", {}).get("ttl", "-") for part in parts]
    assert found == ["-", "12h", "-", "-", "30m", "12h"]
    assert "prompt_cache_breakpoint" in parts[2]
    assert lost == ["messages.text.cache"]
    plain = body(history)["input"]
    assert not any("prompt_cache_breakpoint" in part for item in plain for part in item["content"])


# --- tools ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "wired", "lost"),
    [
        (
            Tool("f", description="F.", schema={"$schema": "x", **OPEN}),
            {"type": "function", "description": "F.", "parameters": OPEN, "strict": False},
            [],
        ),
        (
            Tool("f", schema=CLOSED, strict=True),
            {"type": "function", "parameters": CLOSED, "strict": True},
            [],
        ),
        (
            Tool("f", schema=OPEN, strict=True),
            {"type": "function", "parameters": OPEN, "strict": False},
            ["tools.strict"],
        ),
        (
            Tool("f"),
            {
                "type": "function",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            },
            [],
        ),
        (
            Tool("f", schema={"anyOf": []}),
            {
                "type": "function",
                "parameters": {"type": "object", "anyOf": [], "properties": {}},
                "strict": False,
            },
            [],
        ),
        (
            Tool("f", "custom", description="Run.", grammar=CUSTOM.grammar),
            {
                "type": "custom",
                "description": "Run.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
            },
            [],
        ),
        (Tool("f", "custom"), {"type": "custom"}, []),
    ],
)
def test_tool_is_declared(tool: Tool, wired: dict[str, Any], lost: list[str]) -> None:
    outgoing, dropped = encoded(request(tools=(tool,)))
    assert outgoing.body["tools"] == [{"name": "f", **wired}]
    assert dropped == lost


def test_tools_of_a_namespace_are_declared_together() -> None:
    tools = (Tool("b", ns="a"), Tool("c"), Tool("d", "custom", ns="a"), Tool("x.y", ns="a"))
    found = body(request(tools=tools))["tools"]
    assert [(each["type"], each["name"]) for each in found[:2]] == [
        ("namespace", "a"),
        ("function", "c"),
    ]
    assert [(each["type"], each["name"]) for each in found[0]["tools"]] == [
        ("function", "b"),
        ("custom", "d"),
    ]
    # A name that the vendor does not take is joined with its namespace, and made safe.
    assert found[2]["name"].startswith("a__x_y_")


@pytest.mark.parametrize(
    ("head", "restored"),
    [
        (ToolHead("c", "b", ns="a"), ToolHead("c", "b", ns="a")),
        (ToolHead("c", "c"), ToolHead("c", "c")),
        (ToolHead("c", "d", "custom", ns="a"), ToolHead("c", "d", "custom", ns="a")),
        (ToolHead("c", "my_tool_af998d1f"), ToolHead("c", "my tool")),
    ],
)
def test_called_tool_gets_its_own_name_back(head: ToolHead, restored: ToolHead) -> None:
    tools = (Tool("b", ns="a"), Tool("c"), Tool("d", "custom", ns="a"), Tool("my tool"))
    names = encoded(request(tools=tools))[0].tools
    found = ToolRestorer(names).feed([BlockStart(0, "tool", head)])
    assert found == [BlockStart(0, "tool", restored)]


@pytest.mark.parametrize(
    ("raw", "wired"),
    [
        ({}, {}),
        (
            {"allowed_domains": ["a.example"], "max_uses": 3},
            {"filters": {"allowed_domains": ["a.example"]}},
        ),
        (
            {"filters": {"allowed_domains": ["a.example"]}, "search_context_size": "low"},
            {"filters": {"allowed_domains": ["a.example"]}, "search_context_size": "low"},
        ),
        (
            {"user_location": {"type": "approximate", "approximate": {"city": "Ulm"}}},
            {"user_location": {"type": "approximate", "city": "Ulm"}},
        ),
        (
            {"user_location": {"city": "Ulm"}},
            {"user_location": {"type": "approximate", "city": "Ulm"}},
        ),
    ],
)
def test_web_search_of_any_vendor_is_declared(raw: dict[str, Any], wired: dict[str, Any]) -> None:
    tool = Tool("web_search", "hosted", hosted="web_search", raw=raw)
    outgoing, lost = encoded(request(tools=(tool,)), target(hosted_tools=("web_search",)))
    assert outgoing.body["tools"] == [{"type": "web_search", **wired}]
    assert lost == []


def test_web_search_is_declared_once() -> None:
    twice = (SEARCH, Tool("google", "hosted", hosted="web_search", raw={"filters": None}))
    outgoing, lost = encoded(request(tools=twice), target(hosted_tools=("web_search",)))
    assert outgoing.body["tools"] == [{"type": "web_search"}]
    assert lost == ["tools.web_search"]


def test_hosted_tool_without_a_match_is_a_loss() -> None:
    other = Tool("code", "hosted", hosted="code_execution")
    outgoing, lost = encoded(request(tools=(SEARCH, other)))
    assert "tools" not in outgoing.body
    assert lost == ["tools.web_search", "tools.code_execution"]


F, REF = Tool("f"), {"type": "function", "name": "f"}
CHOICES: list[tuple[tuple[Tool, ...], ToolChoice, Any]] = [
    ((F,), ToolChoice("auto"), "auto"),
    ((F,), ToolChoice("none"), "none"),
    ((F,), ToolChoice("required"), "required"),
    ((F,), ToolChoice("named", "f"), REF),
    ((CUSTOM,), ToolChoice("named", "sql"), {"type": "custom", "name": "sql"}),
    ((Tool("b", ns="a"),), ToolChoice("named", "b"), {"type": "function", "name": "b"}),
    ((Tool("b", ns="a"),), ToolChoice("named", "a__b"), {"type": "function", "name": "b"}),
    ((SEARCH,), ToolChoice("required"), "required"),
    (
        (F, CUSTOM),
        ToolChoice("required", allowed=("f", "sql")),
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [REF, {"type": "custom", "name": "sql"}],
        },
    ),
    (
        (F, SEARCH),
        ToolChoice("auto", allowed=("web_search",)),
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]},
    ),
    ((F, Tool("mcp", "hosted", hosted="mcp")), ToolChoice("auto", allowed=("mcp",)), "none"),
    ((), ToolChoice("auto"), None),
    ((), ToolChoice("none"), None),
]


@pytest.mark.parametrize(("tools", "choice", "said"), CHOICES)
def test_choice_is_said(tools: tuple[Tool, ...], choice: ToolChoice, said: Any) -> None:
    view = target(hosted_tools=("web_search",))
    outgoing, lost = encoded(request(tools=tools, tool_choice=choice), view)
    assert outgoing.body.get("tool_choice") == said
    assert [name for name in lost if "tool_choice" in name] == []


@pytest.mark.parametrize(
    ("tools", "choice", "told"),
    [
        ((F, SEARCH), ToolChoice("named", "web_search"), "web_search cannot be forced"),
        ((SEARCH,), ToolChoice("required"), "a tool call is required"),
        ((), ToolChoice("required"), "a tool call is required"),
        ((), ToolChoice("named", "f"), "a tool call is required"),
        ((F, SEARCH), ToolChoice("required", allowed=("web_search",)), "a tool call is required"),
    ],
)
def test_choice_that_cannot_be_met_is_refused(
    tools: tuple[Tool, ...], choice: ToolChoice, told: str
) -> None:
    with pytest.raises(BadRequest, match=told) as caught:
        encoded(request(tools=tools, tool_choice=choice, names={"tool_choice": "function_call"}))
    assert caught.value.param == "function_call"


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        (ToolChoice("required"), "You must call a tool."),
        (ToolChoice("named", "f"), "You must call the tool f."),
    ],
)
def test_call_that_cannot_be_forced_is_asked_for_in_words(choice: ToolChoice, line: str) -> None:
    said = body(request(tools=(F,), tool_choice=choice), target(forced_tool_choice=False))
    assert (said["tool_choice"], said["instructions"]) == ("auto", line)


def test_parallel_calls_are_said_beside_tools() -> None:
    assert body(request(tools=(F,), parallel_tools=False))["parallel_tool_calls"] is False


def test_same_request_gives_the_same_bytes() -> None:
    history = (USER, Message("assistant", (Text("So"), ToolCall("c/1", "f", "{}"))), USER)
    said = request(*history, tools=(F, Tool("b", ns="a")), system=(Text("s"),))
    first, second = body(said), body(said)
    assert list(first) == list(second)
    assert first == second
