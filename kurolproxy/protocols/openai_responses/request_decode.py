"""Responses requests, wire -> neutral form: what stands beside the items.

Source: ``ResponseCreateParamsBase`` of openai-python 3.54, and what Codex really sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    EFFORTS,
    Effort,
    Message,
    Output,
    Part,
    ReasoningWish,
    Request,
    Text,
    Tool,
    ToolCall,
)
from kurolproxy.protocols.base import Fields
from kurolproxy.protocols.openai_responses.items_decode import ItemReader
from kurolproxy.protocols.openai_responses.notes import Notes
from kurolproxy.protocols.openai_responses.passing import refuse_state
from kurolproxy.protocols.openai_responses.tools import ToolReader, decode_choice
from kurolproxy.protocols.openai_responses.vocabulary import LOGPROBS, TIERS, Tier

_NAMES = {
    "cache_key": "prompt_cache_key",
    "logprobs": "include",
    "max_tokens": "max_output_tokens",
    "output": "text.format",
    "parallel_tools": "parallel_tool_calls",
    "verbosity": "text.verbosity",
    "parts.image": "input_image",
    "parts.file": "input_file",
    "parts.audio": "input_audio",
    "parts.tool_call": "function_call",
    "parts.tool_result": "function_call_output",
}
# Obeyed by the gateway itself, or of no meaning here: no loss.
_OBEYED = (
    "background",
    "conversation",
    "generate",
    "previous_response_id",
    "prompt",
    "store",
    "stream_options",
)
# Known, and without a place in any other protocol.
_PLACELESS = (
    "access_programs",
    "background_options",
    "client_metadata",
    "context_management",
    "image",
    "max_tool_calls",
    "metadata",
    "moderation",
    "prompt_cache_options",
    "prompt_cache_retention",
)


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
        self._items = ItemReader(self._notes)

    def request(self) -> Request:
        fields = self._fields
        self._obey()
        # The items come first: they bring tools and settings along.
        model, messages = fields.need_text("model"), tuple(self._items.messages(fields))
        tools = (*ToolReader(self._notes).tools(fields), *self._items.tools)
        reasoning = self._reasoning()
        output, verbosity = self._text()
        values: dict[str, Any] = {
            "stream": bool(fields.flag("stream")),
            "system": self._instructions(),
            "tool_choice": decode_choice(fields),
            "parallel_tools": fields.flag("parallel_tool_calls"),
            "max_tokens": self._cap(),
            "temperature": fields.number("temperature"),
            "top_p": fields.number("top_p"),
            "logprobs": self._logprobs(),
            "top_logprobs": fields.integer("top_logprobs"),
            "service_tier": self._tier(),
            "user_ref": self._user(),
            "cache_key": fields.text("prompt_cache_key"),
        }
        self._rest()
        return Request(
            model,
            _at_home(messages, tools),
            tools=tools,
            output=output,
            verbosity=verbosity,
            reasoning=reasoning,
            names=self._names,
            leftover=tuple(self._notes.names),
            unknown=self._notes.unknown,
            **values,
        )

    def _obey(self) -> None:
        refuse_state({name: self._fields.raw(name) for name in _OBEYED})

    def _rest(self) -> None:
        # ``disabled`` is the vendor's default, and what other vendors do.
        if self._fields.raw("truncation") not in (None, "disabled"):
            self._notes.lost("truncation")
        self._notes.rest(self._fields, _PLACELESS)

    def _instructions(self) -> tuple[Text, ...]:
        text = self._fields.text("instructions")
        return (Text(text),) if text else ()

    def _cap(self) -> int | None:
        cap = self._fields.integer("max_output_tokens")
        if cap is not None and cap < 1:
            raise BadRequest("max_output_tokens must be at least 1.", param="max_output_tokens")
        return cap

    def _logprobs(self) -> bool | None:
        wanted = self._fields.items("include") or ()
        return True if LOGPROBS in wanted else None

    def _tier(self) -> Tier | None:
        said = self._fields.text("service_tier")
        if said is not None and said not in TIERS:
            self._notes.lost("service_tier")
        return TIERS.get(said) if said else None

    def _user(self) -> str | None:
        new, old = self._fields.text("safety_identifier"), self._fields.text("user")
        if new and old and new != old:
            self._notes.lost("user")
        if new or old:
            self._names["user_ref"] = "safety_identifier" if new else "user"
        return new or old or None

    # --- reasoning and the form of the answer -------------------------------------------

    def _reasoning(self) -> ReasoningWish | None:
        said = Fields(self._fields.object("reasoning") or {}, "reasoning")
        effort = _effort(said)
        for update in self._items.updates:
            change = update.object("reasoning")
            if change is not None:
                effort = _effort(Fields(change, update.path("reasoning"))) or effort
        wants_text = [said.text(name) for name in ("summary", "generate_summary")]
        if said.raw("mode") not in (None, "standard"):
            self._notes.lost("reasoning.mode")
        self._notes.rest(said, ("context",), "reasoning.")
        if effort is None and not any(wants_text):
            return None
        return ReasoningWish(effort, show="summary" if any(wants_text) else "none")

    def _text(self) -> tuple[Output | None, str | None]:
        said = Fields(self._fields.object("text") or {}, "text")
        output = _output(said)
        for update in self._items.updates:
            change = update.object("text")
            if change is not None and change.get("format") is not None:
                output = _output(Fields(change, update.path("text")))
        verbosity = said.text("verbosity")
        self._notes.rest(said)
        return output, verbosity


def _effort(fields: Fields) -> Effort | None:
    said = fields.text("effort")
    effort = next((each for each in EFFORTS if each == said), None)
    if said is not None and effort is None:
        raise fields.wrong("effort", f"one of {', '.join(EFFORTS)}")
    return effort


def _output(fields: Fields) -> Output | None:
    form = fields.object("format")
    if form is None:
        return None
    inner = Fields(form, fields.path("format"))
    kind = inner.need_text("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Output("json_object")
    if kind != "json_schema":
        raise inner.wrong("type", "one of text, json_object, json_schema")
    return Output(
        "json_schema",
        name=inner.text("name"),
        schema=inner.object("schema"),
        strict=inner.flag("strict"),
        description=inner.text("description"),
    )


# --- namespaces -----------------------------------------------------------------------------


def _at_home(messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[Message, ...]:
    """Give the calls that do not say it the namespace of the one tool of their name.

    Codex repeats a custom call of its namespace ``functions`` without it; joined names
    would otherwise differ between the declaration and the history.
    """
    homes: dict[str, str | None] = {}
    for tool in tools:
        known = tool.name in homes and homes[tool.name] != tool.ns
        homes[tool.name] = None if known else tool.ns
    if not any(homes.values()):
        return tuple(messages)
    return tuple(_moved(message, homes) for message in messages)


def _moved(message: Message, homes: Mapping[str, str | None]) -> Message:
    parts = tuple(_home(part, homes) for part in message.parts)
    return replace(message, parts=parts) if parts != message.parts else message


def _home(part: Part, homes: Mapping[str, str | None]) -> Part:
    if not isinstance(part, ToolCall) or part.ns is not None or not homes.get(part.name):
        return part
    return replace(part, ns=homes[part.name])
