"""Calls of tools through both SDKs: arguments, declarations, choices."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import beta_async_tool

from tests.conftest import Starter, toml
from tests.fakes.answers import json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.declared import ENDED, OPEN, SCHEMA, TOOLS, ask
from tests.server.scripts import (
    DONE,
    Said,
    Turn,
    chat_whole,
    chunk,
    tool_chunk,
    vendor,
)
from tests.server.sdks import HI, PAIRS, Sdks, every_cross

# --- calls ------------------------------------------------------------------------------------

CALLS: list[tuple[str, tuple[Said, ...], list[Any]]] = [
    (
        "one call in one piece",
        (Said("call_1", "weather", ('{"city":"Oslo"}',)),),
        [("call_1", "weather", {"city": "Oslo"})],
    ),
    (
        "arguments in small pieces",
        (Said("call_1", "weather", tuple('{"city": "Tromsø \\"N\\""}')),),
        [("call_1", "weather", {"city": 'Tromsø "N"'})],
    ),
    (
        "two calls at once",
        (
            Said("toolu_01", "weather", ('{"city":', '"Oslo"}')),
            Said("toolu_02", "weather", ('{"city":', '"Bergen"}')),
        ),
        [("toolu_01", "weather", {"city": "Oslo"}), ("toolu_02", "weather", {"city": "Bergen"})],
    ),
    ("no arguments", (Said("call_1", "ping"),), [("call_1", "ping", {})]),
    ("empty object", (Said("call_1", "ping", ("{}",)),), [("call_1", "ping", {})]),
    (
        "no arguments between two others",
        (Said("a", "weather", ('{"city":"A"}',)), Said("b", "ping"), Said("c", "ping", ("{}",))),
        [("a", "weather", {"city": "A"}), ("b", "ping", {}), ("c", "ping", {})],
    ),
    (
        "nested and large",
        (
            Said(
                "call_1", "weather", ('{"city":', json.dumps({"x": ["y" * 5000, {"z": None}]}), "}")
            ),
        ),
        [("call_1", "weather", {"city": {"x": ["y" * 5000, {"z": None}]}})],
    ),
]


@pytest.mark.parametrize(("said", "seen"), [row[1:] for row in CALLS], ids=[r[0] for r in CALLS])
async def test_calls_arrive_with_id_name_and_arguments(
    said: tuple[Said, ...], seen: list[Any], sdks: Sdks, fake: FakeUpstream
) -> None:
    # What passes through is as the vendor wrote it: of some, no JSON.
    whole = tuple(Said(call.id, call.name, call.pieces or ("{}",)) for call in said)
    for client, model, stream in PAIRS:
        calls = whole if (client, model) == ("chat", "c-model") else said
        fake.always(vendor(Turn(words=("Let me see. ",), calls=calls)))
        heard = await ask(sdks, client, model, stream=stream)
        assert heard.calls == seen, (client, model, stream)
        assert heard.text == "Let me see. "
        assert heard.finish == ENDED[client]


@pytest.mark.parametrize("model", ["m-model", "c-model"])
async def test_tool_runner_goes_on_though_no_thread_is_kept(
    model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    call = Said("call_1", "weather", ('{"city":"Oslo"}',))
    fake.always(vendor(Turn(calls=(call,)), Turn(calls=(call,)), Turn(words=("Rain.",))))

    @beta_async_tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        return f"rain in {city}"

    runner = sdks.messages.beta.messages.tool_runner(
        model=model, max_tokens=64, messages=HI, tools=[weather]
    )
    message = await runner.until_done()
    assert [block.text for block in message.content if block.type == "text"] == ["Rain."]
    # Each turn tells the vendor all that was said before.
    assert [len(each.json["messages"]) for each in fake.requests] == [1, 3, 5]


@pytest.mark.parametrize(("client", "model"), [("chat", "m-model"), ("messages", "c-model")])
async def test_pieces_of_arguments_go_on_as_they_come(
    client: str, model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    pieces = ('{"ci', 'ty":"', "Os", "lo", '"}')
    fake.always(vendor(Turn(calls=(Said("c", "weather", pieces),))))
    if client == "chat":
        chunks = await sdks.chat.chat.completions.create(
            model=model, messages=HI, stream=True, tools=TOOLS["chat"]
        )
        calls = [
            call
            async for each in chunks
            for choice in each.choices
            for call in choice.delta.tool_calls or ()
        ]
        assert [call.index for call in calls] == [0] * 6
        # Id and name stand in the first piece only: the SDK would join repeated ones.
        assert [call.id for call in calls] == ["c", *[None] * 5]
        assert [call.function.arguments for call in calls] == ["", *pieces]
    else:
        events = await sdks.messages.messages.create(
            model=model, messages=HI, max_tokens=99, stream=True, tools=TOOLS["messages"]
        )
        got = [
            each.delta.partial_json async for each in events if each.type == "content_block_delta"
        ]
        assert got == list(pieces)


INTERLEAVED = [
    tool_chunk(0, id="a", type="function", function={"name": "weather", "arguments": ""}),
    tool_chunk(1, id="b", type="function", function={"name": "weather", "arguments": ""}),
    tool_chunk(0, function={"arguments": '{"city":'}),
    tool_chunk(1, function={"arguments": '{"city":'}),
    tool_chunk(0, function={"arguments": '"Oslo"}'}),
    tool_chunk(1, function={"arguments": '"Rome"}'}),
    chunk({}, "tool_calls"),
    DONE,
]


async def test_interleaved_arguments_become_blocks_in_a_row(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(stream_answer(INTERLEAVED))
    events = await sdks.messages.messages.create(
        model="c-model", messages=HI, max_tokens=99, stream=True, tools=TOOLS["messages"]
    )
    order: list[tuple[str, int]] = []
    inputs: dict[int, str] = {}
    async for each in events:
        if each.type.startswith("content_block"):
            order.append((each.type.removeprefix("content_block_"), each.index))
        if each.type == "content_block_delta":
            inputs[each.index] = inputs.get(each.index, "") + each.delta.partial_json
    assert {index: json.loads(text) for index, text in inputs.items()} == {
        0: {"city": "Oslo"},
        1: {"city": "Rome"},
    }
    edges = [each for each in order if each[0] != "delta"]
    assert edges == [("start", 0), ("stop", 0), ("start", 1), ("stop", 1)]
    heard = await ask(sdks, "messages", "c-model", stream=True)
    assert heard.calls == [("a", "weather", {"city": "Oslo"}), ("b", "weather", {"city": "Rome"})]


async def test_interleaved_arguments_pass_through_in_their_order(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(stream_answer(INTERLEAVED))
    chunks = await sdks.chat.chat.completions.create(
        model="c-model", messages=HI, stream=True, tools=TOOLS["chat"]
    )
    seen = [
        (call.index, call.function.arguments)
        async for each in chunks
        for choice in each.choices
        for call in choice.delta.tool_calls or ()
    ]
    assert seen == [
        (0, ""),
        (1, ""),
        (0, '{"city":'),
        (1, '{"city":'),
        (0, '"Oslo"}'),
        (1, '"Rome"}'),
    ]


async def test_piece_for_a_call_that_ended_is_an_error(sdks: Sdks, fake: FakeUpstream) -> None:
    stray = tool_chunk(0, function={"arguments": "]"})
    fake.always(stream_answer([*INTERLEAVED[:6], stray, *INTERLEAVED[6:]]))
    with pytest.raises(Exception, match="malformed"):
        await ask(sdks, "messages", "c-model", stream=True)


@every_cross
async def test_ids_that_a_client_cannot_take_are_rewritten_the_same_way_each_time(
    client: str, model: str, stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    odd = "call:weird.id/" + "x" * 90
    fake.always(vendor(Turn(calls=(Said(odd, "ping", ("{}",)),))))
    first = await ask(sdks, client, model, stream=stream)
    again = await ask(sdks, client, model, stream=stream)
    ((id_, _, _),) = first.calls
    assert again.calls == first.calls
    if client == "chat":
        assert id_ == odd
    else:
        assert len(id_) <= 64
        assert id_.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("stream", [False, True])
async def test_upstreams_without_ids_get_ids_of_ours(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    function = {"name": "ping", "arguments": "{}"}
    whole = chat_whole(Turn())
    calls = [{"type": "function", "function": function}] * 2
    whole["choices"][0]["message"]["tool_calls"] = calls
    frames = [
        chunk({"tool_calls": [{"index": at, "function": function} for at in (0, 1)]}),
        chunk({}, "stop"),
        DONE,
    ]
    fake.always(stream_answer(frames) if stream else json_answer(whole))
    heard = await ask(sdks, "messages", "c-model", stream=stream)
    ids = [call[0] for call in heard.calls]
    assert len(set(ids)) == 2
    assert all(len(each) > 8 for each in ids)
    assert heard.finish == "tool_use"


async def test_call_that_is_cut_keeps_its_pieces_and_its_reason(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(calls=(Said("c", "weather", ('{"ci', 'ty": "Os')),), end="length")))
    chunks = await sdks.chat.chat.completions.create(
        model="m-model", messages=HI, stream=True, tools=TOOLS["chat"]
    )
    seen = [each.choices[0] async for each in chunks if each.choices]
    calls = [call for choice in seen for call in choice.delta.tool_calls or ()]
    assert "".join(call.function.arguments for call in calls) == '{"city": "Os'
    assert [each.finish_reason for each in seen if each.finish_reason] == ["length"]


CALLED = {"name": "ping", "arguments": "{}"}
CALLED_CHUNK = tool_chunk(0, id="c", type="function", function=CALLED)


async def test_words_behind_a_call_get_a_block_of_their_own(sdks: Sdks, fake: FakeUpstream) -> None:
    frames = [
        chunk({"role": "assistant", "content": "before"}),
        CALLED_CHUNK,
        chunk({"content": "behind"}),
        chunk({}, "stop"),
        DONE,
    ]
    fake.always(stream_answer(frames))
    heard = await ask(sdks, "messages", "c-model", stream=True)
    assert [each.type for each in heard.raw.content] == ["text", "tool_use", "text"]
    assert (heard.text, heard.finish) == ("beforebehind", "tool_use")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("calls", "told", "seen"),
    [
        (True, "stop", "tool_use"),
        (True, "a_new_one", "tool_use"),
        (True, "content_filter", "refusal"),
        (False, "tool_calls", "end_turn"),
        (False, "function_call", "end_turn"),
    ],
)
async def test_answer_ends_in_calls_when_there_are_calls(
    calls: bool, told: str, seen: str, stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    whole = chat_whole(Turn(words=("x",)))
    whole["choices"][0]["finish_reason"] = told
    if calls:
        call = {"id": "c", "type": "function", "function": CALLED}
        whole["choices"][0]["message"]["tool_calls"] = [call]
    frames = [chunk({"content": "x"}), *([CALLED_CHUNK] * calls), chunk({}, told), DONE]
    fake.always(stream_answer(frames) if stream else json_answer(whole))
    assert (await ask(sdks, "messages", "c-model", stream=stream)).finish == seen


# --- declarations and choices -------------------------------------------------------------------


async def test_tools_of_chat_are_declared_to_messages(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await ask(sdks, "chat", "m-model")
    assert fake.last.json["tools"] == TOOLS["messages"]
    assert sdks.dropped == []


async def test_tools_of_messages_are_declared_to_chat(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await ask(sdks, "messages", "c-model")
    weather, ping = TOOLS["chat"]
    ping = {"type": "function", "function": {"name": "ping", "parameters": OPEN}}
    assert fake.last.json["tools"] == [weather, ping]
    assert sdks.dropped == []


NAMED = {"type": "function", "function": {"name": "ping"}}
CHOICES: list[tuple[Any, Any]] = [
    ("auto", {"type": "auto"}),
    ("none", {"type": "none"}),
    ("required", {"type": "any"}),
    (NAMED, {"type": "tool", "name": "ping"}),
]


@pytest.mark.parametrize(("chat", "messages"), CHOICES, ids=["auto", "none", "required", "named"])
async def test_choices_mean_the_same_on_both_sides(
    chat: Any, messages: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await ask(sdks, "chat", "m-model", tool_choice=chat)
    assert fake.last.json["tool_choice"] == messages
    await ask(sdks, "messages", "c-model", tool_choice=messages)
    assert fake.last.json["tool_choice"] == chat
    await ask(sdks, "chat", "c-model", tool_choice=chat)
    assert fake.last.json["tool_choice"] == chat
    await ask(sdks, "messages", "m-model", tool_choice=messages)
    assert fake.last.json["tool_choice"] == messages


@pytest.mark.parametrize(
    ("choice", "sent", "line"),
    [
        ("required", {"type": "auto"}, "You must call one of the tools."),
        (NAMED, {"type": "auto"}, "You must call the tool ping."),
        ("auto", {"type": "auto"}, None),
    ],
)
async def test_model_that_cannot_be_forced_is_asked_in_words(
    choice: Any,
    sent: Any,
    line: str | None,
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="forced_tool_choice = false")))
    fake.always(vendor(Turn(words=("x",))))
    await ask(sdks, "chat", "m-model", tool_choice=choice)
    assert fake.last.json["tool_choice"] == sent
    said = [each["text"] for each in fake.last.json.get("system", [])]
    assert said == ([line] if line else [])


async def test_chat_model_that_cannot_be_forced_is_asked_in_words(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="forced_tool_choice = false")))
    fake.always(vendor(Turn(words=("x",))))
    choice = {"type": "tool", "name": "ping"}
    await ask(sdks, "messages", "c-model", tool_choice=choice, system="Be brief.")
    body = fake.last.json
    assert body["tool_choice"] == "auto"
    assert body["messages"][0]["role"] == "system"
    assert body["messages"][0]["content"] == "Be brief.\n\nYou must call the tool ping."


async def test_one_call_at_a_time_is_asked_for_on_both_sides(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await ask(sdks, "chat", "m-model", parallel_tool_calls=False)
    want = {"type": "auto", "disable_parallel_tool_use": True}
    assert fake.last.json["tool_choice"] == want
    await ask(sdks, "chat", "m-model", parallel_tool_calls=False, tool_choice="required")
    want = {"type": "any", "disable_parallel_tool_use": True}
    assert fake.last.json["tool_choice"] == want
    await ask(sdks, "chat", "m-model", parallel_tool_calls=True)
    assert "tool_choice" not in fake.last.json
    choice = {"type": "any", "disable_parallel_tool_use": True}
    await ask(sdks, "messages", "c-model", tool_choice=choice)
    assert fake.last.json["parallel_tool_calls"] is False
    assert fake.last.json["tool_choice"] == "required"
    assert sdks.dropped == []


async def test_allowed_tools_narrow_the_list_for_messages(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    for mode, sent in (("auto", "auto"), ("required", "any")):
        allowed = {"mode": mode, "tools": [NAMED]}
        choice = {"type": "allowed_tools", "allowed_tools": allowed}
        await ask(sdks, "chat", "m-model", tool_choice=choice)
        assert [each["name"] for each in fake.last.json["tools"]] == ["ping"]
        assert fake.last.json["tool_choice"] == {"type": sent}
        assert sdks.dropped == []


CLOSED = {**SCHEMA, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [(CLOSED, True), (SCHEMA, None), ({**CLOSED, "required": []}, None)],
    ids=["closed", "open", "not all required"],
)
async def test_strict_goes_on_for_closed_schemas_only(
    schema: Any, strict: bool | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    function = {"name": "f", "parameters": schema, "strict": True}
    await sdks.ask("chat", "m-model", tools=[{"type": "function", "function": function}])
    assert fake.last.json["tools"][0].get("strict") is strict
    lost = [] if strict else ["tools.strict"]
    assert sdks.dropped == lost
    tool = {"name": "f", "input_schema": schema, "strict": True}
    await sdks.ask("messages", "c-model", tools=[tool])
    assert fake.last.json["tools"][0]["function"].get("strict") is strict
    assert sdks.dropped == lost


async def test_schemas_are_cleaned_of_what_vendors_refuse(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    dirty = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "x",
        "$comment": "y",
        "type": "object",
        "properties": {"$id": {"type": "string", "$comment": "z"}, "n": {"minimum": 3}},
        "additionalProperties": False,
    }
    clean = {
        "type": "object",
        "properties": {"$id": {"type": "string"}, "n": {"minimum": 3}},
        "additionalProperties": False,
    }
    function = {"name": "f", "parameters": dirty}
    await sdks.ask("chat", "m-model", tools=[{"type": "function", "function": function}])
    assert fake.last.json["tools"][0]["input_schema"] == clean
    await sdks.ask("messages", "c-model", tools=[{"name": "f", "input_schema": dirty}])
    assert fake.last.json["tools"][0]["function"]["parameters"] == clean


@pytest.mark.parametrize("stream", [False, True])
async def test_names_that_a_vendor_refuses_come_back_as_the_client_wrote_them(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    names = ["files.read/v2", "n" * 100, "plain_one"]
    tools = [{"type": "function", "function": {"name": name}} for name in names]

    def called(seen: Any) -> Any:
        sent = [tool["name"] for tool in seen.json["tools"]]
        assert len(set(sent)) == 3
        assert all(len(name) <= 64 and name.replace("_", "").isalnum() for name in sent)
        calls = tuple(Said(f"c{at}", name, ("{}",)) for at, name in enumerate(sent))
        return vendor(Turn(calls=calls))(seen)

    fake.always(called)
    heard = await sdks.ask("chat", "m-model", tools=tools, stream=stream)
    assert [call[1] for call in heard.calls] == names
