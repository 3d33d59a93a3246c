"""The messages of a request, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Fields, TargetView, inner_fields
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames, sanitise
from kurolproxy.protocols.normalise import remind
from kurolproxy.protocols.openai_chat.parts import (
    PartWriter,
    WirePart,
    decode_content,
    thinking_text,
)

# --- decode ---------------------------------------------------------------------------------


def decode_messages(fields: Fields) -> tuple[Message, ...]:
    """Read ``messages`` in their order.

    Raises:
        BadRequest: there are none, or one has no known role or an unknown part.
    """
    items = fields.items("messages")
    if items is None:
        raise BadRequest("messages: Field required", param="messages")
    if not items:
        raise BadRequest("messages must hold at least one message.", param="messages")
    return tuple(_message(item, f"messages[{at}]") for at, item in enumerate(items))


def _message(item: Any, where: str) -> Message:
    fields = inner_fields(item, where)
    role = fields.need_text("role")
    reader = _ROLES.get(role)
    if reader is None:
        raise BadRequest(f"{where}.role must be one of {', '.join(_ROLES)}.", param=f"{where}.role")
    return reader(fields)


def _system(fields: Fields) -> Message:
    return Message("system", tuple(decode_content(fields)))


def _user(fields: Fields) -> Message:
    return Message("user", tuple(decode_content(fields)))


def _tool(fields: Fields) -> Message:
    call_id, name = fields.need_text("tool_call_id"), fields.text("name")
    return Message("tool", (ToolResult(call_id, _result_parts(fields), name),))


def _function(fields: Fields) -> Message:
    """Read a result of the deprecated form: it has no id, the name says whose it is."""
    result = ToolResult("", _result_parts(fields), fields.need_text("name"))
    return Message("tool", (result,))


def _result_parts(fields: Fields) -> tuple[Text | Image | File, ...]:
    parts = []
    for part in decode_content(fields):
        if not isinstance(part, Text | Image | File):
            raise fields.wrong("content", "text, images or files in the result of a tool")
        parts.append(part)
    return tuple(parts)


def _assistant(fields: Fields) -> Message:
    if fields.raw("audio") is not None:
        where = fields.path("audio")
        raise BadRequest(f"{where}: the gateway keeps no audio answers.", param=where)
    said = decode_content(fields)
    refusal = fields.text("refusal")
    if refusal:
        said.append(Refusal(refusal))
    thought = reasoning_text({name: fields.raw(name) for name in _THOUGHTS})
    return Message("assistant", tuple(_turn(said, thought, list(_calls(fields)))))


_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")


def reasoning_text(said: dict[str, Any]) -> str:
    """Return the reasoning of a message or a delta, under whichever name it stands.

    Vendors that use two names repeat the same text: the first that holds something counts.
    """
    for name in _THOUGHTS[:2]:
        value = said.get(name)
        if value and isinstance(value, str):
            return value
    details = said.get("reasoning_details")
    if not isinstance(details, list):
        return ""
    texts = (_detail(each) for each in details if isinstance(each, dict))
    return "".join(texts)


def _detail(detail: dict[str, Any]) -> str:
    for name in ("text", "summary", "thinking"):
        value = detail.get(name)
        if value:
            return thinking_text(value)
    return ""


def _calls(fields: Fields) -> Iterator[tuple[ToolCall, Seal | None]]:
    """Yield the calls of an assistant message, each with the seal it carries."""
    for at, item in enumerate(fields.items("tool_calls") or ()):
        call = inner_fields(item, f"{fields.path('tool_calls')}[{at}]")
        yield _call(call, item), _seal(item)
    legacy = fields.object("function_call")
    if legacy is not None and legacy.get("name"):
        inner = Fields(legacy, fields.path("function_call"))
        args = arguments_text(inner.raw("arguments"))
        yield ToolCall("", inner.need_text("name"), args), None


def _call(fields: Fields, item: dict[str, Any]) -> ToolCall:
    call_id = fields.text("id") or ""
    custom = fields.text("type") == "custom" or "custom" in item
    kind = "custom" if custom else "function"
    inner = inner_fields(item.get(kind), fields.path(kind))
    name = inner.need_text("name")
    if custom:
        return ToolCall(call_id, name, inner.text("input") or "", "custom")
    return ToolCall(call_id, name, arguments_text(inner.raw("arguments")))


def arguments_text(value: Any) -> str:
    """Return the arguments of a call as text: some write an object instead of a string."""
    if value is None:
        return ""
    return value if isinstance(value, str) else wire.compact(value)


def thought_signature(call: Any) -> str | None:
    """Return the proof of reasoning that a call carries."""
    for name in ("extra_content", "google"):
        call = call.get(name) if isinstance(call, dict) else None
    proof = call.get("thought_signature") if isinstance(call, dict) else None
    return proof if isinstance(proof, str) and proof else None


def _seal(call: dict[str, Any]) -> Seal | None:
    """Return our seal on a call; a vendor's own proof is of no use to another protocol."""
    proof = thought_signature(call)
    return None if proof is None else seals.decode(proof)


def _turn(
    said: list[Part], thought: str, calls: list[tuple[ToolCall, Seal | None]]
) -> Iterator[Part]:
    """Yield the parts of an assistant message in the order they were made.

    Reasoning comes first, and directly before the call that carries its seal when it is
    not the first one. A Gemini proof belongs to the part behind it: always its call.
    """
    before: list[Part] = []
    behind: list[Part] = []
    for call, seal in calls:
        if seal is not None:
            text = thought if seal.text is None else seal.text
            part = Reasoning("" if seal.redacted else text, seal, redacted=seal.redacted)
            first = not behind and seal.protocol != "g"
            (before if first else behind).append(part)
            thought = ""
        behind.append(call)
    if thought:
        yield Reasoning(thought)
    yield from before
    yield from said
    yield from behind


_ROLES: dict[str, Callable[[Fields], Message]] = {
    "system": _system,
    "developer": _system,
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
    "function": _function,
}


# --- encode ---------------------------------------------------------------------------------

_MAX_CALL_ID = 40
# What a user message may hold.
_SAID = Text | Image | File | Audio
_PLACEHOLDERS: dict[type, str] = {
    Image: "[image attached below]",
    File: "[file attached below]",
}


class MessageWriter:
    """Write the messages of a normalised request for one target."""

    def __init__(self, reader: Reader, target: TargetView, names: ToolNames) -> None:
        self._reader = reader
        self._traits = target.traits
        self._names = names
        self._parts = PartWriter(reader, target)
        self._system_role = "developer" if target.traits.developer_role else "system"
        # Media of tool results: a tool message holds text only, so they follow as the user's.
        self._media: list[WirePart] = []

    def write(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Write all messages.

        Args:
            lines: more to say as the system, behind what the client said.
        """
        request = self._reader.request
        system = self._parts.texts(request.system)
        system += [{"type": "text", "text": line} for line in lines]
        out = [self._system_message(system)] if system else []
        messages = request.messages
        if self._traits.system_position == "first":
            messages = remind(messages, self._reader)
        for message in messages:
            if message.role != "tool" and message.role != "user":
                out += self._attached()
            out += self._message(message)
        out += self._attached()
        if messages and messages[-1].role == "assistant" and not self._traits.prefill:
            out.append({"role": "user", "content": "Continue."})
        return out

    def _attached(self) -> list[dict[str, Any]]:
        """Return the media that wait as a user message of their own."""
        media, self._media = self._media, []
        return [{"role": "user", "content": media}] if media else []

    def _message(self, message: Message) -> list[dict[str, Any]]:
        if message.role == "tool":
            return [self._result(part) for part in message.parts if isinstance(part, ToolResult)]
        if message.role == "assistant":
            return [self._assistant(message)]
        parts = [self._parts.user(part) for part in message.parts if isinstance(part, _SAID)]
        if message.role == "system":
            return [self._system_message(parts)]
        media, self._media = self._media, []
        parts = [*media, *parts]
        content = _joined(parts, "") if len(parts) == 1 else parts
        return [{"role": "user", "content": content}]

    def _system_message(self, parts: list[WirePart]) -> dict[str, Any]:
        # Many servers take a plain string only here; nothing but a mark needs parts.
        return {"role": self._system_role, "content": _joined(parts, "\n\n")}

    def _assistant(self, message: Message) -> dict[str, Any]:
        take = self._reader.take
        texts = [take(part, "text") for part in message.parts if isinstance(part, Text)]
        refusals = [take(part, "text") for part in message.parts if isinstance(part, Refusal)]
        calls = self._calls(message)
        content = "".join(texts)
        out: dict[str, Any] = {"role": "assistant", "content": content or None}
        if refusals:
            out["refusal"] = "".join(refusals)
        if self._traits.replay_reasoning_content and calls:
            # DeepSeek: the key must be there on every message with calls, even if empty.
            out["reasoning_content"] = self._thoughts(message)
        if calls:
            out["tool_calls"] = calls
        elif not content:
            out["content"] = ""
        return out

    def _thoughts(self, message: Message) -> str:
        texts = []
        for part in message.parts:
            seal = self._restorable(part, "c")
            if seal is not None:
                self._reader.whole(part)
                texts.append(seal.text or "")
        return "".join(texts)

    def _restorable(self, part: Part, protocol: str) -> Seal | None:
        if not isinstance(part, Reasoning):
            return None
        return seals.restorable(part, protocol, self._traits.reasoning_family)

    def _calls(self, message: Message) -> list[dict[str, Any]]:
        """Write the calls, each with the Gemini proof that stands before it."""
        out: list[dict[str, Any]] = []
        proof = ""
        for part in message.parts:
            seal = self._restorable(part, "g")
            if seal is not None:
                self._reader.whole(part)
                proof = seal.proof
            elif isinstance(part, ToolCall):
                out.append(self._call(part, proof))
                proof = ""
        return out

    def _call(self, call: ToolCall, proof: str) -> dict[str, Any]:
        take = self._reader.take
        kind, args = take(call, "kind"), take(call, "args")
        name = self._names.encode(take(call, "name"), take(call, "ns"))
        call_id = sanitise(take(call, "id"), _MAX_CALL_ID)
        if kind == "custom" and self._traits.custom_tools:
            return {"id": call_id, "type": "custom", "custom": {"name": name, "input": args}}
        if kind == "custom":
            args = wire.compact({"input": args})
        function = {"name": name, "arguments": args or "{}"}
        out: dict[str, Any] = {"id": call_id, "type": "function", "function": function}
        if proof:
            out["extra_content"] = {"google": {"thought_signature": proof}}
        return out

    def _result(self, result: ToolResult) -> dict[str, Any]:
        take = self._reader.take
        take(result, "parts")
        take(result, "name")  # The call that the id points at has it.
        parts = [self._inner(part) for part in result.parts]
        if parts:
            parts[-1] = self._parts.mark(parts[-1], result)
        call_id = sanitise(take(result, "call_id"), _MAX_CALL_ID)
        return {"role": "tool", "tool_call_id": call_id, "content": _joined(parts, "\n")}

    def _inner(self, part: Text | Image | File) -> WirePart:
        """Write a part of a result; media move into the user message behind the results."""
        wired = self._parts.user(part)
        if wired["type"] == "text":
            return wired
        self._media.append(wired)
        return {"type": "text", "text": _PLACEHOLDERS[type(part)]}


def _joined(parts: list[WirePart], separator: str) -> str | list[WirePart]:
    """Return plain texts as one string; parts that say more stay parts."""
    if all(part.keys() == {"type", "text"} for part in parts):
        return separator.join(part["text"] for part in parts)
    return parts
