"""The items of a request's ``input``, neutral messages -> wire.

Items carry no ids, but for reasoning that has one in its seal: without storage the vendor
looks for the ids it is given and does not find them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kurolproxy.ir import (
    Message,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames, sanitise
from kurolproxy.protocols.openai_responses.parts import PartWriter, WirePart
from kurolproxy.protocols.openai_responses.passing import summary
from kurolproxy.protocols.openai_responses.tools import called
from kurolproxy.protocols.openai_responses.vocabulary import (
    CUSTOM_CALL,
    CUSTOM_OUTPUT,
    FUNCTION_CALL,
    FUNCTION_OUTPUT,
    INPUT_TEXT,
    MESSAGE,
    OUTPUT_TEXT,
    REASONING,
    REFUSAL,
    annotation,
)

Item = dict[str, Any]

_EMPTY = "(empty)"
_GO_ON = "Continue."


class ItemWriter:
    """Write the conversation of a normalised request for one target."""

    def __init__(self, reader: Reader, target: TargetView, names: ToolNames) -> None:
        self._reader = reader
        self._traits = target.traits
        self._names = names
        self._parts = PartWriter(reader, target)
        self._custom: set[str] = set()  # the ids of calls of custom tools

    def write(self, lines: Sequence[str]) -> tuple[str, list[Item]]:
        """Write the system's words and the items.

        Args:
            lines: more to say as the system, behind what the client said.

        Returns:
            the instructions, "" for none, and the input.
        """
        instructions, items = self._system(lines)
        messages = self._reader.request.messages
        before = len(items)
        for message in messages:
            items += self._message(message)
        if len(items) == before:
            items.append(_user([_text(_EMPTY)]))
        elif messages[-1].role == "assistant" and not self._traits.prefill:
            items.append(_user([_text(_GO_ON)]))
        return instructions, items

    def _system(self, lines: Sequence[str]) -> tuple[str, list[Item]]:
        parts = self._parts.parts(self._reader.request.system)
        parts += [_text(line) for line in lines]
        if any("prompt_cache_breakpoint" in part for part in parts):
            # The field is a plain text and has no place for a mark.
            return "", [_developer(parts)]
        return "\n\n".join(part["text"] for part in parts), []

    def _message(self, message: Message) -> Iterable[Item]:
        if message.role == "tool":
            return [self._result(part) for part in message.parts if isinstance(part, ToolResult)]
        if message.role == "assistant":
            return self._assistant(message)
        parts = self._parts.parts(message.parts)
        if not parts:
            return []
        return [_developer(parts) if message.role == "system" else _user(parts)]

    # --- what the assistant did ---------------------------------------------------------

    def _assistant(self, message: Message) -> list[Item]:
        """Write a turn in its order: thoughts stand before what they led to.

        Thoughts with nothing behind them (the turn was cut off) are left out: the vendor
        refuses them "without their required following item".
        """
        out: list[Item] = []
        thoughts: list[Reasoning | ToolCall] = []
        for part in message.parts:
            if isinstance(part, Reasoning | ToolCall) and self._proof(part) is not None:
                thoughts.append(part)
            if isinstance(part, Text | Refusal | ToolCall):
                for each in thoughts:
                    out += self._reasoning(each)
                thoughts = []
                self._say(part, out)
        return out

    def _proof(self, part: Reasoning | ToolCall) -> Seal | None:
        """Return the proof in or on a part, when this target can check it."""
        found = Reasoning("", part.seal)
        return seals.restorable(found, "r", self._traits.reasoning_family)

    def _reasoning(self, part: Reasoning | ToolCall) -> Iterator[Item]:
        seal = self._proof(part)
        if seal is None:
            return
        text = ""
        if isinstance(part, Reasoning):
            text = self._reader.whole(part).text
        else:
            self._reader.take(part, "seal")
        out: Item = {"type": REASONING, "summary": summary(text or seal.text or "")}
        if seal.item_id is not None:
            out["id"] = seal.item_id
        yield {**out, "encrypted_content": seal.proof}

    def _say(self, part: Text | Refusal | ToolCall, out: list[Item]) -> None:
        """Write a part as an item, or into the message that stands last."""
        if isinstance(part, ToolCall):
            out.append(self._call(part))
            return
        wired = self._said(part)
        if out and out[-1]["type"] == MESSAGE:
            out[-1]["content"].append(wired)
        else:
            out.append({"type": MESSAGE, "role": "assistant", "content": [wired]})

    def _said(self, part: Text | Refusal) -> WirePart:
        take = self._reader.take
        if isinstance(part, Refusal):
            return {"type": REFUSAL, "refusal": take(part, "text")}
        notes = [annotation(each) for each in take(part, "citations")]
        return {"type": OUTPUT_TEXT, "text": take(part, "text"), "annotations": notes}

    def _call(self, call: ToolCall) -> Item:
        take = self._reader.take
        call_id, kind = sanitise(take(call, "id")), take(call, "kind")
        tool = called(self._names, take(call, "name"), take(call, "ns"))
        args = take(call, "args")
        if kind == "custom":
            self._custom.add(call_id)
            return {"type": CUSTOM_CALL, "call_id": call_id, **tool, "input": args}
        return {"type": FUNCTION_CALL, "call_id": call_id, **tool, "arguments": args or "{}"}

    # --- what the tools answered --------------------------------------------------------

    def _result(self, result: ToolResult) -> Item:
        take = self._reader.take
        call_id = sanitise(take(result, "call_id"))
        take(result, "name")  # The call that the id points at has it.
        take(result, "parts")
        parts = self._parts.parts(result.parts)
        if parts:
            parts[-1] = self._parts.mark(parts[-1], result)
        kind = CUSTOM_OUTPUT if call_id in self._custom else FUNCTION_OUTPUT
        return {"type": kind, "call_id": call_id, "output": _joined(parts)}


def _text(text: str) -> WirePart:
    return {"type": INPUT_TEXT, "text": text}


def _user(parts: list[WirePart]) -> Item:
    return {"type": MESSAGE, "role": "user", "content": parts}


def _developer(parts: list[WirePart]) -> Item:
    return {"type": MESSAGE, "role": "developer", "content": parts}


def _joined(parts: list[WirePart]) -> str | list[WirePart]:
    """Return plain texts as one string; parts that say more stay parts."""
    if all(part.keys() == {"type", "text"} for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts
