"""Known defects of other gateways, each as a test of ours, through every pair it can hit."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import Answer, json_answer, stream_answer
from tests.fakes.upstream import SeenRequest
from tests.pairs.asks import (
    PNG,
    Ask,
    Back,
    Picture,
    Result,
    Tool,
    Use,
    Words,
    assistant,
    user,
)
from tests.pairs.features import BERN, WEATHER, ZURICH
from tests.pairs.vendors import Said, Turn, frames, protocol_of, streams, whole
from tests.pairs.wires import read
from tests.pairs.world import (
    OLD_GEMINI,
    PROTOCOLS,
    World,
    both_ways,
    every_client,
    every_cross,
    every_pair,
    every_upstream,
    in_one_loop,
)

pytestmark = in_one_loop

WITH_TOOL = Ask(tools=(WEATHER,))

# --- calls ------------------------------------------------------------------------------


@every_pair
@both_ways
async def test_parallel_calls_of_one_function_are_both_kept(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    turn = Turn(calls=(ZURICH, BERN))
    heard = await world.ask(client, upstream, WITH_TOOL, turn, stream=stream)
    assert [(each.name, each.arguments) for each in heard.calls] == [
        ("weather", {"city": "Zürich"}),
        ("weather", {"city": "Bern"}),
    ]
    first, then = heard.calls
    assert (first.id, then.id) == ("call_1", "call_2")
    results = (
        Result(first.id, "weather", (Words("sun"),)),
        Result(then.id, "weather", (Words("rain"),)),
    )
    again = Ask(turns=(user("Hi"), Back(heard.native), *results), tools=(WEATHER,))
    await world.ask(client, upstream, again, Turn(words=("x",)), stream=stream)
    sent = read(upstream, world.body)
    assert [each[2] for each in sent.of("call")] == [{"city": "Zürich"}, {"city": "Bern"}]
    assert sent.of("result") == [("call_1", "sun"), ("call_2", "rain")]


@every_client
@both_ways
async def test_parallel_calls_that_gemini_gave_no_ids_are_both_kept(
    client: ProtocolName, stream: bool, world: World
) -> None:
    calls = (Said("", "weather", ZURICH.pieces), Said("", "weather", BERN.pieces))
    turn = Turn(calls=calls)
    heard = await world.ask(client, "gemini", WITH_TOOL, turn, stream=stream)
    first, then = heard.calls
    assert (first.arguments, then.arguments) == ({"city": "Zürich"}, {"city": "Bern"})
    if client != "gemini":
        assert first.id
        assert then.id
        assert first.id != then.id
    results = (
        Result(first.id, "weather", (Words("sun"),)),
        Result(then.id, "weather", (Words("rain"),)),
    )
    again = Ask(turns=(user("Hi"), Back(heard.native), *results), tools=(WEATHER,))
    await world.ask(client, "gemini", again, Turn(words=("x",)), stream=stream)
    sent = read("gemini", world.body)
    assert [each[2] for each in sent.of("call")] == [{"city": "Zürich"}, {"city": "Bern"}]
    assert [each[1] for each in sent.of("result")] == ["sun", "rain"]


@every_upstream
async def test_parallel_calls_of_a_gemini_client_without_ids_are_both_kept(
    upstream: ProtocolName, world: World
) -> None:
    turns = (
        user("Weather?"),
        assistant(Use("", "weather", {"city": "Zürich"}), Use("", "weather", {"city": "Bern"})),
        Result("", "weather", (Words("sun"),)),
        Result("", "weather", (Words("rain"),)),
    )
    heard = await world.ask("gemini", upstream, Ask(turns=turns, tools=(WEATHER,)))
    assert heard.error is None
    sent = read(upstream, world.body)
    assert [each[2] for each in sent.of("call")] == [{"city": "Zürich"}, {"city": "Bern"}]
    assert [each[1] for each in sent.of("result")] == ["sun", "rain"]
    if upstream != "gemini":
        ids = [each[0] for each in sent.of("call")]
        assert ids == [each[0] for each in sent.of("result")]
        assert len(set(ids)) == 2


@every_pair
@both_ways
async def test_text_beside_a_call_survives_both_ways(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    turn = Turn(words=("Let me ", "look."), calls=(ZURICH,))
    heard = await world.ask(client, upstream, WITH_TOOL, turn, stream=stream)
    assert (heard.text, len(heard.calls)) == ("Let me look.", 1)
    result = Result("call_1", "weather", (Words("sun"),))
    again = Ask(turns=(user("Hi"), Back(heard.native), result), tools=(WEATHER,))
    await world.ask(client, upstream, again, Turn(words=("x",)), stream=stream)
    sent = read(upstream, world.body)
    assert "".join(sent.of("text")) == "HiLet me look."
    assert sent.of("call") == [("call_1", "weather", {"city": "Zürich"})]


@every_pair
@both_ways
async def test_call_without_arguments_is_a_call_with_an_empty_object(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    # Chat and Responses say ``arguments: ""``, Messages streams no delta at all.
    turn = Turn(calls=(Said("call_1", "weather"),))
    heard = await world.ask(client, upstream, WITH_TOOL, turn, stream=stream)
    assert [(each.name, each.arguments) for each in heard.calls] == [("weather", {})]
    assert heard.ending == "calls"
    result = Result("call_1", "weather", (Words("sun"),))
    again = Ask(turns=(user("Hi"), Back(heard.native), result), tools=(WEATHER,))
    await world.ask(client, upstream, again, Turn(words=("x",)), stream=stream)
    assert world.clients.last.status == 200
    assert len(_calls_with_no_arguments(upstream, world.body)) == 1


def _calls_with_no_arguments(upstream: ProtocolName, body: Any) -> list[Any]:
    """Return the calls of a request whose arguments are none; Chat may pass ``""`` through."""
    text = json.dumps(body).replace('"arguments": ""', '"arguments": "{}"')
    return [each for each in read(upstream, json.loads(text)).of("call") if each[2] == {}]


LONG = "look_up_the_weather_" * 4
OTHER = LONG[:-1] + "s"


@every_pair
@both_ways
async def test_long_names_of_tools_are_shortened_and_restored(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    asked: list[list[str]] = []

    def calls_the_second(seen: SeenRequest) -> Answer:
        protocol = protocol_of(seen)
        asked.append(list(read(protocol, seen.json).tools))
        turn = Turn(calls=(Said("call_1", asked[-1][1], ('{"city":"Bern"}',)),))
        if streams(seen):
            return stream_answer(frames(protocol, turn))
        return json_answer(whole(protocol, turn))

    world.fake.always(calls_the_second)
    tools = (Tool(LONG, WEATHER.schema), Tool(OTHER, WEATHER.schema))
    heard = await world.ask(client, upstream, Ask(tools=tools), stream=stream)
    assert [each.name for each in heard.calls] == [OTHER]
    if client != upstream:
        assert len(set(asked[0])) == 2
        assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", name) for name in asked[0])
    result = Result("call_1", OTHER, (Words("sun"),))
    again = Ask(turns=(user("Hi"), Back(heard.native), result), tools=tools, choice=OTHER)
    await world.ask(client, upstream, again, stream=stream)
    sent = read(upstream, world.body)
    assert list(sent.tools) == asked[0]
    assert [each[1] for each in sent.of("call")] == [asked[0][1]]
    assert sent.choice == asked[0][1]


# --- what is said -----------------------------------------------------------------------


@every_pair
async def test_const_in_a_schema_keeps_its_meaning(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    schema = {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]}
    await world.ask(client, upstream, Ask(tools=(Tool("pick", schema),)))
    assert read(upstream, world.body).tools["pick"] == schema


@pytest.mark.parametrize("client", [each for each in PROTOCOLS if each != "gemini"])
async def test_const_keeps_its_meaning_in_the_restricted_schema_of_gemini(
    client: ProtocolName, world: World
) -> None:
    schema = {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]}
    await world.clients.ask(client, OLD_GEMINI, Ask(tools=(Tool("pick", schema),)))
    (declared,) = world.body["tools"][0]["functionDeclarations"]
    assert declared["parameters"] == {
        "type": "OBJECT",
        "properties": {"kind": {"type": "STRING", "enum": ["a"]}},
        "required": ["kind"],
    }


@every_pair
async def test_pictures_in_results_of_tools_reach_the_model(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    turns = (
        user("See:"),
        assistant(
            Use("call_1", "weather", {"city": "Zürich"}), Use("call_2", "weather", {"city": "Bern"})
        ),
        Result("call_1", "weather", (Words("a map"), Picture())),
        Result("call_2", "weather", (Words("rain"),)),
    )
    await world.ask(client, upstream, Ask(turns=turns, tools=(WEATHER,)))
    sent = read(upstream, world.body)
    assert sent.of("image") == [("image/png", PNG)]
    kinds = [(who, what) for who, what, _ in sent.items[3:]]
    if upstream == "openai-chat" != client:
        # No media in a tool message: they follow behind all results.
        assert kinds == [("tool", "result"), ("tool", "result"), ("user", "image")]
        assert sent.of("result")[0][1].startswith("a map")
    else:
        assert kinds == [("tool", "result"), ("tool", "image"), ("tool", "result")]
        assert sent.of("result") == [("call_1", "a map"), ("call_2", "rain")]
    assert world.clients.last.dropped == []


@every_cross
async def test_empty_texts_are_never_sent(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    turns = (user("Hi"), assistant("Yes."), user("", "Go on."))
    await world.ask(client, upstream, Ask(turns=turns))
    assert read(upstream, world.body).of("text") == ["Hi", "Yes.", "Go on."]


@every_pair
@both_ways
async def test_answer_of_calls_alone_holds_no_empty_text(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    heard = await world.ask(client, upstream, WITH_TOOL, Turn(calls=(ZURICH,)), stream=stream)
    assert heard.text == ""
    if client == "anthropic":
        assert [block.type for block in heard.raw.content] == ["tool_use"]
    if client == "openai-responses":
        assert [item.type for item in heard.raw.output] == ["function_call"]


@pytest.mark.parametrize("client", [each for each in PROTOCOLS if each != "openai-chat"])
@both_ways
async def test_empty_texts_of_a_chat_upstream_are_swallowed(
    client: ProtocolName, stream: bool, world: World
) -> None:
    # vLLM and others send ``content: ""`` beside their calls.
    turn = Turn(words=("",), calls=(ZURICH,))
    heard = await world.ask(client, "openai-chat", WITH_TOOL, turn, stream=stream)
    assert (heard.text, len(heard.calls)) == ("", 1)
    if client == "anthropic":
        assert [block.type for block in heard.raw.content] == ["tool_use"]
