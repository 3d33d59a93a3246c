"""The one pass between decode and encode, and the rearrangements that encoders share.

Every message leaves here with parts, neighbours have different roles, every tool call is
answered by the message behind it, and nothing else is a tool result. Parts that did not
have to change are the same objects as before: losses are told by identity.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from kurolproxy.ir import (
    Message,
    Part,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols.losses import Reader

Messages = tuple[Message, ...]

_PLACEHOLDER = "DeferredToolPlaceholder"
_LOADED = re.compile(r"^Tool loaded: (.+?)\s*$", re.MULTILINE)
_INTERRUPTED = "No result: the call was interrupted."
_EMPTY = "(empty)"


def normalise(request: Request) -> Request:
    """Bring a request into the order that every encoder relies on; twice is once.

    Leading system messages become ``system``; empty parts and messages go; neighbours of
    one role are one message; the results of an assistant's calls stand in one message
    behind it, in call order; a result nobody asked for becomes text, a call nobody
    answered gets a result that says so; missing ids are made up; a tool is declared once
    (the last definition wins), and a deferred one only after the conversation named it.
    """
    messages = [_stripped(message) for message in request.messages]
    lead, rest = _leading(messages)
    system = tuple(text for text in (*request.system, *lead) if text.text)
    numbered, minted = _numbered(_merged(_filled(_sorted(rest))))
    normal = replace(request, system=system, messages=_merged(_paired(numbered, minted)))
    return replace(normal, tools=_offered(normal))


# --- empties, system, roles -------------------------------------------------------------


def _says(part: Part) -> bool:
    """Return whether a part holds anything."""
    if isinstance(part, Reasoning):
        return bool(part.text or part.seal or part.native or part.redacted)
    return bool(part.text) if isinstance(part, Text | Refusal) else True


def _stripped(message: Message) -> Message:
    parts = tuple(_bare(part) for part in message.parts if _says(part))
    return message if _same(parts, message.parts) else Message(message.role, parts)


def _bare(part: Part) -> Part:
    if not isinstance(part, ToolResult) or all(_says(each) for each in part.parts):
        return part
    return replace(part, parts=tuple(each for each in part.parts if _says(each)))


def _same(one: tuple[Part, ...], other: tuple[Part, ...]) -> bool:
    return len(one) == len(other) and all(map(lambda a, b: a is b, one, other))


def _leading(messages: list[Message]) -> tuple[list[Text], list[Message]]:
    """Split off the system text that comes before anything else is said.

    A system message that holds more than text stays where it is.
    """
    lead: list[Text] = []
    rest: list[Message] = []
    for at, message in enumerate(messages):
        texts = [part for part in message.parts if isinstance(part, Text)]
        if message.role == "system" and len(texts) == len(message.parts):
            lead += texts
        elif message.parts:
            return lead, rest + messages[at:]
        else:
            rest.append(message)
    return lead, rest


def _sorted(messages: Iterable[Message]) -> Iterator[Message]:
    """Give results, and nothing else, the role ``tool``."""
    for message in messages:
        mixed = any(
            isinstance(part, ToolResult) != (message.role == "tool") for part in message.parts
        )
        if not mixed:
            yield message
            continue
        other: Role = "user" if message.role == "tool" else message.role
        for is_result, run in groupby(message.parts, lambda part: isinstance(part, ToolResult)):
            yield Message("tool" if is_result else other, tuple(run))


def _filled(messages: Iterable[Message]) -> Iterator[Message]:
    """Drop messages without parts; a conversation whose users all say nothing says so."""
    listed = list(messages)
    users = [at for at, message in enumerate(listed) if message.role == "user"]
    silent = users[-1] if users and not any(listed[at].parts for at in users) else None
    for at, message in enumerate(listed):
        if at == silent:
            yield Message("user", (Text(_EMPTY),))
        elif message.parts:
            yield message


def _merged(messages: Iterable[Message]) -> Messages:
    """Join the parts of neighbours that have one role."""
    out: list[Message] = []
    for role, run in groupby(messages, lambda message: message.role):
        group = list(run)
        if len(group) == 1:
            out += group
        else:
            out.append(Message(role, tuple(part for each in group for part in each.parts)))
    return tuple(out)


# --- calls and their results ------------------------------------------------------------


def _numbered(messages: Messages) -> tuple[list[Message], set[str]]:
    """Give an id to the calls that have none (Gemini); also return the ids made up."""
    used = {part.id for each in messages for part in each.parts if isinstance(part, ToolCall)}
    minted: set[str] = set()
    if "" not in used:
        return list(messages), minted
    return [_with_ids(at, message, used, minted) for at, message in enumerate(messages)], minted


def _with_ids(at: int, message: Message, used: set[str], minted: set[str]) -> Message:
    parts: list[Part] = []
    for index, part in enumerate(message.parts):
        if isinstance(part, ToolCall) and not part.id:
            fresh = f"call_{at}_{index}"
            while fresh in used:
                fresh += "_"
            used.add(fresh)
            minted.add(fresh)
            part = replace(part, id=fresh)
        parts.append(part)
    return message if _same(tuple(parts), message.parts) else Message(message.role, tuple(parts))


def _paired(messages: list[Message], minted: set[str]) -> Iterator[Message]:
    """Put every turn's results behind its calls; what is left over becomes text."""
    turn = _Turn((), minted)
    waiting: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            yield from turn.results()
            yield from waiting
            calls = [part for part in message.parts if isinstance(part, ToolCall)]
            turn, waiting = _Turn(calls, minted), []
            yield message
        elif message.role == "tool":
            waiting += turn.answer(message)
        else:
            waiting.append(message)
    yield from turn.results()
    yield from waiting


class _Turn:
    """The calls of one assistant message, and the results found for them."""

    def __init__(self, calls: Iterable[ToolCall], minted: set[str]) -> None:
        self._calls = list(calls)
        self._found: list[list[ToolResult]] = [[] for _ in self._calls]
        self._order = deque(range(len(self._calls)))
        self._by_id: defaultdict[str, deque[int]] = defaultdict(deque)
        self._by_name: defaultdict[str, deque[int]] = defaultdict(deque)
        self._minted_by_name: defaultdict[str, deque[int]] = defaultdict(deque)
        self._last: dict[str, int] = {}
        for at, call in enumerate(self._calls):
            self._by_id[call.id].append(at)
            self._by_name[call.name].append(at)
            if call.id in minted:
                self._minted_by_name[call.name].append(at)
            self._last[call.id] = at

    def answer(self, message: Message) -> list[Message]:
        """Take the results of this turn; return what is not for it, as a user's words."""
        strays: list[Part] = []
        for part in message.parts:
            if not isinstance(part, ToolResult):
                continue
            at = self._call_of(part)
            if at is None:
                strays += _told(part)
            else:
                self._found[at].append(part)
        return [Message("user", tuple(strays))] if strays else []

    def results(self) -> Iterator[Message]:
        """Yield one message with a result for every call."""
        if self._calls:
            parts = (_result(*each) for each in zip(self._calls, self._found, strict=True))
            yield Message("tool", tuple(parts))

    def _call_of(self, result: ToolResult) -> int | None:
        if not result.call_id:
            return self._first(self._by_name[result.name] if result.name else self._order)
        at = self._first(self._by_id[result.call_id])
        if at is None:
            at = self._last.get(result.call_id)
        if at is None and result.name:
            # An id of the client's own making beside a call that never had one.
            at = self._first(self._minted_by_name[result.name])
        return at

    def _first(self, pool: deque[int]) -> int | None:
        """Return the first call of the pool that has no result yet."""
        while pool and self._found[pool[0]]:
            pool.popleft()
        return pool[0] if pool else None


def _result(call: ToolCall, found: list[ToolResult]) -> ToolResult:
    """Return the one result of a call; further ones add their parts to the first."""
    if not found:
        return ToolResult(call.id, (Text(_INTERRUPTED),), is_error=True, made_up=True)
    first = found[0]
    if len(found) > 1:
        first = replace(first, parts=tuple(part for each in found for part in each.parts))
    return first if first.call_id == call.id else replace(first, call_id=call.id)


def _told(result: ToolResult) -> list[Part]:
    """Return a result as a user's words: its call was cut off the history."""
    words = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    head = f"[result of {result.name or result.call_id or 'a tool'}]"
    others = [part for part in result.parts if not isinstance(part, Text)]
    return [Text(f"{head}\n{words}" if words else head), *others]


# --- tools ------------------------------------------------------------------------------


def _offered(request: Request) -> tuple[Tool, ...]:
    """Return the tools to declare: each name once, deferred ones only when referred to."""
    last: dict[object, Tool] = {}
    for at, tool in enumerate(request.tools):
        # A hosted tool's name says little: several may share one.
        last[at if tool.kind == "hosted" else (tool.ns, tool.name)] = tool
    tools = [tool for tool in last.values() if tool.name != _PLACEHOLDER]
    if any(tool.deferred for tool in tools):
        known = _referred(request)
        tools = [
            replace(tool, deferred=False) if tool.deferred else tool
            for tool in tools
            if not tool.deferred or not known.isdisjoint(_spellings(tool))
        ]
    return tuple(tools)


def _spellings(tool: Tool) -> tuple[str, ...]:
    if not tool.ns:
        return (tool.name,)
    return (tool.name, f"{tool.ns}__{tool.name}", f"{tool.ns}.{tool.name}")


def _referred(request: Request) -> set[str]:
    """Return the names of tools that were called, loaded, or are asked for by name."""
    names: set[str] = set()
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                names.add(part.name)
            inner = part.parts if isinstance(part, ToolResult) else (part,)
            for each in inner:
                if isinstance(each, Text):
                    names.update(_LOADED.findall(each.text))
    if request.tool_choice is not None and request.tool_choice.name:
        names.add(request.tool_choice.name)
    return names


# --- what some upstreams need besides ---------------------------------------------------


def without_reasoning(request: Request) -> Request | None:
    """Return a normalised request without thoughts and their proofs; None: it has none."""
    messages = tuple(map(_thoughtless, request.messages))
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return None
    return normalise(replace(request, messages=messages))


def _thoughtless(message: Message) -> Message:
    parts = tuple(
        replace(part, seal=None) if isinstance(part, ToolCall) and part.seal else part
        for part in message.parts
        if not isinstance(part, Reasoning)
    )
    return message if _same(parts, message.parts) else Message(message.role, parts)


def remind(messages: Messages, reader: Reader | None = None) -> Messages:
    """Say later system messages as the user, at their place, marked as reminders.

    Args:
        messages: of a normalised request.
        reader: told that the new texts stand for the old ones, so that what is taken
            from them is no loss.
    """
    if not any(message.role == "system" for message in messages):
        return messages
    return _merged(
        Message("user", tuple(_reminder(part, reader) for part in message.parts))
        if message.role == "system"
        else message
        for message in messages
    )


def _reminder(part: Part, reader: Reader | None) -> Part:
    if not isinstance(part, Text):
        return part
    new = Text(f"<system-reminder>\n{part.text}\n</system-reminder>", part.cache, part.citations)
    if reader is not None:
        reader.stand_in(new, part)
    return new


def alternate(messages: Messages, *, prefill: bool) -> Messages:
    """Let user and assistant take turns, the user first and, as a rule, last.

    Tool messages become the beginning of the user message behind them. System messages
    stay where they are: call ``remind`` before for an upstream that has none.

    Args:
        messages: of a normalised request.
        prefill: the upstream continues an assistant message that stands last.
    """
    turns = _merged(
        Message("user", message.parts) if message.role == "tool" else message
        for message in messages
    )
    turns = tuple(_results_first(message) for message in turns)
    if not turns:
        return (Message("user", (Text(_EMPTY),)),)
    if turns[0].role == "assistant":
        turns = (Message("user", (Text("(conversation continues)"),)), *turns)
    if turns[-1].role == "assistant" and not prefill:
        turns = (*turns, Message("user", (Text("Continue."),)))
    return turns


def _results_first(message: Message) -> Message:
    if message.role != "user":
        return message
    parts = tuple(sorted(message.parts, key=lambda part: not isinstance(part, ToolResult)))
    return message if _same(parts, message.parts) else Message("user", parts)
