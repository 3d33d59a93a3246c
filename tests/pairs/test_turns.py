"""Texts and calls through every pair: whole and streamed, with the SDKs that people use."""

from __future__ import annotations

from kurolproxy.ir import ProtocolName
from tests.fakes.recordings import Figures
from tests.pairs.asks import Ask, Tool
from tests.pairs.vendors import Said, Turn
from tests.pairs.world import World, both_ways, every_pair, in_one_loop, model_of

pytestmark = in_one_loop

WORDS = ("Grüße ", "\u2026 \U0001f600", "\nend")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("weather", CITY, "Tells the weather.")
USAGE = Figures(prompt=30, completion=12, cache_read=8, cache_write=0, reasoning=5)


@every_pair
@both_ways
async def test_text_arrives(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    turn = Turn(words=WORDS, usage=USAGE)
    heard = await world.ask(client, upstream, Ask(), turn, stream=stream)
    assert heard.error is None
    assert (heard.text, heard.ending, heard.calls) == ("".join(WORDS), "stop", [])
    assert heard.usage == USAGE
    assert heard.model == model_of(upstream)
    if stream:
        assert [each for each in heard.pieces if each] == list(WORDS)


@every_pair
@both_ways
async def test_call_arrives(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    call = Said("call_1", "weather", ('{"ci', 'ty":', ' "Zürich"}'))
    turn = Turn(words=("Looking.",), calls=(call,))
    heard = await world.ask(client, upstream, Ask(tools=(WEATHER,)), turn, stream=stream)
    assert heard.error is None
    assert (heard.text, heard.ending) == ("Looking.", "calls")
    assert [(each.id, each.name, each.arguments) for each in heard.calls] == [
        ("call_1", "weather", {"city": "Zürich"})
    ]
