"""The rows of the conformance table: what is asked, what is answered, what must be equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kurolproxy.ir import File, Image, ProtocolName, Request, Text, ToolCall, ToolResult
from tests.fakes.recordings import Figures
from tests.pairs.asks import Ask, Pdf, Picture, Result, Tool, Use, Words, assistant, user
from tests.pairs.proofs import PROOF, THOUGHTS
from tests.pairs.rules import STOP
from tests.pairs.vendors import Said, Turn

Aspect = Literal["blocks", "finish", "usage", "texts", "arguments", "broke"]

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", CITY, "Tells the weather.")
CLOCK = Tool("clock", {"type": "object", "properties": {}}, "Tells the time.")
ZURICH = Said("call_1", "weather", ('{"ci', 'ty":', '"Zürich"}'))
BERN = Said("call_2", "weather", ('{"city":"B', 'ern"}'))
FIGURES = Figures(prompt=100, completion=40, cache_read=64, cache_write=26, reasoning=8)
FULL = Figures(prompt=100, completion=40, cache_read=64, reasoning=8)


@dataclass(frozen=True, slots=True)
class Feature:
    """One row.

    Attributes:
        tells: what the row holds, for a stranger.
        turn: what the vendor says, by its protocol.
        fields: of the neutral request, which must reach the upstream.
        aspects: of the answer, which must reach the client.
        streams: whether it is asked whole, streamed, or both.
        breaks: how the stream goes wrong.
        names: what ``x-kurol-dropped`` calls it.
        sayable: whether a client's protocol has words for it at all.
        said: finds the feature in what a client said, so that no decoder can lose it on
            both sides unseen.
    """

    name: str
    tells: str
    ask: Ask
    turn: Callable[[ProtocolName], Turn]
    fields: tuple[str, ...] = ()
    aspects: tuple[Aspect, ...] = ()
    streams: tuple[bool, ...] = (False, True)
    breaks: Literal["", "error", "cut"] = ""
    names: tuple[str, ...] = ()
    sayable: Callable[[ProtocolName], bool] = lambda _client: True
    said: Callable[[Request], bool] = lambda _asked: True


def _says(turn: Turn) -> Callable[[ProtocolName], Turn]:
    return lambda _upstream: turn


def _stopped(upstream: ProtocolName) -> Turn:
    """Return an answer that met a stop text; who cannot be told of it goes on talking."""
    if upstream == "openai-responses":
        return Turn(words=("one, ", f"two {STOP[0]}", f"{STOP[1:]} three"))
    return Turn(words=("one, ", "two "), stop_sequence=STOP if upstream == "anthropic" else None)


def _count(asked: Request, kind: type) -> int:
    """Return how many parts of a kind a request holds, in results of tools too."""
    parts = [part for message in asked.messages for part in message.parts]
    parts += [each for part in parts if isinstance(part, ToolResult) for each in part.parts]
    return sum(isinstance(part, kind) for part in parts)


def _talks(asked: Request) -> bool:
    return len(asked.system) == 1 and _count(asked, Text) == 4


_TALK = Ask(
    system=Words("Be kind."),
    turns=(user("Hi"), assistant("Hello."), user("Grüße \u2026 \U0001f600", "and more")),
)
_WORDS = Turn(words=("Grüße ", "\u2026 \U0001f600", "\nend"))
_RESULTS = (
    user("Weather?"),
    assistant(
        "Looking.",
        Use("call_a", "weather", {"city": "Bern"}),
        Use("call_b", "weather", {"city": "Rome"}),
    ),
    Result("call_a", "weather", (Words("rain"),)),
    Result("call_b", "weather", (Words("sun"),)),
    user("And Zürich?"),
)
_SEEN = (
    user("What is this?", Picture()),
    assistant(Use("call_a", "weather", {"city": "Bern"})),
    Result("call_a", "weather", (Words("a map"), Picture())),
)
_ANSWER = ("system", "messages")

FEATURES: tuple[Feature, ...] = (
    Feature(
        "text",
        "system prompt, history and words, not streamed",
        _TALK,
        _says(_WORDS),
        fields=_ANSWER,
        aspects=("blocks", "finish"),
        streams=(False,),
        said=_talks,
    ),
    Feature(
        "stream",
        "the same, streamed, piece by piece",
        _TALK,
        _says(_WORDS),
        fields=_ANSWER,
        aspects=("blocks", "finish", "texts"),
        streams=(True,),
        said=_talks,
    ),
    Feature(
        "tools",
        "two tools, one of which must be called, and its call",
        Ask(tools=(WEATHER, CLOCK), choice="required"),
        _says(Turn(words=("Looking.",), calls=(ZURICH,))),
        fields=("tools", "tool_choice"),
        aspects=("blocks", "finish"),
        names=("tools", "tool_choice"),
        said=lambda asked: len(asked.tools) == 2 and asked.tool_choice is not None,
    ),
    Feature(
        "parallel",
        "two calls of one tool with their results, and two new ones",
        Ask(turns=_RESULTS, tools=(WEATHER,)),
        _says(Turn(calls=(ZURICH, BERN))),
        fields=("messages", "tools"),
        aspects=("blocks", "finish"),
        names=("messages", "tools"),
        said=lambda asked: _count(asked, ToolCall) == _count(asked, ToolResult) == 2,
    ),
    Feature(
        "streamed arguments",
        "the arguments of a call arrive while they are written",
        Ask(tools=(WEATHER,)),
        _says(Turn(calls=(ZURICH,))),
        fields=("tools",),
        aspects=("blocks", "arguments"),
        streams=(True,),
    ),
    Feature(
        "images",
        "a picture of the user and one in the result of a tool",
        Ask(turns=_SEEN, tools=(WEATHER,)),
        _says(Turn(words=("A map.",))),
        fields=("messages",),
        names=("messages.image", "messages.tool_result"),
        said=lambda asked: _count(asked, Image) == 2,
    ),
    Feature(
        "PDF",
        "a PDF file with its name",
        Ask(turns=(user("Read this.", Pdf()),)),
        _says(Turn(words=("Read.",))),
        fields=("messages",),
        names=("messages.file", "messages.document"),
        said=lambda asked: _count(asked, File) == 1,
    ),
    Feature(
        "structured output",
        "an answer that must fit a JSON Schema",
        Ask(schema=CITY),
        _says(Turn(words=('{"city":', '"Bern"}'))),
        fields=("output",),
        aspects=("blocks", "finish"),
        names=("response_format", "text", "output_config", "generationConfig"),
        said=lambda asked: asked.output is not None and asked.output.schema == CITY,
    ),
    Feature(
        "reasoning",
        "an effort, and thoughts in the answer",
        Ask(effort="high", tools=(WEATHER,)),
        _says(Turn(thoughts=THOUGHTS, signature=PROOF, words=("Yes.",), calls=(ZURICH,))),
        fields=("reasoning",),
        aspects=("blocks", "finish"),
        names=("reasoning", "thinking", "generationConfig"),
        said=lambda asked: asked.reasoning is not None and asked.reasoning.effort == "high",
    ),
    Feature(
        "reasoning round trip",
        "the upstream gets its own proof of its thoughts back, byte for byte",
        Ask(effort="high", tools=(WEATHER,)),
        _says(Turn(thoughts=THOUGHTS, signature=PROOF, words=("Yes.",), calls=(ZURICH,))),
        names=("messages.reasoning", "messages.thinking"),
    ),
    Feature(
        "cache fields",
        "cache marks of the client, cached tokens of the upstream",
        Ask(system=Words("Be kind.", cache=True), turns=(user("Hi"),)),
        lambda upstream: Turn(words=("x",), usage=FULL if upstream == "gemini" else FIGURES),
        fields=("system",),
        aspects=("usage",),
        names=("system.text.cache",),
    ),
    Feature(
        "stop sequence",
        "the answer ends before a text that the client named",
        Ask(stop=(STOP,)),
        _stopped,
        fields=("stop",),
        aspects=("blocks", "finish"),
        names=("stop", "generationConfig"),
        sayable=lambda client: client != "openai-responses",
        said=lambda asked: asked.stop == (STOP,),
    ),
    Feature(
        "refusal",
        "the model refuses, and says why",
        Ask(),
        lambda upstream: Turn(refusal="I will not.", end=_REFUSED[upstream]),
        aspects=("blocks", "finish"),
    ),
    Feature(
        "usage",
        "tokens of prompt, answer and reasoning",
        Ask(),
        _says(Turn(words=("x",), usage=FULL)),
        aspects=("usage",),
    ),
    Feature(
        "late error",
        "an error of the upstream in the middle of a stream",
        Ask(),
        _says(Turn(words=("one, ", "two "))),
        aspects=("texts", "broke"),
        streams=(True,),
        breaks="error",
    ),
    Feature(
        "cut stream",
        "a stream that ends without its end mark is an error, never a short answer",
        Ask(),
        _says(Turn(words=("one, ", "two "))),
        aspects=("texts", "broke"),
        streams=(True,),
        breaks="cut",
    ),
)
_REFUSED: dict[ProtocolName, str] = {
    "openai-chat": "stop",
    "openai-responses": "stop",
    "anthropic": "content_filter",
    "gemini": "content_filter",
}
