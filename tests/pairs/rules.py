"""The named rules under which both sides of a translation mean the same.

Each rule is an equivalence: it brings what the client said and what the upstream was told
(or the two ends of an answer) into one form, and says nothing about anything else. A cell
of the table that needs a rule is "emulated"; the texts below stand under the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from kurolproxy.ir import (
    Block,
    File,
    Finish,
    Image,
    Message,
    Part,
    ProtocolName,
    Request,
    Text,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols import efforts, seal
from kurolproxy.tokens import Usage

Pair = tuple[ProtocolName, ProtocolName]

STOP = "END"
"""The stop text of the row about stop texts."""


@dataclass(frozen=True, slots=True)
class Told:
    """One end of an answer.

    Attributes:
        deltas: the texts of a stream, one by one; empty when they are not compared.
        broke: what its error says, None when the answer is whole.
    """

    blocks: tuple[Block, ...] = ()
    finish: Finish | None = None
    usage: Usage | None = None
    deltas: tuple[str, ...] = ()
    broke: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One equivalence.

    Attributes:
        name: as it stands in the table.
        text: what a stranger has to know of it.
        request, answer: bring one end into the common form.
        where: whether it holds for a pair of protocols (client, upstream).
    """

    name: str
    text: str
    request: Callable[[Request], Request] | None = None
    answer: Callable[[Told], Told] | None = None
    where: Callable[[Pair], bool] = field(default=lambda _pair: True)


def _touches(*names: ProtocolName) -> Callable[[Pair], bool]:
    return lambda pair: pair[0] != pair[1] and any(name in pair for name in names)


def _to(*names: ProtocolName) -> Callable[[Pair], bool]:
    return lambda pair: pair[0] != pair[1] and pair[1] in names


def _from(*names: ProtocolName) -> Callable[[Pair], bool]:
    return lambda pair: pair[0] != pair[1] and pair[0] in names


# --- requests ---------------------------------------------------------------------------


def _each_part(change: Callable[[Part], Part]) -> Callable[[Request], Request]:
    def inside(part: Part) -> Part:
        part = change(part)
        if isinstance(part, ToolResult):
            return replace(part, parts=tuple(map(change, part.parts)))
        return part

    def changed(request: Request) -> Request:
        messages = tuple(
            Message(each.role, tuple(map(inside, each.parts))) for each in request.messages
        )
        system = tuple(map(change, request.system))
        return replace(request, messages=messages, system=system)

    return changed


def _answer_name(request: Request) -> Request:
    output = request.output
    return request if output is None else replace(request, output=replace(output, name=None))


def _effort(request: Request) -> Request:
    wish = request.reasoning
    if wish is None:
        return request
    wish = replace(wish, effort=efforts.wished(wish), budget=None, mode=None)
    return replace(request, reasoning=wish)


def _file_name(part: Part) -> Part:
    return (
        replace(part, name=part.name or part.title, title=None) if isinstance(part, File) else part
    )


_NAME_LINE = re.compile(r"\[file: (.+)\]")


def _name_before(request: Request) -> Request:
    """Put the line with a file's name back into the file behind it."""
    messages = []
    for message in request.messages:
        parts: list[Part] = []
        for part in map(_file_name, message.parts):
            last = parts[-1] if parts else None
            line = _NAME_LINE.fullmatch(last.text) if isinstance(last, Text) else None
            if line and isinstance(part, File) and part.name is None:
                parts[-1] = replace(part, name=line[1])
            else:
                parts.append(part)
        messages.append(Message(message.role, tuple(parts)))
    return replace(request, messages=tuple(messages))


_BELOW = ("[image attached below]", "[file attached below]")


def _media_below(request: Request) -> Request:
    """Take media out of results and put them in front of the user's next words."""
    out: list[Message] = []
    media: list[Image | File] = []
    for message in request.messages:
        if message.role == "tool":
            parts = []
            for part in message.parts:
                if isinstance(part, ToolResult):
                    media += [each for each in part.parts if isinstance(each, Image | File)]
                    part = replace(part, parts=tuple(_words_of(part)))
                parts.append(part)
            out.append(Message("tool", tuple(parts)))
        elif message.role == "user" and media:
            out.append(Message("user", (*media, *message.parts)))
            media = []
        else:
            out.append(message)
    if media:
        out.append(Message("user", tuple(media)))
    return replace(request, messages=tuple(out))


def _words_of(result: ToolResult) -> Iterable[Text]:
    for part in result.parts:
        if isinstance(part, Text):
            lines = [line for line in part.text.split("\n") if line not in _BELOW]
            if lines:
                yield replace(part, text="\n".join(lines))


def _no_stop(request: Request) -> Request:
    return replace(request, stop=())


# --- answers ----------------------------------------------------------------------------


def _cut_at_stop(told: Told) -> Told:
    """End the answer where the stop text begins."""
    blocks = tuple(replace(each, text=each.text.partition(STOP)[0]) for each in told.blocks)
    if blocks == told.blocks:
        return told
    return replace(told, blocks=blocks, finish=Finish("stop_sequence", stop_sequence=STOP))


def _sealed(told: Told) -> Told:
    """Open the tokens, and put each proof to the thoughts it came with."""
    blocks: list[Block] = []
    for block in told.blocks:
        found = block.seal and (seal.decode(block.seal.proof) or block.seal)
        if found is not None:
            text = block.text or found.text or ""
            last = blocks[-1] if blocks else None
            carried = not block.text and any(each.kind == "reasoning" for each in blocks)
            found = replace(found, text=None)
            if carried and last is not None:
                # It travelled on a call, behind the thoughts it proves.
                at = max(i for i, each in enumerate(blocks) if each.kind == "reasoning")
                blocks[at] = replace(blocks[at], seal=found)
                continue
            block = replace(block, text=text, seal=found)
        blocks.append(block)
    return replace(told, blocks=tuple(blocks))


def _finish_words(told: Told) -> Told:
    finish = told.finish
    if finish is None or finish.reason != "stop_sequence":
        return told
    return replace(told, finish=replace(finish, reason="stop", stop_sequence=None))


def _refusal_place(told: Told) -> Told:
    """Say a refusal in the end of the answer, wherever it stood."""
    words = "".join(each.text for each in told.blocks if each.kind == "refusal")
    finish = told.finish
    if finish is None or not (words or finish.detail):
        return told
    rest = tuple(each for each in told.blocks if each.kind != "refusal")
    said = Finish("content_filter", detail=words or finish.detail)
    return replace(told, blocks=rest, finish=said)


def _refusal_as_text(told: Told) -> Told:
    blocks = tuple(
        replace(each, kind="text") if each.kind == "refusal" else each for each in told.blocks
    )
    return replace(told, blocks=blocks)


def _no_cache_write(told: Told) -> Told:
    return told if told.usage is None else replace(told, usage=replace(told.usage, cache_write=0))


def _one_piece(told: Told) -> Told:
    return replace(told, deltas=("".join(told.deltas),))


RULES: tuple[Rule, ...] = (
    Rule(
        "answer name",
        "OpenAI wants a name for the schema of an answer; the others have none. It is made up "
        "(`response`) or left out.",
        request=_answer_name,
        where=_touches("anthropic", "gemini"),
    ),
    Rule(
        "effort",
        "How much to think is a word, a budget of tokens or a switch, and is written in the "
        "upstream's form.",
        request=_effort,
    ),
    Rule(
        "file name",
        "A file's name stands in Anthropic's `title`.",
        request=_each_part(_file_name),
        where=_touches("anthropic"),
    ),
    Rule(
        "name before a file",
        "A file of Gemini's API has no name: a line before it says `[file: <name>]`.",
        request=_name_before,
        where=_to("gemini"),
    ),
    Rule(
        "media below",
        "A Chat tool message holds text only: pictures in results of tools follow as a message "
        "of the user, and the result says so.",
        request=_media_below,
        where=_to("openai-chat"),
    ),
    Rule(
        "local stop",
        "Responses has no stop texts: the gateway cuts the answer itself.",
        request=_no_stop,
        answer=_cut_at_stop,
        where=_to("openai-responses"),
    ),
    Rule(
        "sealed token",
        "The upstream's proof of its reasoning travels through the client in a token of ours "
        "and returns to that upstream byte for byte.",
        answer=_sealed,
    ),
    Rule(
        "words left behind",
        "Gemini proves its calls, not its thoughts: where a client brings the words of thoughts "
        "apart from the proof they are not sent, and `x-kurol-dropped` names them.",
    ),
    Rule(
        "stop word",
        "Only Anthropic tells which stop text was met; elsewhere the answer just ends.",
        answer=_finish_words,
        where=_touches("anthropic", "openai-responses"),
    ),
    Rule(
        "place of a refusal",
        "The words of a refusal stand in the message (OpenAI), or beside the reason for which "
        "the answer ended (Anthropic, Gemini).",
        answer=_refusal_place,
    ),
    Rule(
        "refusal as text",
        "A message of Anthropic or Gemini has no part for a refusal: the words are its text.",
        answer=_refusal_as_text,
        where=_from("anthropic", "gemini"),
    ),
    Rule(
        "no cache writes",
        "Gemini has no figure for tokens written to a cache: they count as prompt tokens.",
        answer=_no_cache_write,
        where=_from("gemini"),
    ),
    Rule(
        "whole arguments",
        "Gemini has no streamed arguments: a call goes out in one piece when it is complete.",
        answer=_one_piece,
        where=_from("gemini"),
    ),
)


# --- what is the same in any case -------------------------------------------------------


def plain(request: Request, fields: Iterable[str]) -> Request:
    """Return the fields of a request that count, without what has no meaning of its own.

    JSON texts are compared by value; "not strict" and "nothing said" are one, as are a
    picture's ``auto`` and nothing; a result is paired by its id, its name says no more.
    """
    kept = {name: getattr(request, name) for name in fields}
    bare = Request(model="", messages=(), **{k: v for k, v in kept.items() if k != "messages"})
    if "messages" in kept:
        bare = replace(bare, messages=request.messages)
    bare = _each_part(_plain_part)(bare)
    tools = tuple(replace(tool, strict=tool.strict or None) for tool in bare.tools)
    return replace(bare, tools=tools)


def _plain_part(part: Part) -> Part:
    match part:
        case ToolCall():
            return replace(part, args=_value(part.args), seal=None)
        case ToolResult():
            return replace(part, name=None)
        case Image(detail="auto"):
            return replace(part, detail=None)
    return part


def _value(text: str) -> str:
    return json.dumps(json.loads(text or "{}"), sort_keys=True)


def plain_answer(told: Told) -> Told:
    """Return an end of an answer with the arguments of calls by value."""
    blocks = tuple(
        replace(block, text=_value(block.text)) if block.tool is not None else block
        for block in told.blocks
    )
    return replace(told, blocks=blocks)
