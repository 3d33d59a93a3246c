"""Tools that one side alone has: free-form, hosted, typed, deferred, of old clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import BadRequestError

from tests.conftest import Starter, toml
from tests.fakes.answers import json_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.declared import OPEN, SCHEMA, TOOLS
from tests.server.scripts import (
    Said,
    Turn,
    chat_whole,
    vendor,
)
from tests.server.sdks import HI, Sdks

# --- free-form tools ----------------------------------------------------------------------------

GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "patch"'}}
CUSTOM: Any = [
    {"type": "custom", "custom": {"name": "patch", "description": "Change it.", "format": GRAMMAR}}
]
WRAPPED = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


@pytest.mark.parametrize("stream", [False, True])
async def test_free_form_tool_becomes_a_function_and_its_input_comes_back_bare(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    text = '*** Begin\n+ "a"\n'
    pieces = tuple(json.dumps({"input": text}))
    fake.always(vendor(Turn(calls=(Said("c1", "patch", pieces),))))
    heard = await sdks.ask("chat", "m-model", tools=CUSTOM, stream=stream)
    (tool,) = fake.last.json["tools"]
    assert (tool["name"], tool["input_schema"]) == ("patch", WRAPPED)
    assert tool["description"].startswith("Change it.")
    assert 'start: "patch"' in tool["description"]
    assert sdks.dropped == []
    assert heard.calls == [("c1", "patch", text)]
    assert heard.raw.choices[0].message.tool_calls[0].type == "custom"
    assert heard.finish == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
async def test_free_form_tool_whose_call_is_cut_gets_what_came(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    pieces = ('{"input": "half', " of it")
    if stream:
        fake.always(vendor(Turn(calls=(Said("c1", "patch", pieces),), end="length")))
        want = "".join(pieces)
    else:
        # A whole Messages answer holds an object, whatever the model wrote.
        fake.always(vendor(Turn(calls=(Said("c1", "patch", ('{"other": 1}',)),), end="length")))
        want = '{"other":1}'
    heard = await sdks.ask("chat", "m-model", tools=CUSTOM, stream=stream)
    assert heard.calls == [("c1", "patch", want)]
    assert heard.finish == "length"


async def test_history_of_a_free_form_tool_goes_to_messages(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    call = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "+ a\n"}}
    history: Any = [
        *HI,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    await sdks.ask("chat", "m-model", tools=CUSTOM, messages=history)
    _, said, result = fake.last.json["messages"]
    assert said["content"] == [
        {"type": "tool_use", "id": "c1", "name": "patch", "input": {"input": "+ a\n"}}
    ]
    assert result["content"] == [{"type": "tool_result", "tool_use_id": "c1", "content": "done"}]


async def test_free_form_tool_passes_through_to_chat(sdks: Sdks, fake: FakeUpstream) -> None:
    custom = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "+ a"}}
    whole = chat_whole(Turn(end="tool_calls"))
    whole["choices"][0]["message"]["tool_calls"] = [custom]
    fake.always(json_answer(whole))
    heard = await sdks.ask("chat", "c-model", tools=CUSTOM)
    assert heard.calls == [("c1", "patch", "+ a")]
    assert fake.last.json["tools"] == CUSTOM


# --- tools of one vendor ------------------------------------------------------------------------

SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}


async def test_hosted_tool_is_dropped_by_name_where_it_does_not_exist(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("messages", "c-model", tools=[*TOOLS["messages"], SEARCH])
    assert [each["function"]["name"] for each in fake.last.json["tools"]] == ["weather", "ping"]
    assert sdks.dropped == ["tools.web_search"]
    await sdks.ask("chat", "m-model", extra_body={"web_search_options": {}})
    assert "tools" not in fake.last.json
    assert sdks.dropped == ["tools.web_search"]
    await sdks.ask("messages", "m-model", tools=[SEARCH])
    assert fake.last.json["tools"] == [SEARCH]
    assert sdks.dropped == []


async def test_hosted_search_is_mapped_where_the_target_lists_it(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='hosted_tools = ["web_search"]')))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("messages", "c-model", tools=[SEARCH])
    assert fake.last.json["web_search_options"] == {}
    assert "tools" not in fake.last.json
    assert sdks.dropped == []
    await sdks.ask("chat", "m-model", extra_body={"web_search_options": {}})
    (tool,) = fake.last.json["tools"]
    assert tool["type"].startswith("web_search_2025")
    assert tool["name"] == "web_search"
    assert sdks.dropped == []


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([SEARCH], {"type": "tool", "name": "web_search"}),
        ([*TOOLS["messages"], SEARCH], {"type": "tool", "name": "web_search"}),
        ([SEARCH], {"type": "any"}),
    ],
    ids=["named alone", "named among others", "required alone"],
)
async def test_forced_hosted_tool_is_refused(
    tools: Any, choice: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    with pytest.raises(BadRequestError) as caught:
        await sdks.ask("messages", "c-model", tools=tools, tool_choice=choice)
    assert "tool_choice" in str(caught.value)
    assert fake.requests == []


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "memory_20250818", "name": "memory"},
    ],
    ids=["bash", "text editor", "memory"],
)
async def test_typed_client_tool_is_refused_when_translated_and_passes_otherwise(
    tool: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    with pytest.raises(BadRequestError) as caught:
        await sdks.ask("messages", "c-model", tools=[tool])
    assert f"tool type {tool['type']} only works with" in str(caught.value)
    assert fake.requests == []
    await sdks.ask("messages", "m-model", tools=[tool])
    assert fake.last.json["tools"] == [tool]


async def test_tool_merely_named_like_one_is_translated(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("messages", "c-model", tools=[{"name": "bash", "input_schema": OPEN}])
    assert fake.last.json["tools"][0]["function"]["name"] == "bash"


async def test_deferred_tool_is_declared_once_the_talk_refers_to_it(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    deferred = {"name": "later", "input_schema": OPEN, "defer_loading": True}
    holder = {"name": "DeferredToolPlaceholder", "input_schema": OPEN, "defer_loading": True}
    tools: Any = [*TOOLS["messages"], deferred, holder]

    def declared() -> list[str]:
        return [each["function"]["name"] for each in fake.last.json["tools"]]

    await sdks.ask("messages", "c-model", tools=tools)
    assert declared() == ["weather", "ping"]
    use = {"type": "tool_use", "id": "s", "name": "ping", "input": {}}
    reference = {"type": "tool_reference", "tool_name": "later"}
    result = {"type": "tool_result", "tool_use_id": "s", "content": [reference]}
    history: Any = [
        *HI,
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    await sdks.ask("messages", "c-model", tools=tools, messages=history)
    assert declared() == ["weather", "ping", "later"]
    assert fake.last.json["messages"][-1]["content"] == "Tool loaded: later"
    await sdks.ask("messages", "m-model", tools=tools, messages=history)
    assert fake.last.json["tools"] == tools


@pytest.mark.parametrize("stream", [False, True])
async def test_functions_of_old_clients_are_answered_in_their_form(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(calls=(Said("c", "weather", ('{"city":', '"Oslo"}')),))))
    functions: Any = [{"name": "weather", "description": "Tell it.", "parameters": SCHEMA}]
    heard = await sdks.ask(
        "chat", "m-model", stream=stream, functions=functions, function_call={"name": "weather"}
    )
    assert fake.last.json["tools"] == TOOLS["messages"][:1]
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    assert fake.last.json["tool_choice"] == choice
    said = heard.raw.choices[0].message
    assert said.tool_calls is None
    assert said.function_call.name == "weather"
    assert json.loads(said.function_call.arguments) == {"city": "Oslo"}
    assert heard.finish == "function_call"
    assert sdks.dropped == []


async def test_history_of_old_clients_pairs_results_by_name(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    called = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    history: Any = [
        *HI,
        {"role": "assistant", "content": None, "function_call": called},
        {"role": "function", "name": "weather", "content": "rain"},
    ]
    functions: Any = [{"name": "weather", "parameters": SCHEMA}]
    await sdks.ask("chat", "m-model", messages=history, functions=functions)
    _, said, result = fake.last.json["messages"]
    (use,) = said["content"]
    assert (use["name"], use["input"]) == ("weather", {"city": "Oslo"})
    assert result["content"] == [
        {"type": "tool_result", "tool_use_id": use["id"], "content": "rain"}
    ]
