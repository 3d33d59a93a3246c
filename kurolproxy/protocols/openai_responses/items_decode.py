"""The items of a request's ``input``, wire -> neutral messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import File, Image, Message, Text, Tool, ToolCall, ToolResult
from kurolproxy.protocols.base import Fields, inner_fields
from kurolproxy.protocols.openai_responses.notes import Notes
from kurolproxy.protocols.openai_responses.parts import PartReader
from kurolproxy.protocols.openai_responses.passing import (
    is_reference,
    refused_reference,
)
from kurolproxy.protocols.openai_responses.tools import (
    ONLY_HERE,
    ToolReader,
)
from kurolproxy.protocols.openai_responses.vocabulary import (
    ADDITIONAL_TOOLS,
    CONFIGURATION_UPDATE,
    CUSTOM_CALL,
    CUSTOM_OUTPUT,
    FUNCTION_CALL,
    FUNCTION_OUTPUT,
    MESSAGE,
    REASONING,
    ROLES,
    TOOL_SEARCH,
    TOOL_SEARCH_CALL,
    TOOL_SEARCH_OUTPUT,
    WEB_SEARCH_CALL,
    arguments_text,
    proved,
    reasoning_text,
)

_REFUSED = frozenset(
    {
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "compaction_summary",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "context_compaction",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
    }
)
"""Items that nobody but the vendor can read: what its own tools did, its summaries."""

# What every item may carry and no other protocol has.
_PLACELESS = ("async", "caller", "phase")
_READ = ("type", "id", "status")


class ItemReader:
    """Read the items of one request.

    Args:
        notes: told of what has no place.

    Attributes:
        tools: those that came with the conversation.
        updates: the changes of settings that came with it, in order.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._parts = PartReader(notes)
        self._declared = ToolReader(notes)
        self.tools: list[Tool] = []
        self.updates: list[Fields] = []
        self._readers: Mapping[str, Callable[[Fields], Iterator[Message]]] = {
            MESSAGE: self._message,
            REASONING: self._reasoning,
            FUNCTION_CALL: self._function_call,
            CUSTOM_CALL: self._custom_call,
            FUNCTION_OUTPUT: self._output,
            CUSTOM_OUTPUT: self._output,
            TOOL_SEARCH_CALL: self._search_call,
            TOOL_SEARCH_OUTPUT: self._search_output,
            ADDITIONAL_TOOLS: self._additional_tools,
            CONFIGURATION_UPDATE: self._update,
            WEB_SEARCH_CALL: self._web_search,
        }

    def messages(self, fields: Fields) -> Iterator[Message]:
        """Yield a message for every item of ``input`` that says something.

        Raises:
            BadRequest: there is no input, or an item cannot be read or not be translated.
        """
        value = fields.raw("input")
        if value is None:
            raise BadRequest("input: Field required", param="input")
        if isinstance(value, str):
            yield Message("user", (Text(value),))
            return
        if not isinstance(value, list):
            raise fields.wrong("input", "a string or an array of items")
        if not value:
            raise BadRequest("input must hold at least one item.", param="input")
        for at, item in enumerate(value):
            yield from self._item(item, f"input[{at}]")

    def _item(self, item: Any, where: str) -> Iterator[Message]:
        fields = inner_fields(item, where)
        if is_reference(item):
            raise refused_reference(where)
        for name in _READ:
            fields.raw(name)
        kind = fields.text("type") or MESSAGE
        reader = self._readers.get(kind)
        if reader is None:
            path = fields.path("type")
            told = ONLY_HERE if kind in _REFUSED else "is not supported"
            raise BadRequest(f"{path}: an item of type {kind} {told}.", param=path)
        yield from reader(fields)
        self._notes.rest(fields, _PLACELESS, f"input.{kind}.")

    # --- what was said and thought ------------------------------------------------------

    def _message(self, fields: Fields) -> Iterator[Message]:
        role = ROLES.get(fields.need_text("role"))
        if role is None:
            raise fields.wrong("role", f"one of {', '.join(ROLES)}")
        yield Message(role, tuple(self._parts.content(fields)))

    def _reasoning(self, fields: Fields) -> Iterator[Message]:
        item = {name: fields.items(name) for name in ("summary", "content")}
        part = proved(reasoning_text(item), fields.text("encrypted_content"))
        yield Message("assistant", (part,))

    # --- calls and their results --------------------------------------------------------

    def _function_call(self, fields: Fields) -> Iterator[Message]:
        call = ToolCall(
            fields.need_text("call_id"),
            fields.need_text("name"),
            arguments_text(fields.raw("arguments")),
            ns=fields.text("namespace"),
        )
        yield Message("assistant", (call,))

    def _custom_call(self, fields: Fields) -> Iterator[Message]:
        call = ToolCall(
            fields.need_text("call_id"),
            fields.need_text("name"),
            fields.text("input") or "",
            "custom",
            ns=fields.text("namespace"),
        )
        yield Message("assistant", (call,))

    def _output(self, fields: Fields) -> Iterator[Message]:
        parts = []
        for part in self._parts.content(fields, "output"):
            if not isinstance(part, Text | Image | File):
                raise fields.wrong("output", "a string, or text, images and files")
            parts.append(part)
        # The call that the id points at has the namespace.
        fields.raw("namespace")
        result = ToolResult(fields.text("call_id") or "", tuple(parts), fields.text("name"))
        yield Message("tool", (result,))

    def _search_call(self, fields: Fields) -> Iterator[Message]:
        """Read a search for tools: one of the client's is a plain call."""
        arguments = arguments_text(fields.raw("arguments"))
        call_id = _search_id(fields)
        if not call_id:
            self._notes.lost(f"input.{TOOL_SEARCH_CALL}")
            return
        yield Message("assistant", (ToolCall(call_id, TOOL_SEARCH, arguments),))

    def _search_output(self, fields: Fields) -> Iterator[Message]:
        found = self._tools_of(fields)
        call_id = _search_id(fields)
        if not call_id:
            return
        lines = [f"Tool loaded: {_full_name(tool)}" for tool in found]
        text = Text("\n".join(lines) or "No tool was found.")
        yield Message("tool", (ToolResult(call_id, (text,), TOOL_SEARCH),))

    # --- what is no part of the conversation --------------------------------------------

    def _additional_tools(self, fields: Fields) -> Iterator[Message]:
        fields.raw("role")
        self.tools += self._declared.tools(fields)
        yield from ()

    def _tools_of(self, fields: Fields) -> list[Tool]:
        """Take the tools that a search brought up: from here on they are offered."""
        found = [_offered(tool) for tool in self._declared.tools(fields)]
        self.tools += found
        return found

    def _update(self, fields: Fields) -> Iterator[Message]:
        for name in ("reasoning", "text"):
            fields.object(name)
        self.updates.append(fields)
        yield from ()

    def _web_search(self, fields: Fields) -> Iterator[Message]:
        """Leave a search of the vendor's out: what it found stands in the message behind it."""
        self._notes.lost(f"input.{WEB_SEARCH_CALL}")
        fields.raw("action")
        yield from ()


def _search_id(fields: Fields) -> str | None:
    """Return the id of a search that the client ran, None for one of the vendor's."""
    call_id, where = fields.text("call_id"), fields.text("execution")
    return None if where == "server" else call_id


def _full_name(tool: Tool) -> str:
    return f"{tool.ns}__{tool.name}" if tool.ns else tool.name


def _offered(tool: Tool) -> Tool:
    return replace(tool, deferred=False)
