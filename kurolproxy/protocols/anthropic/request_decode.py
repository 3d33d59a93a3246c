"""Anthropic Messages requests, wire -> neutral form.

Source: https://platform.claude.com/docs/en/api/messages and the parameter types of the
``anthropic`` SDK 2.x, GA and beta.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Literal

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    EFFORTS,
    Effort,
    Message,
    Output,
    Part,
    ReasoningWish,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols.anthropic.blocks_decode import Blocks, Notes, cache_hint
from kurolproxy.protocols.base import Fields

STATE: Mapping[str, str] = {
    "container": "container: the vendor's code execution only works with an anthropic upstream.",
    "mcp_servers": "mcp_servers: MCP servers that the vendor connects to only work with an "
    "anthropic upstream.",
    "compaction": "compaction: the vendor's compaction only works with an anthropic upstream.",
}
"""Fields that cannot be translated -> what the caller is told."""

# What the vendor knows and no other protocol has: dropped, by name.
_KNOWN = frozenset(
    {
        "billing_policy",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "speed",
        "user_profile_id",
        "workspace_id",
    }
)
_KNOWN_TOOL = frozenset({"allowed_callers", "eager_input_streaming", "input_examples"})
_KNOWN_OUTPUT = frozenset({"task_budget"})

_ATTRIBUTION = "x-anthropic-billing-header:"
_CLIENT_TOOLS = ("bash_", "text_editor_", "memory_", "computer", "browser")
# Prefix of the wire type -> our name of the tool that the vendor runs.
_HOSTED_TOOLS = {
    "web_search_": "web_search",
    "web_fetch_": "web_fetch",
    "code_execution_": "code_execution",
    "tool_search_tool_": "tool_search",
    "mcp_toolset": "mcp",
}
# Claude Code declares it to hold a place for tools that it may add later.
_PLACEHOLDER = "DeferredToolPlaceholder"

_TIERS: Mapping[str, Literal["auto", "standard"]] = {"auto": "auto", "standard_only": "standard"}
_CHOICES: Mapping[str, Literal["auto", "none", "required", "named"]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "tool": "named",
}
_NAMES = {
    "stop": "stop_sequences",
    "user_ref": "metadata.user_id",
    "cache": "cache_control",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "parts.file": "document",
    "parts.reasoning": "thinking",
    "parts.tool_call": "tool_use",
}


def check_max_tokens(value: object) -> int:
    """Return the output cap of a request, which this protocol insists on.

    Raises:
        BadRequest: it is missing, null, negative or no whole number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadRequest("max_tokens: Field required", param="max_tokens")
    return value


def decode_request(body: dict[str, Any]) -> Request:
    """Read a request that is going to be translated.

    Raises:
        BadRequest: a field is missing, has the wrong type, or stands for something that
            only the vendor has.
    """
    return _Decoder(body).request()


class _Decoder:
    """One request, read field by field."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._fields = Fields(body)
        self._notes = Notes()
        self._names = dict(_NAMES)
        # What the conversation says about tools: whether one is offered, and new ones.
        self._offered: dict[str, bool] = {}
        self._added: list[Tool] = []
        self._turn_effort: Effort | None = None
        self._blocks = Blocks(self._notes, self._load)

    def request(self) -> Request:
        fields = self._fields
        self._refuse_state()
        cap = self._cap()
        # The messages come first: they say which tools are offered and the last effort.
        model, messages = fields.need_text("model"), tuple(self._messages())
        tool_choice, parallel_tools = self._tool_choice()
        output, reasoning = self._output_and_reasoning()
        values: dict[str, Any] = {
            "stream": bool(fields.flag("stream")),
            "system": tuple(self._system()),
            "tools": tuple(self._tools()),
            "temperature": fields.number("temperature"),
            "top_p": fields.number("top_p"),
            "top_k": fields.integer("top_k"),
            "stop": self._stop(),
            "service_tier": self._tier(),
            "user_ref": self._user(),
            "cache": cache_hint(fields),
        }
        self._notes.rest(fields, _KNOWN, "")
        return Request(
            model,
            messages,
            max_tokens=cap,
            tool_choice=tool_choice,
            parallel_tools=parallel_tools,
            output=output,
            reasoning=reasoning,
            names=self._names,
            leftover=tuple(self._notes.names),
            unknown=self._notes.unknown,
            **values,
        )

    def _refuse_state(self) -> None:
        for name, told in STATE.items():
            # An empty list of servers asks for nothing.
            if self._fields.raw(name):
                raise BadRequest(told, param=name)
        thread = self._fields.object("thread")
        if thread is None:
            return
        if thread.get("type") == "continue":
            raise BadRequest(
                "thread: a conversation kept by the vendor only works with an anthropic "
                "upstream; send its messages.",
                param="thread",
            )
        self._notes.lost("thread")

    def _cap(self) -> int:
        cap = check_max_tokens(self._fields.raw("max_tokens"))
        if cap == 0:
            raise BadRequest(
                "max_tokens: 0 only warms the cache of an anthropic upstream; ask for 1 or more.",
                param="max_tokens",
            )
        return cap

    # --- system and messages ------------------------------------------------------------

    def _system(self) -> Iterator[Text]:
        content = self._fields.raw("system")
        for part in self._texts(content, "system") if content is not None else ():
            # Different in every release of Claude Code: it would spoil other vendors' caches.
            if not part.text.startswith(_ATTRIBUTION):
                yield part

    def _texts(self, content: object, where: str) -> Iterator[Text]:
        for part in self._blocks.parts(content, where):
            if not isinstance(part, Text):
                raise BadRequest(f"{where} may hold text only.", param=where)
            yield part

    def _messages(self) -> Iterator[Message]:
        items = self._fields.items("messages")
        if not items:
            raise BadRequest("messages: at least one message is required", param="messages")
        last_user = max(
            (at for at, each in enumerate(items) if _role(each) == "user"),
            default=-1,
        )
        for at, item in enumerate(items):
            where = f"messages[{at}]"
            if not isinstance(item, dict):
                raise BadRequest(f"{where} must be an object.", param=where)
            fields = Fields(item, where)
            if _role(item) == "system":
                yield from self._system_message(fields, answered=at < last_user)
            else:
                yield from self._message(fields)
            self._notes.rest(fields, frozenset(), "messages.")

    def _message(self, fields: Fields) -> Iterator[Message]:
        role = fields.need_text("role")
        if role not in ("user", "assistant"):
            path = fields.path("role")
            raise BadRequest(f"{path} must be user, assistant or system.", param=path)
        content = fields.raw("content")
        path = fields.path("content")
        if content is None:
            raise BadRequest(f"{path}: Field required", param=path)
        parts = tuple(self._blocks.parts(content, path))
        if role == "user" and any(isinstance(part, ToolCall) for part in parts):
            raise BadRequest(f"{path}: tool_use stands in assistant messages only.", param=path)
        yield from _split("user" if role == "user" else "assistant", parts)

    def _system_message(self, fields: Fields, *, answered: bool) -> Iterator[Message]:
        """Read a system message in the conversation, with its orders for the turn."""
        fields.raw("role")
        self._turn(fields)
        content = fields.raw("content")
        if isinstance(content, list):
            content = [each for each in content if not self._tool_change(each)]
        # Words for one turn are no longer shown once the user has spoken again.
        past = fields.text("clear_at") == "next_user_message" and answered
        if content is not None and not past:
            yield Message("system", tuple(self._texts(content, fields.path("content"))))

    def _turn(self, fields: Fields) -> None:
        config = fields.object("output_config")
        if config is None:
            return
        inner = Fields(config, fields.path("output_config"))
        self._turn_effort = self._effort(inner) or self._turn_effort
        self._notes.rest(inner, _KNOWN_OUTPUT, "messages.output_config.")

    # --- tools --------------------------------------------------------------------------

    def _load(self, name: str) -> None:
        self._offered[name] = True

    def _tool_change(self, block: object) -> bool:
        """Obey a ``tool_addition`` or ``tool_removal``; return whether it was one."""
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in ("tool_addition", "tool_removal") or not isinstance(block, dict):
            return False
        tool = block.get("tool")
        if not isinstance(tool, dict):
            return True
        definition = tool.get("definition")
        if isinstance(definition, dict):
            self._added += self._tool(definition, "tool_addition.tool.definition")
            tool = definition
        name = tool.get("name")
        if isinstance(name, str):
            self._offered[name] = kind == "tool_addition"
        return True

    def _tools(self) -> Iterator[Tool]:
        for at, item in enumerate(self._fields.items("tools") or ()):
            where = f"tools[{at}]"
            if not isinstance(item, dict):
                raise BadRequest(f"{where} must be an object.", param=where)
            for tool in self._tool(item, where):
                if self._offered.get(tool.name, True):
                    yield tool
        for tool in self._added:
            if self._offered.get(tool.name, True):
                yield tool

    def _tool(self, item: dict[str, Any], where: str) -> Iterable[Tool]:
        fields = Fields(item, where)
        kind = fields.text("type") or "custom"
        if kind.startswith(_CLIENT_TOOLS):
            path = fields.path("type")
            raise BadRequest(
                f"{path}: tool type {kind} only works with an anthropic upstream.", param=path
            )
        if kind != "custom":
            return (_hosted(kind, item),)
        name = fields.need_text("name")
        deferred = bool(fields.flag("defer_loading")) and not self._offered.get(name, False)
        tool = Tool(
            name,
            description=fields.text("description"),
            schema=fields.object("input_schema"),
            strict=fields.flag("strict"),
            cache=cache_hint(fields),
            deferred=deferred,
        )
        self._notes.rest(fields, _KNOWN_TOOL, "tools.")
        return () if name == _PLACEHOLDER else (tool,)

    def _tool_choice(self) -> tuple[ToolChoice | None, bool | None]:
        choice = self._fields.object("tool_choice")
        if choice is None:
            return None, None
        fields = Fields(choice, "tool_choice")
        kind = fields.need_text("type")
        mode = _CHOICES.get(kind)
        if mode is None:
            raise BadRequest(
                "tool_choice.type must be auto, any, tool or none.", param="tool_choice.type"
            )
        name = fields.need_text("name") if mode == "named" else None
        parallel = False if fields.flag("disable_parallel_tool_use") else None
        self._notes.rest(fields, frozenset(), "tool_choice.")
        return ToolChoice(mode, name), parallel

    # --- everything else ----------------------------------------------------------------

    def _stop(self) -> tuple[str, ...]:
        stop = self._fields.items("stop_sequences") or []
        for at, each in enumerate(stop):
            if not isinstance(each, str):
                path = f"stop_sequences[{at}]"
                raise BadRequest(f"{path} must be a string.", param=path)
        return tuple(stop)

    def _tier(self) -> Literal["auto", "standard"] | None:
        tier = self._fields.text("service_tier")
        if tier is not None and tier not in _TIERS:
            self._notes.lost("service_tier")
        return _TIERS.get(tier) if tier else None

    def _user(self) -> str | None:
        metadata = self._fields.object("metadata")
        if metadata is None:
            return None
        fields = Fields(metadata, "metadata")
        user = fields.text("user_id")
        self._notes.rest(fields, frozenset(), "metadata.")
        return user

    def _output_and_reasoning(self) -> tuple[Output | None, ReasoningWish | None]:
        config = Fields(self._fields.object("output_config") or {}, "output_config")
        top_effort = self._effort(config)
        effort = self._turn_effort or top_effort
        new, old = config.object("format"), self._fields.object("output_format")
        self._names["output"] = "output_format" if new is None and old else "output_config.format"
        output = _output(Fields(new or old or {}, self._names["output"]))
        self._notes.rest(config, _KNOWN_OUTPUT, "output_config.")
        return output, self._reasoning(effort)

    def _effort(self, config: Fields) -> Effort | None:
        said = config.text("effort")
        effort = next((each for each in EFFORTS if each == said), None)
        if said is not None and effort is None:
            self._notes.lost("output_config.effort")
        return effort

    def _reasoning(self, effort: Effort | None) -> ReasoningWish | None:
        thinking = self._fields.object("thinking")
        if thinking is None:
            self._names["reasoning"] = "output_config.effort"
            # Effort alone does not ask to read the thoughts.
            return ReasoningWish(effort, show="none") if effort else None
        self._names["reasoning"] = "thinking"
        fields = Fields(thinking, "thinking")
        wish = self._thinking(fields, effort)
        self._notes.rest(fields, frozenset(), "thinking.")
        return wish

    def _thinking(self, fields: Fields, effort: Effort | None) -> ReasoningWish:
        kind = fields.need_text("type")
        show: Literal["none", "summary"] = (
            "none" if fields.text("display") == "omitted" else "summary"
        )
        budget = fields.integer("budget_tokens")
        if kind == "disabled":
            if effort is not None:
                self._notes.lost("output_config.effort")
            return ReasoningWish(mode="off", show="none")
        if kind in ("adaptive", "between_tools"):
            return ReasoningWish(effort, mode="adaptive", show=show)
        if kind == "enabled":
            return ReasoningWish(effort, budget, None if budget is not None else "on", show)
        raise BadRequest(
            "thinking.type must be enabled, adaptive, between_tools or disabled.",
            param="thinking.type",
        )


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _split(role: Role, parts: tuple[Part, ...]) -> Iterator[Message]:
    """Yield a message; results of tools, which stand among a user's words, apart."""
    if not parts:
        yield Message(role, ())
    for is_result, run in groupby(parts, lambda part: isinstance(part, ToolResult)):
        yield Message("tool" if is_result else role, tuple(run))


def _hosted(kind: str, item: dict[str, Any]) -> Tool:
    """Read a tool that the vendor runs; encoders look into ``raw`` for its settings."""
    ours = next((ours for prefix, ours in _HOSTED_TOOLS.items() if kind.startswith(prefix)), kind)
    name = item.get("name")
    return Tool(name if isinstance(name, str) else kind, "hosted", hosted=ours, raw=item)


def _output(fields: Fields) -> Output | None:
    kind = fields.text("type")
    if kind is None:
        return None
    if kind != "json_schema":
        raise BadRequest(f"{fields.path('type')} must be json_schema.", param=fields.path("type"))
    schema = fields.object("schema")
    if schema is None:
        raise BadRequest(f"{fields.path('schema')}: Field required", param=fields.path("schema"))
    # This protocol promises that the answer fits the schema: elsewhere that is strict.
    return Output("json_schema", schema=schema, strict=True)
