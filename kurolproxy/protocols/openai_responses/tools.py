"""Tools and the choice among them, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Tool, ToolChoice
from kurolproxy.protocols import schema as schemas
from kurolproxy.protocols.base import Fields, TargetView, inner_fields
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames, sanitise
from kurolproxy.protocols.openai_responses.notes import Notes
from kurolproxy.protocols.openai_responses.vocabulary import TOOL_SEARCH, WEB_SEARCH

ONLY_HERE = "only works with an OpenAI Responses upstream"
"""How a refusal of what has no meaning elsewhere ends."""

# The model knows these by heart: no other model could be told what they take.
_TYPED_TOOLS = frozenset({"apply_patch", "local_shell", "shell"})
_PLACELESS = ("allowed_callers", "async", "output_schema")


# --- decode ---------------------------------------------------------------------------------


class ToolReader:
    """Read declarations of tools, wherever they stand.

    Args:
        notes: told of what has no place.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def tools(self, fields: Fields) -> Iterator[Tool]:
        """Yield the tools of an object's ``tools``; those of namespaces one by one.

        Raises:
            BadRequest: one has no name, or a type that only the vendor's models know.
        """
        where = fields.path("tools")
        for at, item in enumerate(fields.items("tools") or ()):
            yield from self._tool(item, f"{where}[{at}]", None)

    def _tool(self, item: Any, where: str, ns: str | None) -> Iterator[Tool]:
        fields = inner_fields(item, where)
        kind = fields.text("type") or "function"
        if kind == "function":
            yield self._function(fields, ns)
        elif kind == "custom":
            yield self._custom(fields, ns)
        elif kind == "namespace" and ns is None:
            yield from self._namespace(fields)
        elif kind in _TYPED_TOOLS or kind == "namespace":
            raise _refused_tool(fields, kind)
        elif kind == TOOL_SEARCH and fields.text("execution") == "client":
            yield self._tool_search(fields)
        else:
            name = _hosted_name(kind)
            yield Tool(name, "hosted", hosted=name, raw=item)

    def _function(self, fields: Fields, ns: str | None) -> Tool:
        tool = Tool(
            fields.need_text("name"),
            description=fields.text("description"),
            schema=fields.object("parameters"),
            strict=fields.flag("strict"),
            ns=ns,
            deferred=bool(fields.flag("defer_loading")),
        )
        self._notes.rest(fields, _PLACELESS, "tools.")
        return tool

    def _custom(self, fields: Fields, ns: str | None) -> Tool:
        tool = Tool(
            fields.need_text("name"),
            "custom",
            description=fields.text("description"),
            grammar=_grammar(fields),
            ns=ns,
            deferred=bool(fields.flag("defer_loading")),
        )
        self._notes.rest(fields, _PLACELESS, "tools.")
        return tool

    def _namespace(self, fields: Fields) -> Iterator[Tool]:
        ns = fields.need_text("name")
        where = fields.path("tools")
        for at, item in enumerate(fields.items("tools") or ()):
            yield from self._tool(item, f"{where}[{at}]", ns)
        self._notes.rest(fields, ("description",), "tools.namespace.")

    def _tool_search(self, fields: Fields) -> Tool:
        """Read the search that the client runs: to any model it is a plain function."""
        tool = Tool(
            TOOL_SEARCH,
            description=fields.text("description"),
            schema=fields.object("parameters"),
        )
        self._notes.rest(fields)
        return tool


def _refused_tool(fields: Fields, kind: str) -> BadRequest:
    path = fields.path("type")
    if kind == "namespace":
        return BadRequest(f"{path}: a namespace cannot stand in a namespace.", param=path)
    return BadRequest(f"{path}: tool type {kind} {ONLY_HERE}.", param=path)


def _grammar(fields: Fields) -> Mapping[str, str] | None:
    form = fields.object("format")
    if form is None or form.get("type") != "grammar":
        return None
    grammar = Fields(form, fields.path("format"))
    return {"syntax": grammar.need_text("syntax"), "definition": grammar.need_text("definition")}


def _hosted_name(kind: str) -> str:
    """Return our name of a tool that the vendor runs; ``web_search`` has dated spellings."""
    return WEB_SEARCH if kind.startswith(WEB_SEARCH) else kind


_MODES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}


def decode_choice(fields: Fields) -> ToolChoice | None:
    """Read ``tool_choice``.

    Raises:
        BadRequest: it is none of the known forms, or forces a tool of this vendor's models.
    """
    value = fields.raw("tool_choice")
    if value is None:
        return None
    if isinstance(value, str) and value in _MODES:
        return ToolChoice(_MODES[value])
    if not isinstance(value, dict):
        raise fields.wrong("tool_choice", "one of none, auto, required, or an object")
    choice = Fields(value, fields.path("tool_choice"))
    if choice.need_text("type") != "allowed_tools":
        return ToolChoice("named", _named(choice))
    where = choice.path("tools")
    names = tuple(
        _named(inner_fields(item, f"{where}[{at}]"))
        for at, item in enumerate(choice.items("tools") or ())
    )
    return ToolChoice("required" if choice.text("mode") == "required" else "auto", allowed=names)


def _named(fields: Fields) -> str:
    """Return the name in a reference; a tool that the vendor runs goes by its type."""
    kind = fields.need_text("type")
    if kind in ("function", "custom"):
        return fields.need_text("name")
    if kind in _TYPED_TOOLS:
        raise _refused_tool(fields, kind)
    return _hosted_name(kind)


# --- encode ---------------------------------------------------------------------------------

_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


def called(names: ToolNames, name: str, ns: str | None) -> dict[str, str]:
    """Return what a call says of its tool: the name, and the namespace if it has one."""
    if ns and _sayable(name, ns):
        return {"name": name, "namespace": ns}
    return {"name": names.encode(name, ns)}


def _sayable(name: str, ns: str) -> bool:
    """Return whether both names are the vendor's kind; else they are joined into one."""
    return sanitise(name) == name and sanitise(ns) == ns


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
        tools = self._tools()
        if tools:
            body["tools"] = tools
        lines = self._choose(body)
        parallel = self._reader.take(self._request, "parallel_tools")
        if parallel is not None and tools:
            body["parallel_tool_calls"] = parallel
        return lines

    # --- declarations -------------------------------------------------------------------

    def _tools(self) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        spaces: dict[str, list[dict[str, Any]]] = {}
        for tool in self._request.tools:
            if tool.kind == "hosted":
                out += self._web_search(tool, out)
                continue
            wired = self._tool(tool)
            if not tool.ns or not _sayable(tool.name, tool.ns):
                out.append(wired)
                continue
            if tool.ns not in spaces:
                spaces[tool.ns] = []
                out.append(_namespace(tool.ns, spaces[tool.ns]))
            spaces[tool.ns].append({**wired, "name": tool.name})
        return out

    def _tool(self, tool: Tool) -> dict[str, Any]:
        take = self._reader.take
        for name in ("name", "kind", "ns", "deferred"):
            take(tool, name)
        out: dict[str, Any] = {"type": tool.kind, "name": self._names.declare(tool)}
        described = take(tool, "description")
        if described is not None:
            out["description"] = described
        if tool.kind == "custom":
            grammar = take(tool, "grammar")
            if grammar is not None:
                out["format"] = {"type": "grammar", **grammar}
            return out
        out["parameters"] = _parameters(take(tool, "schema"))
        strict = bool(tool.strict) and schemas.closed(out["parameters"])
        if strict or not tool.strict:
            take(tool, "strict")
        # Left out it would mean: strict, if the schema allows it.
        out["strict"] = strict
        return out

    def _web_search(self, tool: Tool, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if tool.hosted != WEB_SEARCH or WEB_SEARCH not in self._traits.hosted_tools:
            return []
        if any(each["type"] == WEB_SEARCH for each in before):
            return []
        return [_search(self._reader.whole(tool).raw or {})]

    # --- the choice ---------------------------------------------------------------------

    def _choose(self, body: dict[str, Any]) -> list[str]:
        choice = self._request.tool_choice
        if choice is None:
            return []
        references = self._references(choice, body)
        self._refuse_unmet(choice, references)
        self._reader.take(self._request, "tool_choice")
        self._reader.whole(choice)
        if "tools" not in body:
            return []
        if choice.mode in ("required", "named") and not self._traits.forced_tool_choice:
            body["tool_choice"] = "auto"
            return [_must_call(choice)]
        body["tool_choice"] = _choice(choice, references)
        return []

    def _references(self, choice: ToolChoice, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the tools that the choice names, as far as they can be had."""
        names = choice.allowed or ([choice.name] if choice.name else [])
        searches = any(each["type"] == WEB_SEARCH for each in body.get("tools", ()))
        found: list[dict[str, Any]] = []
        for name in names:
            tool = next((each for each in self._request.tools if _goes_by(each, name)), None)
            if tool is None or tool.kind != "hosted":
                found.append(self._reference(tool or Tool(name)))
            elif searches and choice.allowed and tool.hosted == WEB_SEARCH:
                found.append({"type": WEB_SEARCH})
        return found

    def _reference(self, tool: Tool) -> dict[str, Any]:
        name = called(self._names, tool.name, tool.ns)["name"]
        return {"type": tool.kind, "name": name}

    def _refuse_unmet(self, choice: ToolChoice, references: list[dict[str, Any]]) -> None:
        """Raise when the choice forces what this target cannot be made to call."""
        if choice.mode not in ("required", "named"):
            return
        label = self._request.names.get("tool_choice", "tool_choice")
        model = self._target.public_model
        if choice.mode == "named" and not references:
            raise BadRequest(
                f"{label}: the tool {choice.name} cannot be forced with the model {model}.",
                param=label,
            )
        narrowed_away = bool(choice.allowed) and not references
        if narrowed_away or not self._any_tool():
            raise BadRequest(
                f"{label}: a tool call is required, but there is no tool that the model {model}"
                " can call.",
                param=label,
            )

    def _any_tool(self) -> bool:
        return any(
            tool.kind != "hosted"
            or (tool.hosted == WEB_SEARCH and WEB_SEARCH in self._traits.hosted_tools)
            for tool in self._request.tools
        )


def _namespace(ns: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    # The description is required; the neutral form has none.
    return {"type": "namespace", "name": ns, "description": f"Tools of {ns}.", "tools": tools}


def _goes_by(tool: Tool, name: str) -> bool:
    return name in (tool.name, tool.hosted) or bool(tool.ns and name == f"{tool.ns}__{tool.name}")


def _parameters(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the schema of a function's arguments, which must be an object's."""
    cleaned = schemas.clean(schema or {})
    if not cleaned:
        return dict(_NO_ARGUMENTS)
    if "type" not in cleaned:
        cleaned = {"type": "object", **cleaned}
    if cleaned["type"] == "object" and "properties" not in cleaned:
        # OpenAI: "object schema missing properties".
        cleaned["properties"] = {}
    return cleaned


def _search(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the web search with the settings that it shares with those of other vendors."""
    out: dict[str, Any] = {"type": WEB_SEARCH}
    filters = raw.get("filters")
    inner = filters if isinstance(filters, Mapping) else raw
    domains = inner.get("allowed_domains")
    if isinstance(domains, list) and domains:
        out["filters"] = {"allowed_domains": domains}
    location = raw.get("user_location")
    if isinstance(location, Mapping) and location:
        nested = location.get("approximate")
        place = nested if isinstance(nested, Mapping) else location
        out["user_location"] = {**place, "type": "approximate"}
    if isinstance(raw.get("search_context_size"), str):
        out["search_context_size"] = raw["search_context_size"]
    return out


def _must_call(choice: ToolChoice) -> str:
    return f"You must call the tool {choice.name}." if choice.name else "You must call a tool."


def _choice(choice: ToolChoice, references: list[dict[str, Any]]) -> Any:
    if choice.mode == "named":
        return references[0]
    if not choice.allowed:
        return choice.mode
    if not references:
        return "none"
    return {"type": "allowed_tools", "mode": choice.mode, "tools": references}
