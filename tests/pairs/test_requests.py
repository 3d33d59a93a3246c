"""What every client says reaches every upstream, read from the upstream's own words."""

from __future__ import annotations

import pytest

from kurolproxy.ir import ProtocolName
from tests.pairs.asks import PDF, PNG, Ask, Pdf, Picture, Result, Tool, Use, Words, assistant, user
from tests.pairs.features import CITY, CLOCK, WEATHER
from tests.pairs.wires import Item, read
from tests.pairs.world import PAIRS, World, both_ways, every_pair, in_one_loop, pairs

pytestmark = in_one_loop

IMAGE = ("image/png", PNG)
_HISTORY = (
    user("Weather?"),
    assistant("Looking.", Use("call_a", "weather", {"city": "Zürich"})),
    Result("call_a", "weather", (Words("rain"),)),
    assistant("It rains."),
    user("And now?"),
)
_ITEMS: list[Item] = [
    ("user", "text", "Weather?"),
    ("assistant", "text", "Looking."),
    ("assistant", "call", ("call_a", "weather", {"city": "Zürich"})),
    ("tool", "result", ("call_a", "rain")),
    ("assistant", "text", "It rains."),
    ("user", "text", "And now?"),
]


@every_pair
@both_ways
async def test_history_arrives_in_its_order(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    ask = Ask(system=Words("Be kind."), turns=_HISTORY, tools=(WEATHER,))
    heard = await world.ask(client, upstream, ask, stream=stream)
    assert heard.text == "x"
    sent = read(upstream, world.body)
    assert sent.system == "Be kind."
    assert sent.items == _ITEMS
    assert sent.cap == 1000
    assert world.clients.last.dropped == []


@every_pair
async def test_pictures_and_files_of_the_user_arrive(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    ask = Ask(turns=(user("See:", Picture(), Pdf(), "What is it?"),))
    await world.ask(client, upstream, ask)
    file: list[Item] = [("user", "file", ("application/pdf", PDF, "report.pdf"))]
    if upstream == "gemini" != client:
        # A part of Gemini's own API has no name: it stands before the file.
        file = [
            ("user", "text", "[file: report.pdf]"),
            ("user", "file", ("application/pdf", PDF, None)),
        ]
    assert read(upstream, world.body).items == [
        ("user", "text", "See:"),
        ("user", "image", IMAGE),
        *file,
        ("user", "text", "What is it?"),
    ]
    assert world.clients.last.dropped == []


@every_pair
async def test_tools_arrive_with_their_schemas(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    await world.ask(client, upstream, Ask(tools=(WEATHER, CLOCK)))
    assert read(upstream, world.body).tools == {"weather": CITY, "clock": CLOCK.schema}
    assert world.clients.last.dropped == []


@pytest.mark.parametrize("choice", ["auto", "required", "none", "clock"])
@every_pair
async def test_choice_of_a_tool_arrives(
    client: ProtocolName, upstream: ProtocolName, choice: str, world: World
) -> None:
    await world.ask(client, upstream, Ask(tools=(WEATHER, CLOCK), choice=choice))
    assert read(upstream, world.body).choice == choice


@every_pair
@both_ways
async def test_schema_of_the_answer_arrives(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    await world.ask(client, upstream, Ask(schema=CITY), stream=stream)
    assert read(upstream, world.body).schema == CITY


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
@every_pair
async def test_effort_arrives(
    client: ProtocolName, upstream: ProtocolName, effort: str, world: World
) -> None:
    await world.ask(client, upstream, Ask(effort=effort))
    assert read(upstream, world.body).effort == effort
    assert world.clients.last.dropped == []


# The Responses protocol has no stop texts: neither its clients nor its upstreams know them.
@pairs([pair for pair in PAIRS if pair[0] != "openai-responses"])
async def test_stop_texts_arrive_where_they_exist(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    await world.ask(client, upstream, Ask(stop=("END", "\n\n##")))
    assert read(upstream, world.body).stop == (
        [] if upstream == "openai-responses" else ["END", "\n\n##"]
    )
    assert world.clients.last.dropped == []


# `$schema` is refused by some vendors, and nothing else may change on the way.
RICH = {
    "type": "object",
    "properties": {
        "kind": {"const": "a"},
        "size": {"type": ["integer", "null"], "minimum": 1, "maximum": 9},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1},
        "either": {"anyOf": [{"type": "string", "pattern": "^a"}, {"type": "null"}]},
    },
    "required": ["kind"],
    "$defs": {"tag": {"enum": ["x", "y"], "description": "One of two."}},
}


@every_pair
async def test_schema_of_a_tool_keeps_every_keyword(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    await world.ask(client, upstream, Ask(tools=(Tool("pick", RICH),)))
    assert read(upstream, world.body).tools == {"pick": RICH}
