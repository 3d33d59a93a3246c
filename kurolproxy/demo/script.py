"""What the demo models answer: the same question, the same answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kurolproxy.demo.ask import (
    Ask,
    Offered,
    Result,
    Turn,
    last_media,
    last_results,
    last_words,
    since_assistant,
    spoken,
)
from kurolproxy.demo.read import dumps
from kurolproxy.demo.reply import Call, Choice, Counts, Piece, Reply, Thought, Words
from kurolproxy.demo.shape import shape


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One model of the vendor.

    Attributes:
        calls: it calls the tools that it is offered.
        thinks: it thinks aloud first.
        slow: it takes its time between two words.
    """

    id: str
    name: str
    calls: bool = False
    thinks: bool = False
    slow: bool = False


MODELS: Mapping[str, DemoModel] = {
    model.id: model
    for model in (
        DemoModel("demo-echo", "Demo Echo"),
        DemoModel("demo-tools", "Demo Tools", calls=True),
        DemoModel("demo-slow", "Demo Slow", slow=True),
        DemoModel("demo-think", "Demo Think", calls=True, thinks=True),
    )
}
CONTEXT_WINDOW = 200_000
MAX_OUTPUT_TOKENS = 64_000

_CHARS_PER_TOKEN = 4
_MESSAGE_TOKENS = 4
_IMAGE_TOKENS = 256
_DOCUMENT_TOKENS = 512
_CACHE_BLOCK = 16


def reply(ask: Ask) -> Reply:
    """Answer a request to a model of ``MODELS``."""
    model = MODELS[ask.model]
    whole = _pieces(ask, model)
    choices = tuple(_limited(ask, _numbered(whole, index)) for index in range(ask.n))
    prompt = count_prompt(ask)
    read, written = _cached(ask)
    spent = [(tokens(p.text), isinstance(p, Thought)) for c in choices for p in c.pieces]
    counts = Counts(
        prompt=prompt,
        completion=sum(count for count, _ in spent),
        cache_read=read,
        cache_write=written,
        reasoning=sum(count for count, thought in spent if thought),
    )
    return Reply(choices, counts, model.slow)


def _pieces(ask: Ask, model: DemoModel) -> tuple[Piece, ...]:
    asked = last_words(ask.turns)
    thoughts: tuple[Piece, ...] = ()
    if model.thinks and ask.thinking is not None:
        thoughts = (Thought(_thinking(asked, ask.thinking), "redacted" in asked.lower()),)
    calls = _calls(ask, model, asked)
    if calls:
        return (*thoughts, *calls)
    return (*thoughts, Words(_words(ask, model, asked)))


def _words(ask: Ask, model: DemoModel, asked: str) -> str:
    if ask.output is not None:
        return dumps(shape(ask.output) if ask.output else {"answer": asked})
    results = last_results(ask.turns)
    if results:
        return "\n".join(_quoted(result) for result in results)
    said = _slow_words(asked) if model.slow else spoken(ask.turns)
    media = last_media(ask.turns)
    seen = f"[I saw {media}.]" if media else ""
    return "\n".join(filter(None, [said, seen])) or "(You said nothing.)"


def _quoted(result: Result) -> str:
    name = result.name or result.call_id
    said = f"{name} {'failed' if result.failed else 'answered'}: {result.text}"
    return f"{said} [with {result.media}]" if result.media else said


def _slow_words(asked: str) -> str:
    """Return a text of as many words as were asked for (``50 words``), else of 200."""
    wanted = re.search(r"\b(\d{1,5}) words\b", asked)
    count = int(wanted.group(1)) if wanted else 200
    first = ["Slowly,", "you", "said:", *asked.split()]
    return " ".join([*first, *(f"word-{n}" for n in range(1, count + 1))][:count]) + "."


def _thinking(asked: str, budget: int) -> str:
    steps = [f"The question is: {asked[:200]}"]
    steps += [f"Step {n}: I hold the question against step {n - 1}." for n in range(1, 41)]
    thought = "\n".join([*steps, "Now I can answer."])
    return thought[: budget * _CHARS_PER_TOKEN] if budget else thought


# --- tools ----------------------------------------------------------------------------


def _calls(ask: Ask, model: DemoModel, asked: str) -> tuple[Call, ...]:
    """Return the calls to make: after a tool has answered, none unless they are forced."""
    offered = [tool for tool in ask.tools if not ask.allowed or tool.name in ask.allowed]
    forced = ask.choice == "required"
    if not offered or ask.choice == "none" or not (model.calls or forced):
        return ()
    if last_results(ask.turns) and not forced:
        return ()
    # A tool that the prompt names comes first.
    ordered = sorted(offered, key=lambda tool: tool.name not in asked)
    count = 2 if ask.parallel and "parallel" in asked.lower() else 1
    chosen = (ordered * 2)[:count]
    return tuple(
        Call(f"{ask.fingerprint[:20]}{index}", tool, _arguments(tool, asked))
        for index, tool in enumerate(chosen)
    )


def _arguments(tool: Offered, asked: str) -> str:
    return asked if tool.free else dumps(shape(tool.schema))


# --- limits ---------------------------------------------------------------------------


def _numbered(pieces: tuple[Piece, ...], index: int) -> tuple[Piece, ...]:
    """Make the second and later answers to one question differ from the first."""
    if index == 0:
        return pieces
    return tuple(
        replace(piece, text=f"{piece.text} (answer {index + 1})")
        if isinstance(piece, Words)
        else piece
        for piece in pieces
    )


def _limited(ask: Ask, pieces: tuple[Piece, ...]) -> Choice:
    """Cut an answer where a stop text stands or its tokens end, whichever is first."""
    pieces, stopped = _stopped(pieces, ask.stop)
    left = ask.max_tokens
    if left is not None:
        kept: list[Piece] = []
        for piece in pieces:
            if tokens(piece.text) > left:
                rest = piece.text[: left * _CHARS_PER_TOKEN]
                if rest:
                    kept.append(replace(piece, text=rest))
                return Choice(tuple(kept), "length")
            kept.append(piece)
            left -= tokens(piece.text)
    if stopped is not None:
        return Choice(pieces, "stop_sequence", stopped)
    called = any(isinstance(piece, Call) for piece in pieces)
    return Choice(pieces, "tool_calls" if called else "stop")


def _stopped(
    pieces: tuple[Piece, ...], stop: Sequence[str]
) -> tuple[tuple[Piece, ...], str | None]:
    for index, piece in enumerate(pieces):
        found = [(piece.text.find(text), text) for text in stop if text and text in piece.text]
        if isinstance(piece, Words) and found:
            at, text = min(found, key=lambda hit: hit[0])
            return (*pieces[:index], Words(piece.text[:at])), text
    return pieces, None


# --- tokens ---------------------------------------------------------------------------


def tokens(text: str) -> int:
    """Return how many tokens a text is."""
    return -(-len(text) // _CHARS_PER_TOKEN)


def count_prompt(ask: Ask) -> int:
    """Return how many tokens a prompt is."""
    offered = sum(tokens(tool.name + dumps(tool.schema)) for tool in ask.tools)
    return offered + sum(_count_turn(turn) for turn in ask.turns)


def _count_turn(turn: Turn) -> int:
    said = tokens(turn.text) + sum(tokens(result.text) for result in turn.results)
    media = sum((result.media for result in turn.results), turn.media)
    documents = media.pdfs + media.files + media.audio
    return said + _MESSAGE_TOKENS + media.images * _IMAGE_TOKENS + documents * _DOCUMENT_TOKENS


def _cached(ask: Ask) -> tuple[int, int]:
    """Return the prompt tokens read from and written to the prompt cache.

    Everything before what is new in this request is cached once the conversation has an
    assistant turn; a first request writes it, where a vendor charges for that.
    """
    if ask.cache == "none":
        return 0, 0
    new = sum(_count_turn(turn) for turn in since_assistant(ask.turns) if turn.role != "system")
    prefix = (count_prompt(ask) - new) // _CACHE_BLOCK * _CACHE_BLOCK
    if any(turn.role == "assistant" for turn in ask.turns):
        return prefix, 0
    return 0, prefix if ask.cache == "explicit" else 0
