"""Requests to upstreams: how each trait of a target changes what is sent."""

from __future__ import annotations

from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    CacheHint,
    Citation,
    File,
    Image,
    Message,
    Output,
    Reasoning,
    ReasoningWish,
    Request,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.names import Origin
from kurolproxy.protocols.openai_chat.codec import CODEC
from tests.protocols.openai_chat.support import body, encoded, target

USER = Message("user", (Text("Hi"),))
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
CUSTOM = Tool("sql", "custom", description="Run.", grammar={"syntax": "lark", "definition": "x"})


def request(*messages: Message, **fields: Any) -> Request:
    return Request("m1", messages or (USER,), **fields)


def turn(*parts: Any, results: tuple[ToolResult, ...] = ()) -> tuple[Message, ...]:
    """Return a history whose assistant said these parts."""
    return (USER, Message("assistant", parts), Message("tool", results), USER)


# --- encode: traits -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traits", "fields", "sent"),
    [
        ({}, {"max_tokens": 9}, {"max_tokens": 9}),
        (
            {"max_tokens_field": "max_completion_tokens"},
            {"max_tokens": 9},
            {"max_completion_tokens": 9},
        ),
        ({"max_output_tokens": 5}, {"max_tokens": 9}, {"max_tokens": 5}),
        ({"max_output_tokens": 5}, {}, {}),
        ({}, {"temperature": 1.5, "top_p": 0.5}, {"temperature": 1.5, "top_p": 0.5}),
        ({}, {"temperature": 0.0}, {"temperature": 0.0}),
        ({}, {"top_k": 4}, {}),
        ({"top_k": True}, {"top_k": 4}, {"top_k": 4}),
        ({"top_k": True, "sampling": "no"}, {"top_k": 4, "temperature": 1.0}, {}),
        ({"sampling": "only_without_reasoning"}, {"temperature": 1.0}, {}),
        (
            {"sampling": "only_without_reasoning"},
            {"temperature": 1.0, "reasoning": ReasoningWish(effort="none")},
            {"temperature": 1.0, "reasoning_effort": "none"},
        ),
        ({}, {"reasoning": ReasoningWish(effort="xhigh")}, {"reasoning_effort": "xhigh"}),
        (
            {"efforts": ("low", "high")},
            {"reasoning": ReasoningWish(effort="max")},
            {"reasoning_effort": "high"},
        ),
        ({}, {"reasoning": ReasoningWish(budget=4000)}, {"reasoning_effort": "low"}),
        ({}, {"reasoning": ReasoningWish(mode="off")}, {"reasoning_effort": "none"}),
        ({}, {"reasoning": ReasoningWish(mode="adaptive")}, {}),
        ({"thinking": "none"}, {"reasoning": ReasoningWish(effort="low")}, {}),
        ({}, {"n": 3}, {"n": 3}),
        ({}, {"n": 1}, {}),
        ({}, {"stop": ("a",)}, {"stop": ["a"]}),
        ({}, {"seed": 0}, {"seed": 0}),
        ({}, {"service_tier": "standard"}, {}),
        (
            {"allow_service_tier": True},
            {"service_tier": "standard"},
            {"service_tier": "default"},
        ),
        ({}, {"cache_key": "k", "verbosity": "low"}, {"verbosity": "low", "prompt_cache_key": "k"}),
        ({}, {"parallel_tools": False}, {}),
        ({}, {"output": Output("json_object")}, {"response_format": {"type": "json_object"}}),
    ],
)
def test_field_is_sent_as_the_target_takes_it(
    traits: dict[str, Any], fields: dict[str, Any], sent: dict[str, Any]
) -> None:
    found = body(request(**fields), target(**traits))
    assert found == {"model": "up", "messages": [{"role": "user", "content": "Hi"}], **sent}


@pytest.mark.parametrize(
    ("traits", "fields", "lost"),
    [
        ({}, {"top_k": 4}, ["top_k"]),
        ({"sampling": "no"}, {"temperature": 1.0, "top_p": 0.1}, ["temperature", "top_p"]),
        ({"thinking": "none"}, {"reasoning": ReasoningWish(effort="low")}, ["reasoning"]),
        ({}, {"reasoning": ReasoningWish(mode="adaptive")}, []),
        ({}, {"logprobs": True, "top_logprobs": 2}, ["logprobs", "top_logprobs"]),
        ({}, {"user_ref": "u"}, ["user_ref"]),
        ({"forward_user": True}, {"user_ref": "u"}, ["user_ref"]),
        ({}, {"service_tier": "flex"}, ["service_tier"]),
        ({}, {"tools": (Tool("web_search", "hosted", hosted="web_search"),)}, ["tools.web_search"]),
        ({}, {"tools": (Tool("f", schema=OPEN, strict=True),)}, ["tools.strict"]),
        ({}, {"tools": (Tool("f", schema=CLOSED, strict=True),)}, []),
        ({}, {"tools": (Tool("f", cache=CacheHint()),)}, ["tools.cache"]),
        ({}, {"cache": CacheHint()}, ["cache"]),
    ],
)
def test_what_is_left_out_is_a_loss(
    traits: dict[str, Any], fields: dict[str, Any], lost: list[str]
) -> None:
    assert encoded(request(**fields), target(**traits))[1] == lost


def test_effort_is_left_out_beside_tools_where_the_pair_is_refused() -> None:
    asking = request(reasoning=ReasoningWish(effort="low"), tools=(Tool("f"),))
    outgoing, lost = encoded(asking, target(no_effort_with_tools=True))
    assert "reasoning_effort" not in outgoing.body
    assert lost == ["reasoning"]


@pytest.mark.parametrize(
    ("view", "cap"),
    [
        (TargetView("up", "public", max_output_tokens=7), 7),
        (target(9, max_output_tokens=8), 8),
        (target(20), 10),
    ],
)
def test_cap_is_never_over_what_the_target_takes(view: TargetView, cap: int) -> None:
    assert body(request(max_tokens=10), view)["max_tokens"] == cap


@pytest.mark.parametrize(
    ("stream", "option", "sent"),
    [
        (True, True, {"stream": True, "stream_options": {"include_usage": True}}),
        (True, False, {"stream": True}),
        (False, True, {}),
    ],
)
def test_usage_of_a_stream_is_always_asked_for(
    stream: bool, option: bool, sent: dict[str, Any]
) -> None:
    found = body(request(stream=stream), target(stream_options=option))
    assert {name: found[name] for name in found if name.startswith("stream")} == sent


def test_user_goes_out_hashed_only() -> None:
    view = TargetView(
        "up", "public", target(forward_user=True).traits, hash_user=lambda user: user[::-1]
    )
    outgoing, lost = encoded(request(user_ref="ada"), view)
    assert outgoing.body["safety_identifier"] == "ada"[::-1]
    assert lost == []


def test_more_stop_texts_than_the_vendor_takes_are_cut_by_us() -> None:
    stops = ("a", "b", "c", "d", "e")
    outgoing, lost = encoded(request(stop=stops))
    assert outgoing.body["stop"] == list(stops[:4])
    assert outgoing.local_stop == stops
    assert lost == []
    assert encoded(request(stop=stops[:4]))[0].local_stop == ()


# --- encode: messages -----------------------------------------------------------------------

LATE = (USER, Message("assistant", (Text("A"),)), Message("system", (Text("S"),)), USER)


@pytest.mark.parametrize(
    ("traits", "roles"),
    [
        ({}, ["system", "user", "assistant", "user"]),
        ({"system_position": "any"}, ["system", "user", "assistant", "system", "user"]),
        (
            {"system_position": "any", "developer_role": True},
            ["developer", "user", "assistant", "developer", "user"],
        ),
        ({"developer_role": True}, ["developer", "user", "assistant", "user"]),
    ],
)
def test_system_text_stands_where_the_target_takes_it(
    traits: dict[str, Any], roles: list[str]
) -> None:
    asking = request(*LATE, system=(Text("One."), Text("Two.")))
    outgoing, lost = encoded(asking, target(**traits))
    messages = outgoing.body["messages"]
    assert [message["role"] for message in messages] == roles
    assert messages[0]["content"] == "One.\n\nTwo."
    assert lost == []


def test_late_system_text_becomes_a_reminder() -> None:
    assert body(request(*LATE))["messages"][-1]["content"] == [
        {"type": "text", "text": "<system-reminder>\nS\n</system-reminder>"},
        {"type": "text", "text": "Hi"},
    ]


@pytest.mark.parametrize(("prefill", "last"), [(False, "user"), (True, "assistant")])
def test_beginning_of_an_answer_stays_where_it_is_taken(prefill: bool, last: str) -> None:
    asking = request(USER, Message("assistant", (Text("The"),)))
    messages = body(asking, target(prefill=prefill))["messages"]
    assert messages[-1]["role"] == last
    assert prefill or messages[-1]["content"] == "Continue."


@pytest.mark.parametrize(
    ("traits", "part", "text"),
    [
        ({"vision": False}, Image(data="x"), "Model public does not accept images"),
        ({"pdf": False}, File(data="x"), "Model public does not accept PDF files"),
        ({}, File(data="x", mime="video/mp4"), "Model public does not accept films"),
        ({}, File(url="https://f.example/a.pdf"), "Model public does not accept files by URL"),
    ],
)
def test_media_that_the_target_does_not_take_are_refused(
    traits: dict[str, Any], part: Image | File, text: str
) -> None:
    result = ToolResult("c", (part,))
    asks = [Message("user", (part,))], turn(ToolCall("c", "f", "{}"), results=(result,))
    for messages in asks:
        with pytest.raises(BadRequest, match=text):
            body(request(*messages), target(**traits))


def test_media_of_results_follow_all_results_of_the_turn() -> None:
    results = (
        ToolResult("a", (Image(data="/9j/x"), Text("seen"))),
        ToolResult("b", (File(data="JVBE", name="r.pdf"),)),
    )
    history = turn(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"), results=results)
    messages = body(request(*history[:3], Message("assistant", (Text("ok"),))))["messages"]
    assert [message["role"] for message in messages[1:5]] == ["assistant", "tool", "tool", "user"]
    assert messages[2]["content"] == "[image attached below]\nseen"
    assert messages[3]["content"] == "[file attached below]"
    assert [part["type"] for part in messages[4]["content"]] == ["image_url", "file"]
    assert messages[4]["content"][0]["image_url"]["url"] == "data:image/jpeg;base64,/9j/x"


def test_text_file_becomes_words_under_its_name() -> None:
    part = File(text="body", title="T", context="from the web")
    outgoing, lost = encoded(request(Message("user", (part,))))
    assert outgoing.body["messages"][0]["content"] == "[file: T]\nfrom the web\nbody"
    assert lost == []


def test_reasoning_is_replayed_where_the_upstream_wants_its_words() -> None:
    call = ToolCall("c", "f", "{}")
    ours = Reasoning("", Seal("c", "deep", "", "thought"))
    other = Reasoning("x", Seal("c", "other", "", "x"))
    view = target(replay_reasoning_content=True, reasoning_family="deep")
    messages = body(request(*turn(ours, other, call)), view)["messages"]
    assert messages[1]["reasoning_content"] == "thought"
    assert body(request(*turn(other, call)), view)["messages"][1]["reasoning_content"] == ""
    assert "reasoning_content" not in body(request(*turn(ours, Text("A"))), view)["messages"][1]
    assert "reasoning_content" not in body(request(*turn(ours, call)))["messages"][1]


def test_reasoning_of_another_is_never_said_as_text() -> None:
    outgoing, lost = encoded(request(*turn(Reasoning("secret"), Text("A"))))
    assert "secret" not in str(outgoing.body)
    assert lost == ["messages.reasoning"]


def test_texts_of_one_answer_are_one_text() -> None:
    cited = Text("A", citations=(Citation("https://a.example"),))
    outgoing, lost = encoded(request(*turn(cited, Text("B"))))
    assert outgoing.body["messages"][1] == {"role": "assistant", "content": "AB"}
    assert lost == ["messages.text.citations"]


@pytest.mark.parametrize(
    ("ttl_s", "mark"),
    [
        (None, {"mode": "explicit"}),
        (300, {"mode": "explicit", "ttl": "30m"}),
        (1800, {"mode": "explicit", "ttl": "30m"}),
        (3600, {"mode": "explicit", "ttl": "12h"}),
    ],
)
def test_cache_mark_is_said_in_the_vendors_terms(ttl_s: int | None, mark: dict[str, Any]) -> None:
    marked = Message("user", (Text("A", CacheHint(ttl_s)), Text("B")))
    outgoing, lost = encoded(request(marked), target(cache="explicit"))
    first = {"type": "text", "text": "A", "prompt_cache_breakpoint": mark}
    assert outgoing.body["messages"][0]["content"] == [first, {"type": "text", "text": "B"}]
    assert lost == []


def test_cache_mark_of_a_result_stands_on_its_last_part() -> None:
    result = ToolResult("c", (Text("1"), Text("2")), cache=CacheHint())
    history = turn(ToolCall("c", "f", "{}"), results=(result,))
    messages = body(request(*history), target(cache="explicit"))["messages"]
    assert [part.keys() for part in messages[2]["content"]] == [
        {"type", "text"},
        {"type", "text", "prompt_cache_breakpoint"},
    ]


def test_failed_result_loses_its_flag() -> None:
    result = ToolResult("c", (Text("boom"),), is_error=True)
    outgoing, lost = encoded(request(*turn(ToolCall("c", "f", "{}"), results=(result,))))
    assert outgoing.body["messages"][2]["content"] == "boom"
    assert lost == ["messages.tool_result.is_error"]


def test_call_and_result_stay_paired_under_a_cut_id() -> None:
    long = "call/" + "x" * 50
    history = turn(ToolCall(long, "f", ""), results=(ToolResult(long, (Text("1"),)),))
    messages = body(request(*history))["messages"]
    call = messages[1]["tool_calls"][0]
    assert call["id"] == messages[2]["tool_call_id"]
    assert len(call["id"]) == 40
    assert call["function"]["arguments"] == "{}"


# --- encode: tools --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "traits", "sent"),
    [
        (ToolChoice("auto"), {}, "auto"),
        (ToolChoice("none"), {}, "none"),
        (ToolChoice("required"), {}, "required"),
        (ToolChoice("named", "f"), {}, {"type": "function", "function": {"name": "f"}}),
        (ToolChoice("named", "sql"), {}, {"type": "function", "function": {"name": "sql"}}),
        (
            ToolChoice("named", "sql"),
            {"custom_tools": True},
            {"type": "custom", "custom": {"name": "sql"}},
        ),
        (ToolChoice("named", "g"), {}, {"type": "function", "function": {"name": "ns__g"}}),
        (ToolChoice("required"), {"forced_tool_choice": False}, "auto"),
        (ToolChoice("required", allowed=("f",)), {}, "required"),
    ],
)
def test_tool_choice_is_written(choice: ToolChoice, traits: dict[str, Any], sent: Any) -> None:
    tools = (Tool("f"), CUSTOM, Tool("g", ns="ns"))
    outgoing, lost = encoded(request(tools=tools, tool_choice=choice), target(**traits))
    assert outgoing.body["tool_choice"] == sent
    assert lost == []


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        (ToolChoice("named", "f"), "You must call the tool f."),
        (ToolChoice("required"), "You must call a tool."),
    ],
)
def test_choice_that_cannot_be_forced_is_said_in_words(choice: ToolChoice, line: str) -> None:
    asking = request(tools=(Tool("f"),), tool_choice=choice, system=(Text("S"),))
    messages = body(asking, target(forced_tool_choice=False))["messages"]
    assert messages[0] == {"role": "system", "content": f"S\n\n{line}"}


def test_allowed_tools_are_the_only_ones_offered() -> None:
    asking = request(tools=(Tool("f"), Tool("g")), tool_choice=ToolChoice("auto", allowed=("g",)))
    found = body(asking)
    assert [tool["function"]["name"] for tool in found["tools"]] == ["g"]
    native = body(asking, target(custom_tools=True))
    assert len(native["tools"]) == 2
    assert native["tool_choice"]["allowed_tools"]["mode"] == "auto"


SEARCH = Tool("web_search", "hosted", hosted="web_search", raw={"search_context_size": "low"})


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ((SEARCH,), ToolChoice("required")),
        ((SEARCH, Tool("f")), ToolChoice("named", "web_search")),
        ((), ToolChoice("named", "f")),
    ],
)
def test_choice_of_a_tool_that_cannot_be_had_is_refused(
    tools: tuple[Tool, ...], choice: ToolChoice
) -> None:
    with pytest.raises(BadRequest) as caught:
        body(request(tools=tools, tool_choice=choice), target(hosted_tools=("web_search",)))
    assert caught.value.param == "tool_choice"


def test_choice_without_tools_is_not_sent() -> None:
    outgoing, lost = encoded(request(tool_choice=ToolChoice("auto"), parallel_tools=True))
    assert outgoing.body.keys() == {"model", "messages"}
    assert lost == []


def test_search_is_asked_for_where_it_is_offered() -> None:
    near = {"type": "approximate", "country": "AT"}
    tool = Tool("s", "hosted", hosted="web_search", raw={"user_location": near, "max_uses": 3})
    found = body(request(tools=(tool,)), target(hosted_tools=("web_search",)))
    assert found["web_search_options"] == {
        "user_location": {"type": "approximate", "approximate": {"country": "AT"}}
    }
    assert "tools" not in found


def test_free_form_tool_is_wrapped_where_there_is_none() -> None:
    call, result = ToolCall("c", "sql", 'SELECT "x"', "custom"), ToolResult("c", (Text("1"),))
    asking = request(*turn(call, results=(result,)), tools=(CUSTOM,))
    outgoing, lost = encoded(asking)
    function = outgoing.body["tools"][0]["function"]
    assert function["description"] == "Run.\n\nThe input must match this lark grammar:\nx"
    assert function["parameters"]["required"] == ["input"]
    wired = outgoing.body["messages"][1]["tool_calls"][0]
    assert wired["function"]["arguments"] == '{"input":"SELECT \\"x\\""}'
    assert outgoing.tools.restore("sql") == Origin("sql", None, "custom", wrapped=True)
    assert lost == []


def test_tool_of_a_namespace_is_found_again() -> None:
    outgoing, _ = encoded(request(tools=(Tool("g", ns="ns"),)))
    assert outgoing.tools.restore("ns__g") == Origin("g", "ns")


def test_history_calls_a_tool_by_its_sent_name() -> None:
    call, result = ToolCall("c", "g/h", "{}", ns="ns"), ToolResult("c", (Text("1"),))
    asking = request(*turn(call, results=(result,)), tools=(Tool("g/h", ns="ns"),))
    found = body(asking)
    called = found["messages"][1]["tool_calls"][0]["function"]["name"]
    assert called == found["tools"][0]["function"]["name"]


# --- encode: the form of the answer ---------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "strict", "sent"),
    [(CLOSED, True, True), (OPEN, True, None), (CLOSED, False, None), (CLOSED, None, None)],
)
def test_strict_is_asked_for_only_where_it_can_be_kept(
    schema: dict[str, Any], strict: bool | None, sent: bool | None
) -> None:
    found = body(request(output=Output("json_schema", None, schema, strict)))
    inner = found["response_format"]["json_schema"]
    assert inner["name"] == "response"
    assert inner.get("strict") is sent


def test_schema_is_said_in_words_where_it_is_not_taken() -> None:
    asking = request(output=Output("json_schema", "n", {"$id": "x", "type": "object"}))
    outgoing, lost = encoded(asking, target(structured_output=False))
    assert "response_format" not in outgoing.body
    assert outgoing.body["messages"][0]["content"].endswith('nothing else:\n{"type":"object"}')
    assert lost == []


def test_name_of_a_schema_is_one_the_vendor_takes() -> None:
    found = body(request(output=Output("json_schema", "my schema!", {})))
    assert found["response_format"]["json_schema"]["name"].startswith("my_schema__")


def test_the_same_request_is_the_same_bytes() -> None:
    wire = {"tools": [{"type": "function", "function": {"name": "f", "parameters": OPEN}}]}
    one, other = (body(CODEC.decode_request(_request(**wire))) for _ in range(2))
    assert str(one) == str(other)


def _request(**wire: Any) -> dict[str, Any]:
    return {"model": "m1", "messages": [{"role": "user", "content": "Hi"}], **wire}


def test_result_made_up_for_a_call_without_one_is_no_loss() -> None:
    call = ToolCall("c", "f", "{}")
    request = Request("m", (Message("user", (Text("q"),)), Message("assistant", (call,))))
    outgoing, lost = encoded(request)
    assert outgoing.body["messages"][-1]["role"] == "tool"
    assert lost == []
