"""Tools and the choice among them, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Tool, ToolChoice
from kurolproxy.protocols import schema as schemas
from kurolproxy.protocols.base import Fields, TargetView
from kurolproxy.protocols.gemini.parts_decode import Notes
from kurolproxy.protocols.gemini.schema_decode import to_json_schema
from kurolproxy.protocols.gemini.schema_encode import to_legacy
from kurolproxy.protocols.gemini.vocabulary import WireFields
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames

# Wire name of a tool that the vendor runs -> our name of it.
_HOSTED = {
    "googleSearch": "web_search",
    "googleSearchRetrieval": "web_search",
    "enterpriseWebSearch": "web_search",
    "codeExecution": "code_execution",
    "urlContext": "web_fetch",
    "fileSearch": "file_search",
    "mcpServers": "mcp",
}
# What we can ask the vendor to run, where the target lists it.
_OFFERED = {
    "web_search": "googleSearch",
    "code_execution": "codeExecution",
    "web_fetch": "urlContext",
}
# The client runs it, but only this vendor's models know its functions.
_CLIENT_TOOL = "computerUse"
_KNOWN_FUNCTION = frozenset({"behavior", "response", "responseJsonSchema"})
_KNOWN_CONFIG = frozenset({"includeServerSideToolInvocations", "retrievalConfig"})
_KNOWN_CALLING = frozenset({"streamFunctionCallArguments"})

_MODES: Mapping[str, Literal["auto", "none", "required"]] = {
    "AUTO": "auto",
    "VALIDATED": "auto",
    "ANY": "required",
    "NONE": "none",
}


# --- decode -----------------------------------------------------------------------------


def decode_tools(items: Iterable[Any], notes: Notes) -> Iterator[Tool]:
    """Yield the tools of a request; one entry may declare many."""
    for at, item in enumerate(items):
        where = f"tools[{at}]"
        if not isinstance(item, dict):
            raise BadRequest(f"{where} must be an object.", param=where)
        fields = WireFields(item, where)
        for index, declared in enumerate(fields.listed("functionDeclarations")):
            yield _function(declared, f"{where}.functionDeclarations[{index}]", notes)
        if fields.raw(_CLIENT_TOOL) is not None:
            path = fields.path(_CLIENT_TOOL)
            raise BadRequest(
                f"{path}: tool type {_CLIENT_TOOL} only works with a gemini upstream.", param=path
            )
        yield from _hosted(fields)


def _function(item: Any, where: str, notes: Notes) -> Tool:
    if not isinstance(item, dict):
        raise BadRequest(f"{where} must be an object.", param=where)
    fields = WireFields(item, where)
    standard, own = fields.object("parametersJsonSchema"), fields.object("parameters")
    if standard is None and own is not None:
        standard = to_json_schema(own)
    tool = Tool(
        fields.need_text("name"),
        description=fields.text("description"),
        schema=standard,
    )
    notes.rest(fields, _KNOWN_FUNCTION, "tools.")
    return tool


def _hosted(fields: WireFields) -> Iterator[Tool]:
    """Yield every other member: each is a tool that the vendor runs."""
    for name in fields.names():
        if name not in ("functionDeclarations", _CLIENT_TOOL) and fields.raw(name) is not None:
            raw = {name: fields.raw(name)}
            yield Tool(name, "hosted", hosted=_HOSTED.get(name, name), raw=raw)


def decode_choice(fields: Fields, notes: Notes) -> ToolChoice | None:
    """Read ``toolConfig``."""
    config = fields.object("toolConfig")
    if config is None:
        return None
    outer = WireFields(config, "toolConfig")
    calling = outer.object("functionCallingConfig")
    choice = None
    if calling is not None:
        inner = WireFields(calling, "toolConfig.functionCallingConfig")
        choice = _choice(inner)
        notes.rest(inner, _KNOWN_CALLING, "toolConfig.functionCallingConfig.")
    notes.rest(outer, _KNOWN_CONFIG, "toolConfig.")
    return choice


def _choice(fields: Fields) -> ToolChoice | None:
    word = (fields.text("mode") or "MODE_UNSPECIFIED").upper()
    allowed = fields.items("allowedFunctionNames") or []
    if not all(isinstance(name, str) for name in allowed):
        raise fields.wrong("allowedFunctionNames", "an array of strings")
    if word == "MODE_UNSPECIFIED":
        return None
    mode = _MODES.get(word)
    if mode is None:
        raise fields.wrong("mode", f"one of {', '.join(_MODES)}")
    if mode == "required" and len(allowed) == 1:
        return ToolChoice("named", allowed[0])
    return ToolChoice(mode, allowed=() if mode == "none" else tuple(allowed))


# --- encode -----------------------------------------------------------------------------

_WRAPPED: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


class ToolWriter:
    """Write the tools of one request, and the choice among them.

    Args:
        names: learns the name that each declared tool goes by.
        lines: gets what can only be said in words.
    """

    def __init__(
        self, reader: Reader, target: TargetView, names: ToolNames, lines: list[str]
    ) -> None:
        self._reader = reader
        self._request = reader.request
        self._target = target
        self._traits = target.traits
        self._names = names
        self._lines = lines

    def declare(self, body: dict[str, Any]) -> None:
        """Write ``tools`` and ``toolConfig`` into ``body``.

        Raises:
            BadRequest: the choice forces a tool that cannot be had.
        """
        functions = list(self._functions())
        hosted = list(dict.fromkeys(self._hosted()))
        found: list[dict[str, Any]] = [{"functionDeclarations": functions}] if functions else []
        found += [{name: {}} for name in hosted]
        if found:
            body["tools"] = found
        calling = self._choice({each["name"] for each in functions})
        if calling is not None:
            body["toolConfig"] = {"functionCallingConfig": calling}
        if self._request.parallel_tools is not False:
            # Several calls at once are this vendor's custom; there is no switch.
            self._reader.take(self._request, "parallel_tools")

    def _functions(self) -> Iterator[dict[str, Any]]:
        choice = self._request.tool_choice
        # Only a forced choice can be narrowed by name here; else the list itself says it.
        narrowed = choice is not None and (
            choice.mode == "auto" or not self._traits.forced_tool_choice
        )
        allowed = choice.allowed if choice is not None and narrowed else ()
        for tool in self._request.tools:
            if tool.kind == "hosted":
                continue
            if allowed and not _among(tool, allowed):
                # Left out because the client wants it so: that is no loss.
                self._reader.whole(tool)
                continue
            yield self._function(tool)

    def _function(self, tool: Tool) -> dict[str, Any]:
        take = self._reader.take
        for name in ("name", "ns", "kind"):
            take(tool, name)
        custom = tool.kind == "custom"
        function: dict[str, Any] = {"name": self._names.declare(tool, wrapped=custom)}
        description = self._description(tool)
        if description:
            function["description"] = description
        schema = dict(_WRAPPED) if custom else schemas.clean(take(tool, "schema") or {})
        if not tool.strict:
            take(tool, "strict")
        return function | self._parameters(schema, tool.name)

    def _parameters(self, schema: dict[str, Any], name: str) -> dict[str, Any]:
        if not schema:
            return {}
        if "type" not in schema:
            schema = {"type": "object", **schema}
        if self._traits.gemini_schema == "json":
            return {"parametersJsonSchema": schema}
        legacy = to_legacy(schema, f"the tool {name}")
        return {} if legacy is None else {"parameters": legacy}

    def _description(self, tool: Tool) -> str:
        words = [self._reader.take(tool, "description") or ""]
        grammar = self._reader.take(tool, "grammar")
        if grammar:
            words.append(f"The input follows this {grammar.get('syntax') or ''} grammar:")
            words.append(str(grammar.get("definition") or ""))
        return "\n".join(word for word in words if word)

    def _hosted(self) -> Iterator[str]:
        for tool in self._request.tools:
            wire_name = _OFFERED.get(tool.hosted or "") if tool.kind == "hosted" else None
            if wire_name is not None and tool.hosted in self._traits.hosted_tools:
                self._reader.whole(tool)
                yield wire_name

    # --- the choice ---------------------------------------------------------------------

    def _choice(self, declared: set[str]) -> dict[str, Any] | None:
        choice = self._request.tool_choice
        if choice is None:
            return None
        self._reader.whole(choice)
        if choice.mode in ("required", "named"):
            return self._forced(choice, declared)
        return {"mode": choice.mode.upper()} if declared else None

    def _forced(self, choice: ToolChoice, declared: set[str]) -> dict[str, Any]:
        wanted = (choice.name,) if choice.mode == "named" and choice.name else choice.allowed
        names = [self._encoded(name) for name in wanted]
        if choice.mode == "named" and not declared.issuperset(names) and self._runs(choice.name):
            raise self._no_tool(f"the tool {choice.name}")
        if not declared:
            raise self._no_tool("a tool")
        if not self._traits.forced_tool_choice:
            one = f"the tool {names[0]}" if choice.mode == "named" else "one of the tools"
            self._lines.append(f"You must call {one}.")
            return {"mode": "AUTO"}
        # A name that is not declared is refused by the vendor.
        known = [name for name in names if name in declared or choice.mode == "named"]
        return {"mode": "ANY", **({"allowedFunctionNames": known} if known else {})}

    def _runs(self, name: str | None) -> bool:
        """Return whether it is the name of a tool that a vendor runs."""
        return any(
            name in (tool.name, tool.hosted)
            for tool in self._request.tools
            if tool.kind == "hosted"
        )

    def _no_tool(self, what: str) -> BadRequest:
        label = self._request.names.get("tool_choice", "tool_choice")
        return BadRequest(
            f"{label} asks for {what}, which model {self._target.public_model} does not have here.",
            param=label,
        )

    def _encoded(self, name: str) -> str:
        for tool in self._request.tools:
            if tool.kind != "hosted" and _among(tool, (name,)):
                return self._names.encode(tool.name, tool.ns)
        return self._names.encode(name)


def _among(tool: Tool, wanted: tuple[str, ...]) -> bool:
    full = f"{tool.ns}__{tool.name}" if tool.ns else tool.name
    return tool.name in wanted or full in wanted
