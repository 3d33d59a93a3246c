"""What a translation lost: computed from what the encoder read, never listed by hand.

An encoder reads the request through a ``Reader``. Whatever the request says and the
encoder did not take is a loss, named by the path of the field in the client's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, TypeVar

from kurolproxy.ir import (
    Audio,
    File,
    Image,
    Message,
    Output,
    Part,
    Reasoning,
    ReasoningWish,
    Refusal,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HEADER_BYTES = 512

# What is no wish of the client's but our own bookkeeping, or is always obeyed by us.
_NEVER_LOST = {
    Request: frozenset(
        {
            "model",
            "stream",
            "messages",
            "system",
            "tools",
            "names",
            "leftover",
            "unknown",
            "include_usage",
            "legacy_functions",
        }
    ),
    Message: frozenset({"role", "parts"}),
    Reasoning: frozenset({"native", "redacted"}),
    ReasoningWish: frozenset({"show"}),
}
_LABELS: dict[type, str] = {
    Text: "text",
    Image: "image",
    File: "file",
    Audio: "audio",
    Reasoning: "reasoning",
    Refusal: "refusal",
    ToolCall: "tool_call",
    ToolResult: "tool_result",
}
# Fields whose value is a node of its own, walked into.
_NODES = (ReasoningWish, Output, ToolChoice)


class Reader:
    """A request, read field by field.

    ``take`` marks a field as carried over. ``peek`` looks without marking: use it to
    decide. ``whole`` marks a node and all its fields: use it when nothing of it is left out.

    Args:
        request: the normalised request; nodes are told apart by identity.
    """

    __slots__ = ("_stand_ins", "_taken", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self._taken: set[tuple[int, str]] = set()
        # Id of a node that was made for another -> both: they must not be freed,
        # or their ids would be given to others.
        self._stand_ins: dict[int, tuple[object, object]] = {}

    def stand_in(self, new: object, old: object) -> None:
        """Let what is taken from ``new`` count as taken from ``old``, a node of one kind."""
        self._stand_ins[id(new)] = (new, old)

    def take(self, node: object, name: str) -> Any:
        """Return a field of a node and mark it as carried over."""
        self._taken.add((self._key(node), name))
        return getattr(node, name)

    def peek(self, node: object, name: str) -> Any:
        """Return a field of a node without marking it."""
        return getattr(node, name)

    def whole(self, node: T) -> T:
        """Mark every field of a node as carried over and return the node."""
        key = self._key(node)
        for name in _field_names(_kind(node)):
            self._taken.add((key, name))
        return node

    def _key(self, node: object) -> int:
        pair = self._stand_ins.get(id(node)) if self._stand_ins else None
        return id(pair[1] if pair else node)

    def losses(self) -> list[str]:
        """Return the names of what was said and not taken, each once, in order.

        Unknown wire fields come last, as ``unknown(<count>)``.
        """
        request = self.request
        found = dict.fromkeys(_safe(name) for name in request.leftover)
        found.update(dict.fromkeys(_safe(name) for name in self._walk(request)))
        if request.unknown:
            found[f"unknown({request.unknown})"] = None
        return list(found)

    def _walk(self, request: Request) -> Iterator[str]:
        for name in self._missed(request):
            value = getattr(request, name)
            label = request.names.get(name, name)
            if isinstance(value, _NODES) and self._touched(value):
                continue
            yield label
        for name in ("reasoning", "output", "tool_choice"):
            node = getattr(request, name)
            if node is not None and self._touched(node):
                label = request.names.get(name, name)
                yield from (f"{label}.{each}" for each in self._missed(node))
        for tool in request.tools:
            yield from self._lost_of(tool, f"tools.{tool.hosted or 'tool'}", "tools")
        for text in request.system:
            yield from self._lost_of(text, "system.text", "system.text")
        for message in request.messages:
            for part in message.parts:
                if isinstance(part, ToolResult) and part.made_up:
                    # The client never said it.
                    continue
                label = f"messages.{self._word(part)}"
                yield from self._lost_of(part, label, label)
                if isinstance(part, ToolResult) and self._touched(part):
                    for inner in part.parts:
                        inside = f"{label}.{self._word(inner)}"
                        yield from self._lost_of(inner, inside, inside)

    def _word(self, part: Part) -> str:
        """Return what the client calls a part of this kind."""
        word = _LABELS[type(part)]
        return self.request.names.get(f"parts.{word}", word)

    def _lost_of(self, node: Tool | object, label: str, prefix: str) -> Iterator[str]:
        if not self._touched(node):
            yield label
            return
        for name in self._missed(node):
            yield f"{prefix}.{name}"

    def _missed(self, node: object) -> Iterator[str]:
        skip = _NEVER_LOST.get(type(node), frozenset())
        for name, default in _defaults(_kind(node)):
            if name in skip or (id(node), name) in self._taken:
                continue
            value = getattr(node, name)
            if value is None or value == default or value == () or value == "":
                continue
            yield name

    def _touched(self, node: object) -> bool:
        return any((id(node), name) in self._taken for name in _field_names(_kind(node)))


def _kind(node: object) -> Any:
    """Return the class of a node, in a type that ``cache`` takes for hashable."""
    return type(node)


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (each.name, None if each.default is MISSING else each.default) for each in fields(kind)
    )


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


def _safe(name: str) -> str:
    return name if _NAME.fullmatch(name) else "?"


def header_value(losses: Iterable[str]) -> str:
    """Write the list for ``x-kurol-dropped``: at most 512 bytes, cut as ``+<n>``."""
    names = list(losses)
    text = ",".join(names)
    if len(text) <= _HEADER_BYTES:
        return text
    kept: list[str] = []
    size = 0
    for name in names:
        # Room for the note about the rest: a comma, a plus sign and a number.
        if size + len(name) + 1 > _HEADER_BYTES - 8:
            break
        kept.append(name)
        size += len(name) + 1
    return ",".join([*kept, f"+{len(names) - len(kept)}"])
