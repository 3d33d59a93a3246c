"""Anthropic Messages requests, neutral form -> wire.

The body's keys always stand in one order: the vendor's prompt cache works by prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Output, Tool, ToolChoice
from kurolproxy.protocols import schema, wire
from kurolproxy.protocols.anthropic import output_schema
from kurolproxy.protocols.anthropic.blocks_encode import Block, BlockEncoder, CacheHints
from kurolproxy.protocols.anthropic.passing import VERSION
from kurolproxy.protocols.anthropic.thinking import Thinking, ThinkingEncoder
from kurolproxy.protocols.base import Outgoing, TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames
from kurolproxy.protocols.normalise import alternate, remind

_DEFAULT_CAP = 8192
# With thinking on the vendor takes top_p in the uppermost range only.
_LEAST_TOP_P_THINKING = 0.95
_WEB_SEARCH = "web_search_20250305"
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}
_ONE_TEXT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
_TIERS = {"auto": "auto", "standard": "standard_only", "priority": "auto"}
_JSON_OBJECT = "Respond with a single JSON object and nothing else."
_JSON_SCHEMA = "Respond with a single JSON object that fits this JSON Schema and nothing else:\n"


def encode_request(reader: Reader, target: TargetView) -> Outgoing:
    """Write a normalised request.

    Raises:
        BadRequest: it asks for what cannot be said here: several answers, audio, media
            that the model does not take, a tool of another vendor as the only choice.
    """
    return _Encoder(reader, target).outgoing()


class _Encoder:
    """One request on its way out."""

    def __init__(self, reader: Reader, target: TargetView) -> None:
        self._reader = reader
        self._request = reader.request
        self._target = target
        self._traits = target.traits
        self._names = ToolNames()
        self._hints = CacheHints(reader)
        self._blocks = BlockEncoder(reader, target, self._names, self._hints)
        # What has no field of its own is said at the end of the system prompt.
        self._lines: list[str] = []

    def outgoing(self) -> Outgoing:
        self._one_answer()
        cap = self._cap()
        # Cache hints count in the order of the prompt: tools, system, messages.
        tools = self._tools()
        system = self._blocks.blocks(self._request.system)
        messages = self._messages()
        choice = self._choice(tools)
        thinking, choice = self._thinking(cap, choice, messages)
        config = self._output_config(thinking)
        stop, local_stop = self._stop()
        fields: dict[str, Any] = {
            "model": self._target.model,
            "max_tokens": cap,
            "system": system + [{"type": "text", "text": line} for line in self._lines],
            "messages": messages,
            "tools": tools,
            "tool_choice": self._parallel(choice, tools),
            "thinking": thinking.field,
            "output_config": config,
            "stop_sequences": stop,
            **self._sampling(thinking),
            "service_tier": self._tier(),
            "metadata": self._metadata(),
            "cache_control": self._cache(tools),
            "stream": self._reader.take(self._request, "stream"),
        }
        body = {name: value for name, value in fields.items() if _worth_saying(value)}
        return Outgoing(body, self._names, local_stop, {"anthropic-version": VERSION})

    def _one_answer(self) -> None:
        if self._reader.take(self._request, "n") > 1:
            raise BadRequest(
                f"Model {self._target.public_model} gives one answer to a request.",
                param=self._said("n"),
            )

    def _said(self, name: str) -> str:
        return self._request.names.get(name, name)

    def _cap(self) -> int:
        limits = [self._target.max_output_tokens, self._traits.max_output_tokens]
        limit = min((each for each in limits if each is not None), default=None)
        wish: int | None = self._reader.take(self._request, "max_tokens")
        if wish is None:
            return limit or _DEFAULT_CAP
        if wish <= 0:
            name = self._said("max_tokens")
            raise BadRequest(f"{name} must be at least 1.", param=name)
        return min(wish, limit) if limit else wish

    # --- messages -----------------------------------------------------------------------

    def _messages(self) -> list[Block]:
        turns = self._request.messages
        if not self._traits.mid_system:
            turns = remind(turns, self._reader)
        return self._blocks.messages(alternate(turns, prefill=self._traits.prefill))

    # --- tools --------------------------------------------------------------------------

    def _tools(self) -> list[Block]:
        choice = self._request.tool_choice
        allowed = choice.allowed if choice is not None else ()
        found: dict[str, Block] = {}
        for tool in self._request.tools:
            if allowed and not _among(tool, allowed):
                # Left out because the client wants it so: that is no loss.
                self._reader.whole(tool)
                continue
            block = self._tool(tool)
            if block is not None:
                # The vendor refuses a name that is declared twice: the last one counts.
                found[block["name"]] = block
        return list(found.values())

    def _tool(self, tool: Tool) -> Block | None:
        if tool.kind == "hosted":
            return self._hosted(tool)
        take = self._reader.take
        for name in ("name", "ns", "kind"):
            take(tool, name)
        custom = tool.kind == "custom"
        block: Block = {"name": self._names.declare(tool, wrapped=custom)}
        description = self._description(tool)
        if description:
            block["description"] = description
        block["input_schema"] = dict(_ONE_TEXT) if custom else _arguments(take(tool, "schema"))
        if tool.strict is False:
            take(tool, "strict")
        elif tool.strict and not custom and schema.closed(block["input_schema"]):
            block["strict"] = take(tool, "strict")
        self._hints.note(tool, block)
        return block

    def _description(self, tool: Tool) -> str:
        words = [self._reader.take(tool, "description") or ""]
        grammar = self._reader.take(tool, "grammar")
        if grammar:
            words.append(f"The input follows this {grammar.get('syntax') or ''} grammar:")
            words.append(str(grammar.get("definition") or ""))
        return "\n".join(word for word in words if word)

    def _hosted(self, tool: Tool) -> Block | None:
        if tool.hosted != "web_search" or tool.hosted not in self._traits.hosted_tools:
            return None
        self._reader.whole(tool)
        raw = tool.raw or {}
        block: Block = {"type": _WEB_SEARCH, "name": "web_search"}
        filters = raw.get("filters")
        domains = filters.get("allowed_domains") if isinstance(filters, Mapping) else None
        if domains:
            block["allowed_domains"] = domains
        place = _place(raw.get("user_location"))
        if place:
            block["user_location"] = place
        self._names.declare(Tool("web_search", "hosted", hosted="web_search"))
        return block

    # --- the choice of a tool -----------------------------------------------------------

    def _choice(self, tools: list[Block]) -> Block | None:
        choice = self._request.tool_choice
        if choice is None:
            return None
        self._reader.whole(choice)
        if choice.mode in ("required", "named"):
            return self._forced(choice, tools)
        return {"type": choice.mode} if tools else None

    def _forced(self, choice: ToolChoice, tools: list[Block]) -> Block:
        hosted = {tool.hosted for tool in self._request.tools if tool.kind == "hosted"}
        hosted |= {tool.name for tool in self._request.tools if tool.kind == "hosted"}
        declared = {block["name"] for block in tools}
        name = self._encoded(choice.name or "")
        if choice.mode == "named" and name not in declared and choice.name in hosted:
            raise self._no_tool(f"the tool {choice.name}")
        if not tools:
            raise self._no_tool("a tool")
        if choice.mode == "required":
            return {"type": "any"}
        return {"type": "tool", "name": name}

    def _no_tool(self, what: str) -> BadRequest:
        return BadRequest(
            f"tool_choice asks for {what}, which model {self._target.public_model} "
            "does not have here.",
            param="tool_choice",
        )

    def _encoded(self, name: str) -> str:
        for tool in self._request.tools:
            if tool.kind != "hosted" and _among(tool, (name,)):
                return self._names.encode(tool.name, tool.ns)
        return self._names.encode(name)

    def _asked(self, choice: Block) -> Block:
        """Ask in words for a call that cannot be forced."""
        tool = f"the tool {choice['name']}" if choice["type"] == "tool" else "one of the tools"
        self._lines.append(f"You must call {tool}.")
        return {"type": "auto"}

    def _parallel(self, choice: Block | None, tools: list[Block]) -> Block | None:
        parallel = self._reader.take(self._request, "parallel_tools")
        if not tools or parallel is not False:
            return choice
        if choice is None:
            choice = {"type": "auto"}
        # The choice of none has no such flag, and needs none.
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
        return choice

    # --- thinking, sampling, output -----------------------------------------------------

    def _thinking(
        self, cap: int, choice: Block | None, messages: list[Block]
    ) -> tuple[Thinking, Block | None]:
        """Settle thinking and a forced call, which exclude each other at the vendor."""
        forced = choice is not None and choice["type"] in ("any", "tool")
        if choice is not None and forced and not self._traits.forced_tool_choice:
            choice, forced = self._asked(choice), False
        encoder = ThinkingEncoder(self._reader, self._traits, cap)
        unproved = self._traits.thinking == "budget" and _unproved(messages)
        thinking = encoder.encode(may=not unproved and not (forced and encoder.can_be_off))
        if choice is not None and forced and thinking.on:
            choice = self._asked(choice)
        return thinking, choice

    def _sampling(self, thinking: Thinking) -> dict[str, Any]:
        allowed = self._traits.sampling
        if allowed == "no" or (allowed == "only_without_reasoning" and thinking.on):
            return {}
        request, take = self._request, self._reader.take
        out: dict[str, Any] = {}
        if request.temperature is not None and not thinking.on:
            out["temperature"] = _clamp(take(request, "temperature"))
        # Never both: the vendor refuses the pair.
        elif request.top_p is not None and (
            not thinking.on or request.top_p >= _LEAST_TOP_P_THINKING
        ):
            out["top_p"] = _clamp(take(request, "top_p"))
        if request.top_k is not None and not thinking.on:
            out["top_k"] = take(request, "top_k")
        return out

    def _stop(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the stop texts for the vendor, and those of white space, which it refuses."""
        texts = [text for text in self._reader.take(self._request, "stop") if text]
        return (
            [text for text in texts if text.strip()],
            tuple(text for text in texts if not text.strip()),
        )

    def _output_config(self, thinking: Thinking) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if thinking.effort is not None:
            config["effort"] = thinking.effort
        output = self._request.output
        if output is not None:
            answer = self._format(self._reader.whole(output))
            if answer is not None:
                config["format"] = answer
        return config

    def _format(self, output: Output) -> dict[str, Any] | None:
        if output.kind == "json_object" or output.schema is None:
            self._lines.append(_JSON_OBJECT)
            return None
        cleaned = schema.clean(output.schema)
        if output.description and "description" not in cleaned:
            cleaned["description"] = output.description
        if not self._traits.structured_output:
            self._lines.append(_JSON_SCHEMA + wire.compact(cleaned))
            return None
        return {"type": "json_schema", "schema": output_schema.sanitise(cleaned)}

    # --- everything else ----------------------------------------------------------------

    def _tier(self) -> str | None:
        tier = self._request.service_tier
        if not self._traits.allow_service_tier or tier not in _TIERS:
            return None
        self._reader.take(self._request, "service_tier")
        return _TIERS[tier]

    def _metadata(self) -> dict[str, str] | None:
        hashed = self._target.hash_user
        if hashed is None or self._request.user_ref is None:
            return None
        return {"user_id": hashed(self._reader.take(self._request, "user_ref"))}

    def _cache(self, tools: list[Block]) -> dict[str, Any] | None:
        control = self._hints.apply()
        if self._hints.given or not self._traits.auto_cache:
            return control
        # An agent's loop pays for its whole prompt each turn without it; a single question
        # would pay the surcharge of writing for nothing.
        worth = bool(tools) or len(self._request.messages) > 2
        return {"type": "ephemeral"} if worth else None


def _among(tool: Tool, wanted: tuple[str, ...]) -> bool:
    full = f"{tool.ns}__{tool.name}" if tool.ns else tool.name
    return tool.name in wanted or full in wanted or (tool.hosted or tool.name) in wanted


def _arguments(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the schema of a tool's arguments, which must be an object's."""
    cleaned = schema.clean(given or {})
    if not cleaned:
        return dict(_NO_ARGUMENTS)
    return cleaned if "type" in cleaned else {"type": "object", **cleaned}


def _place(location: object) -> dict[str, Any] | None:
    """Return where the user is; Chat nests it under ``approximate``."""
    if not isinstance(location, Mapping):
        return None
    inner = location.get("approximate")
    fields = inner if isinstance(inner, Mapping) else location
    place = {
        name: fields[name]
        for name in ("city", "region", "country", "timezone")
        if isinstance(fields.get(name), str)
    }
    return {"type": "approximate", **place} if place else None


def _worth_saying(value: object) -> bool:
    # A zero is said, an absence is not: 0 == False, so compare by identity.
    return value is not None and value is not False and value != [] and value != {}


def _clamp(value: float) -> float:
    return min(max(value, 0), 1)


def _unproved(messages: list[Block]) -> bool:
    """Return whether the last turn of the model called tools without its thoughts.

    The vendor refuses such a history while thinking by budget is on.
    """
    last = next((each for each in reversed(messages) if each["role"] == "assistant"), None)
    if last is None or all(block["type"] != "tool_use" for block in last["content"]):
        return False
    return last["content"][0]["type"] not in ("thinking", "redacted_thinking")
