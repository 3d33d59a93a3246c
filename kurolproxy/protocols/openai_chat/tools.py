"""Tools and the choice among them, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kurolproxy.errors import BadRequest
from kurolproxy.ir import CacheHint, Tool, ToolChoice
from kurolproxy.protocols import schema as schemas
from kurolproxy.protocols.base import Fields, TargetView, inner_fields
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames

WEB_SEARCH = "web_search"
_WEB_SEARCH_FIELDS = ("search_context_size", "user_location")

# ttl in the words of OpenAI's mark and of OpenRouter's -> seconds.
_TTLS = {"5m": 300, "1h": 3600, "30m": 1800, "12h": 43200}


def decode_cache(fields: Fields) -> CacheHint | None:
    """Read the cache mark of a part or a tool, in either spelling."""
    for name in ("prompt_cache_breakpoint", "cache_control"):
        mark = fields.raw(name)
        if isinstance(mark, dict):
            return CacheHint(_TTLS.get(str(mark.get("ttl"))))
    return None


# --- decode ---------------------------------------------------------------------------------


def decode_tools(fields: Fields) -> tuple[Tool, ...]:
    """Read ``tools``, the deprecated ``functions``, and ``web_search_options``."""
    tools = [
        _tool(item, f"{fields.path('tools')}[{at}]")
        for at, item in enumerate(fields.items("tools") or ())
    ]
    tools += [
        _function(inner_fields(item, f"{fields.path('functions')}[{at}]"))
        for at, item in enumerate(fields.items("functions") or ())
    ]
    options = fields.object("web_search_options")
    if options is not None:
        tools.append(Tool(WEB_SEARCH, "hosted", hosted=WEB_SEARCH, raw=_flat_search(options)))
    return tuple(tools)


def _tool(item: Any, where: str) -> Tool:
    fields = inner_fields(item, where)
    kind = fields.text("type") or "function"
    cache = decode_cache(fields)
    if kind == "function":
        return _function(inner_fields(item.get(kind), fields.path(kind)), cache)
    if kind == "custom":
        return _custom(inner_fields(item.get(kind), fields.path(kind)), cache)
    # A vendor's own tool (xAI, OpenRouter): known by its type only.
    return Tool(kind, "hosted", hosted=kind, raw=item, cache=cache)


def _function(fields: Fields, cache: CacheHint | None = None) -> Tool:
    return Tool(
        fields.need_text("name"),
        description=fields.text("description"),
        schema=fields.object("parameters"),
        strict=fields.flag("strict"),
        cache=cache,
    )


def _custom(fields: Fields, cache: CacheHint | None) -> Tool:
    return Tool(
        fields.need_text("name"),
        "custom",
        description=fields.text("description"),
        grammar=_grammar(fields),
        cache=cache,
    )


def _grammar(fields: Fields) -> Mapping[str, str] | None:
    form = fields.object("format")
    if form is None or form.get("type") != "grammar":
        return None
    path = fields.path("format")
    # Chat nests the grammar; the flat form of Responses is taken as well.
    nested = "grammar" in form
    grammar = inner_fields(form["grammar"], f"{path}.grammar") if nested else Fields(form, path)
    return {"syntax": grammar.need_text("syntax"), "definition": grammar.need_text("definition")}


def _flat_search(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in the flat form that the tools of the other protocols have."""
    flat = {"type": WEB_SEARCH, **options}
    location = options.get("user_location")
    if isinstance(location, dict) and isinstance(location.get("approximate"), dict):
        flat["user_location"] = {"type": "approximate", **location["approximate"]}
    return flat


_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # Mistral
}


def decode_choice(fields: Fields) -> ToolChoice | None:
    """Read ``tool_choice``, or the deprecated ``function_call``."""
    for name in ("tool_choice", "function_call"):
        value = fields.raw(name)
        if isinstance(value, str) and value in _MODES:
            return ToolChoice(_MODES[value])
        if isinstance(value, dict):
            return _choice(value, fields.path(name))
        if value is not None:
            raise fields.wrong(name, "one of none, auto, required, or an object")
    return None


def _choice(value: dict[str, Any], where: str) -> ToolChoice:
    fields = Fields(value, where)
    kind = fields.text("type") or "function"
    if kind == "allowed_tools":
        return _allowed(value, where)
    if kind in ("function", "custom"):
        return ToolChoice("named", _named(value, where))
    return ToolChoice(_MODES[kind]) if kind in _MODES else ToolChoice("named", kind)


def _named(value: Any, where: str) -> str:
    """Return the name in a reference, nested under its type (Chat) or beside it."""
    fields = inner_fields(value, where)
    kind = fields.text("type") or "function"
    if kind in value:
        fields = inner_fields(value[kind], fields.path(kind))
    return fields.need_text("name")


def _allowed(value: dict[str, Any], where: str) -> ToolChoice:
    fields = Fields(value, where)
    if "allowed_tools" in value:
        fields = inner_fields(value["allowed_tools"], fields.path("allowed_tools"))
    names = tuple(
        _named(item, f"{fields.path('tools')}[{at}]")
        for at, item in enumerate(fields.items("tools") or ())
    )
    required = fields.text("mode") == "required"
    return ToolChoice("required" if required else "auto", allowed=names)


# --- encode ---------------------------------------------------------------------------------

_WRAPPED = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


class ToolWriter:
    """Write the tools of one request, and what refers to them.

    Args:
        names: learns the name that each declared tool goes by.
    """

    def __init__(self, reader: Reader, target: TargetView, names: ToolNames) -> None:
        self._reader = reader
        self._request = reader.request
        self._target = target
        self._traits = target.traits
        self._names = names

    def declare(self, body: dict[str, Any]) -> list[str]:
        """Write ``tools``, ``tool_choice`` and what belongs to them into ``body``.

        Returns:
            lines to say as the system where a field cannot say it.

        Raises:
            BadRequest: the choice forces a tool that cannot be had.
        """
        offered = self._offered()
        declared = [self._tool(tool) for tool in self._request.tools if tool.kind != "hosted"]
        declared = [each for each, keep in zip(declared, offered, strict=True) if keep]
        if declared:
            body["tools"] = declared
        search = self._web_search()
        if search is not None:
            body["web_search_options"] = search
        lines = self._choose(body, has_tools=bool(declared))
        parallel = self._reader.take(self._request, "parallel_tools")
        if parallel is not None and declared:
            body["parallel_tool_calls"] = parallel
        return lines

    def _offered(self) -> list[bool]:
        """Return which tools are offered: all, unless the list itself has to say ``allowed``."""
        tools = [tool for tool in self._request.tools if tool.kind != "hosted"]
        choice = self._request.tool_choice
        # allowed_tools is OpenAI's own; who has custom tools has it too.
        if choice is None or not choice.allowed or self._traits.custom_tools:
            return [True] * len(tools)
        return [tool.name in choice.allowed for tool in tools]

    def _tool(self, tool: Tool) -> dict[str, Any]:
        take = self._reader.take
        for name in ("name", "kind", "ns", "deferred"):
            take(tool, name)
        wrapped = tool.kind == "custom" and not self._traits.custom_tools
        name = self._names.declare(tool, wrapped=wrapped)
        described = take(tool, "description")
        if tool.kind == "custom":
            grammar = take(tool, "grammar")
            if not wrapped:
                return _custom_tool(name, described, grammar)
            return _function_tool(name, _with_grammar(described, grammar), _WRAPPED)
        schema = take(tool, "schema")
        cleaned = None if schema is None else schemas.clean(schema)
        strict = bool(tool.strict) and cleaned is not None and schemas.closed(cleaned)
        if strict or not tool.strict:
            take(tool, "strict")
        return _function_tool(name, described, cleaned, strict=strict)

    def _web_search(self) -> dict[str, Any] | None:
        if WEB_SEARCH not in self._traits.hosted_tools:
            return None
        for tool in self._request.tools:
            if tool.kind == "hosted" and tool.hosted == WEB_SEARCH:
                return _search_options(self._reader.whole(tool).raw or {})
        return None

    def _choose(self, body: dict[str, Any], *, has_tools: bool) -> list[str]:
        choice = self._request.tool_choice
        if choice is None:
            return []
        self._refuse_hosted(choice, has_tools=has_tools)
        self._reader.take(self._request, "tool_choice")
        self._reader.whole(choice)
        if not has_tools:
            return []
        if choice.mode in ("required", "named") and not self._traits.forced_tool_choice:
            body["tool_choice"] = "auto"
            return [_must_call(choice)]
        body["tool_choice"] = self._choice(choice)
        return []

    def _refuse_hosted(self, choice: ToolChoice, *, has_tools: bool) -> None:
        """Raise when the choice forces what no Chat upstream can be forced to call."""
        hosted = {
            name
            for tool in self._request.tools
            if tool.kind == "hosted"
            for name in (tool.name, tool.hosted)
        }
        label = self._request.names.get("tool_choice", "tool_choice")
        model = self._target.public_model
        if choice.mode == "named" and choice.name in hosted:
            raise BadRequest(
                f"{label}: the tool {choice.name} cannot be forced with the model {model}.",
                param=label,
            )
        if choice.mode in ("required", "named") and not has_tools:
            raise BadRequest(
                f"{label}: a tool call is required, but there is no tool that the model {model}"
                " can call.",
                param=label,
            )

    def _choice(self, choice: ToolChoice) -> Any:
        if choice.mode == "named":
            return self._reference(choice.name or "")
        if choice.allowed and self._traits.custom_tools:
            allowed = [self._reference(name) for name in choice.allowed]
            return {
                "type": "allowed_tools",
                "allowed_tools": {"mode": choice.mode, "tools": allowed},
            }
        return choice.mode

    def _reference(self, name: str) -> dict[str, Any]:
        tool = next((tool for tool in self._request.tools if tool.name == name), Tool(name))
        custom = tool.kind == "custom" and self._traits.custom_tools
        kind = "custom" if custom else "function"
        return {"type": kind, kind: {"name": self._names.encode(tool.name, tool.ns)}}


def _must_call(choice: ToolChoice) -> str:
    return f"You must call the tool {choice.name}." if choice.name else "You must call a tool."


def _function_tool(
    name: str, description: str | None, schema: Mapping[str, Any] | None, *, strict: bool = False
) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if description is not None:
        function["description"] = description
    if schema is not None:
        function["parameters"] = dict(schema)
    if strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _custom_tool(
    name: str, description: str | None, grammar: Mapping[str, str] | None
) -> dict[str, Any]:
    custom: dict[str, Any] = {"name": name}
    if description is not None:
        custom["description"] = description
    if grammar is not None:
        custom["format"] = {"type": "grammar", "grammar": dict(grammar)}
    return {"type": "custom", "custom": custom}


def _with_grammar(description: str | None, grammar: Mapping[str, str] | None) -> str | None:
    """Return the description with the grammar's text behind it: a function has no other place."""
    if grammar is None:
        return description
    rule = f"The input must match this {grammar.get('syntax', '')} grammar:"
    text = f"{rule}\n{grammar.get('definition', '')}"
    return f"{description}\n\n{text}" if description else text


def _search_options(raw: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: raw[name] for name in _WEB_SEARCH_FIELDS if raw.get(name) is not None}
    location = options.get("user_location")
    if isinstance(location, dict) and "approximate" not in location:
        near = {name: value for name, value in location.items() if name != "type"}
        options["user_location"] = {"type": "approximate", "approximate": near}
    return options
