"""How answers end: reasons, figures, errors, and streams that break off."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import Answer, End, frame, json_answer, stream_answer
from tests.fakes.recordings import Figures
from tests.pairs.asks import Ask
from tests.pairs.features import WEATHER, ZURICH
from tests.pairs.vendors import DONE, Turn, begun, frames, late, whole
from tests.pairs.world import (
    PAIRS,
    World,
    both_ways,
    every_client,
    every_pair,
    in_one_loop,
    pairs,
)
from tests.server.scripts import begin, block, chat_usage, chunk, finish, messages_usage, tool_chunk

pytestmark = in_one_loop

WORDS = ("one, ", "two")
FIGURES = Figures(prompt=100, completion=40, cache_read=64, cache_write=26, reasoning=8)

# --- the reason -------------------------------------------------------------------------


@every_pair
@both_ways
@pytest.mark.parametrize(("end", "ending"), [("length", "length"), ("content_filter", "filter")])
async def test_answer_that_was_cut_says_so(
    client: ProtocolName,
    upstream: ProtocolName,
    stream: bool,
    end: str,
    ending: str,
    world: World,
) -> None:
    heard = await world.ask(client, upstream, Ask(), Turn(words=WORDS, end=end), stream=stream)
    assert (heard.error, heard.text, heard.ending) == (None, "one, two", ending)


@every_pair
@both_ways
async def test_refusal_keeps_its_words(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    turn = Turn(refusal="I will not.")
    heard = await world.ask(client, upstream, Ask(), turn, stream=stream)
    assert heard.error is None
    if client == "gemini" and upstream in ("anthropic", "gemini"):
        # The words stand beside the reason; the vendor's SDK does not show them.
        assert heard.ending == "filter"
        assert json.dumps("finishMessage").encode() in world.clients.last.got
        assert b"I will not." in world.clients.last.got
    else:
        assert "I will not." in (heard.refusal, heard.text)


_STOPPING = [pair for pair in PAIRS if pair[0] != "openai-responses"]


@pairs(_STOPPING)
@both_ways
async def test_answer_ends_before_a_stop_text(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    turn = Turn(words=("one, ", "two "), stop_sequence="END")
    if upstream == "openai-responses":
        # It cannot be told of stop texts, so it goes on talking.
        turn = Turn(words=("one, ", "two E", "ND three"))
    heard = await world.ask(client, upstream, Ask(stop=("END",)), turn, stream=stream)
    assert (heard.error, heard.text, heard.ending) == (None, "one, two ", "stop")


@every_client
@both_ways
async def test_finish_reason_stop_with_calls_still_asks_for_them(
    client: ProtocolName, stream: bool, world: World
) -> None:
    # Ollama and others say ``stop`` although the answer holds calls.
    if stream:
        function = {"name": "weather", "arguments": "".join(ZURICH.pieces)}
        call = tool_chunk(0, id="call_1", type="function", function=function)
        world.fake.always(stream_answer([chunk({"role": "assistant"}), call, chunk({}, "stop")]))
    else:
        body = whole("openai-chat", Turn(calls=(ZURICH,)))
        body["choices"][0]["finish_reason"] = "stop"
        world.fake.always(json_answer(body))
    heard = await world.ask(client, "openai-chat", Ask(tools=(WEATHER,)), stream=stream)
    assert [(each.name, each.arguments) for each in heard.calls] == [
        ("weather", {"city": "Zürich"})
    ]
    # Chat to Chat is passed through as it is.
    assert heard.ending == ("stop" if client == "openai-chat" else "calls")


# --- errors -----------------------------------------------------------------------------


@every_pair
async def test_late_error_reaches_the_client_with_its_words(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    told = late(upstream, Turn(words=WORDS), "the vendor had a bad day")
    world.fake.always(stream_answer(told))
    heard = await world.ask(client, upstream, stream=True)
    assert heard.text == "one, two"
    assert heard.error is not None
    assert "the vendor had a bad day" in heard.error


@every_pair
@pytest.mark.parametrize("end", ["eof", "close", "reset"])
async def test_cut_stream_is_an_error(
    client: ProtocolName, upstream: ProtocolName, end: End, world: World
) -> None:
    world.fake.always(stream_answer(begun(upstream, Turn(words=WORDS)), end=end))
    heard = await world.ask(client, upstream, stream=True)
    assert heard.text == "one, two"
    assert heard.error
    row = await world.booked()
    assert (row["outcome"], row["estimated"]) == ("upstream_error", 1)


@every_client
async def test_stream_without_done_is_whole(client: ProtocolName, world: World) -> None:
    told = frames("openai-chat", Turn(words=WORDS))
    assert told[-1] == DONE
    world.fake.always(stream_answer(told[:-1]))
    heard = await world.ask(client, "openai-chat", stream=True)
    assert (heard.error, heard.text, heard.ending) == (None, "one, two", "stop")


# --- the figures ------------------------------------------------------------------------

_GEMINI_HAS_NO_WRITES = FIGURES._replace(cache_write=0)


def heard_by(client: ProtocolName, upstream: ProtocolName) -> Figures:
    """Return the figures as far as both protocols have them."""
    return _GEMINI_HAS_NO_WRITES if "gemini" in (client, upstream) else FIGURES


@every_pair
@both_ways
async def test_cached_tokens_are_counted_once_in_every_dialect(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    turn = Turn(words=WORDS, usage=FIGURES)
    heard = await world.ask(client, upstream, Ask(), turn, stream=stream)
    assert heard.usage == heard_by(client, upstream)
    row = await world.booked()
    assert (row["prompt"], row["completion"], row["charged"]) == (100, 40, 140)
    assert (row["cache_read"], row["reasoning"], row["estimated"]) == (64, 8, 0)
    assert row["cache_write"] == (0 if upstream == "gemini" else 26)


_SAID: dict[ProtocolName, dict[str, int]] = {
    "openai-chat": {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140},
    "openai-responses": {"input_tokens": 100, "output_tokens": 40, "total_tokens": 140},
    "anthropic": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 26,
        "cache_read_input_tokens": 64,
        "output_tokens": 40,
    },
    "gemini": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 64,
        "candidatesTokenCount": 32,
        "thoughtsTokenCount": 8,
        "totalTokenCount": 140,
    },
}


@every_client
async def test_ten_new_twenty_six_written_and_sixty_four_read_on_the_wire(
    client: ProtocolName, world: World
) -> None:
    turn = Turn(words=WORDS, usage=FIGURES)
    await world.ask(client, "anthropic", Ask(), turn)
    body = json.loads(world.clients.last.got)
    usage = body["usageMetadata" if client == "gemini" else "usage"]
    assert {name: usage[name] for name in _SAID[client]} == _SAID[client]


def _chat_stream(usages: list[Any]) -> Answer:
    """Return a Chat stream whose three content chunks and end carry these usages."""
    said = [chunk({"content": text}) for text in ("a", "b")] + [chunk({}, "stop")]
    told = [chunk({"role": "assistant", "content": ""}), *said]
    for at, usage in enumerate(usages):
        if usage is not None and at < len(told):
            told[at] = _with_usage(told[at], usage)
        elif usage is not None:
            told.append(chunk(None, usage=usage))
    return stream_answer([*told, DONE])


def _with_usage(told: bytes, usage: Any) -> bytes:
    value = json.loads(told.removeprefix(b"data: "))
    return frame({**value, "usage": usage})


_TOLD = chat_usage(FIGURES)
_EARLY = [chat_usage(FIGURES._replace(completion=each, reasoning=0)) for each in (1, 2, 3)]
_NULLS = [None, None, None]
USAGES = [
    ("in a chunk of its own", [None, None, None, None, _TOLD]),
    ("on the last chunk", [*_NULLS, _TOLD]),
    ("on every chunk, growing", [*_EARLY, _TOLD]),
    ("on the last chunk and once more", [*_NULLS, _TOLD, _TOLD]),
]


@pytest.mark.parametrize("usages", [row[1] for row in USAGES], ids=[row[0] for row in USAGES])
@every_client
async def test_usage_of_a_chat_stream_is_found_wherever_it_stands(
    client: ProtocolName, usages: list[Any], world: World
) -> None:
    world.fake.always(_chat_stream(usages))
    heard = await world.ask(client, "openai-chat", stream=True)
    assert (heard.error, heard.text) == (None, "ab")
    assert heard.usage == heard_by(client, "openai-chat")
    row = await world.booked()
    assert (row["charged"], row["estimated"]) == (140, 0)


@every_client
async def test_stream_without_usage_is_estimated(client: ProtocolName, world: World) -> None:
    world.fake.always(_chat_stream([]))
    heard = await world.ask(client, "openai-chat", stream=True)
    assert (heard.error, heard.text, heard.ending) == (None, "ab", "stop")
    row = await world.booked()
    assert row["estimated"] == 1
    assert row["charged"] > 0


@every_client
async def test_prompt_count_of_message_start_is_not_added_again_at_message_delta(
    client: ProtocolName, world: World
) -> None:
    usage = messages_usage(FIGURES)
    text = block(0, {"type": "text", "text": ""}, [{"type": "text_delta", "text": "ab"}])
    told = [
        begin({**usage, "output_tokens": 1}),
        *text,
        *finish({"stop_reason": "end_turn"}, usage),
    ]
    world.fake.always(stream_answer(told))
    heard = await world.ask(client, "anthropic", stream=True)
    assert heard.text == "ab"
    assert heard.usage == heard_by(client, "anthropic")
    row = await world.booked()
    assert (row["prompt"], row["charged"]) == (100, 140)


@every_client
async def test_figures_on_every_frame_of_gemini_are_not_added_up(
    client: ProtocolName, world: World
) -> None:
    told = []
    for at, each in enumerate(frames("gemini", Turn(words=WORDS, usage=FIGURES)), 1):
        value = json.loads(each.removeprefix(b"data: "))
        early = {"promptTokenCount": 100, "candidatesTokenCount": at, "totalTokenCount": 101}
        told.append(frame({"usageMetadata": early, **value}))
    world.fake.always(stream_answer(told))
    heard = await world.ask(client, "gemini", stream=True)
    assert heard.text == "one, two"
    assert heard.usage == _GEMINI_HAS_NO_WRITES
    row = await world.booked()
    assert (row["charged"], row["estimated"]) == (140, 0)
