"""The request, both ways: what stands beside the messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Effort, Output, ReasoningWish, Request
from kurolproxy.protocols import schema as schemas
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Fields, Outgoing, TargetView
from kurolproxy.protocols.efforts import clamp, wished
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames, sanitise
from kurolproxy.protocols.openai_chat.messages import MessageWriter, decode_messages
from kurolproxy.protocols.openai_chat.tools import (
    ToolWriter,
    decode_choice,
    decode_tools,
)

KNOWN = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""The fields of a request that have a name in a list of losses.

Source: ``CompletionCreateParamsBase`` of openai-python 3.54, and the two of other
vendors' fields that have a place in the neutral form.
"""

Tier = Literal["auto", "standard", "flex", "priority"]

# --- decode ---------------------------------------------------------------------------------

_TIERS: dict[str, Tier] = {
    "auto": "auto",
    "default": "standard",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "scale": "priority",
    "ultrafast": "priority",
}
_NAMES = {
    "output": "response_format",
    "parallel_tools": "parallel_tool_calls",
    "cache_key": "prompt_cache_key",
}


def decode_request(body: dict[str, Any]) -> Request:
    """Read a request.

    Args:
        body: the wire object; fields of other vendors are taken and counted.

    Raises:
        BadRequest: a field has a wrong type, or asks for what no translation can give.
    """
    fields = Fields(body)
    names = dict(_NAMES)
    _refuse_audio(fields)
    # Obeyed by the gateway itself: what goes upstream is never stored.
    fields.raw("store")
    legacy = bool(body.get("functions") or body.get("function_call"))
    if legacy:
        names |= {"tool_choice": "function_call", "parallel_tools": "functions"}
    options = fields.object("stream_options") or {}
    request = Request(
        model=fields.need_text("model"),
        messages=decode_messages(fields),
        stream=fields.flag("stream") or False,
        tools=decode_tools(fields),
        tool_choice=decode_choice(fields),
        # The deprecated form has room for one call in an answer.
        parallel_tools=False if legacy else fields.flag("parallel_tool_calls"),
        max_tokens=_max_tokens(fields, names),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        n=_count(fields),
        logprobs=fields.flag("logprobs"),
        top_logprobs=fields.integer("top_logprobs"),
        stop=_stop(fields),
        output=_output(fields),
        verbosity=fields.text("verbosity"),
        reasoning=_reasoning(fields, names),
        service_tier=_tier(fields),
        user_ref=_user(fields, names),
        cache_key=fields.text("prompt_cache_key"),
        include_usage=options.get("include_usage") is True,
        legacy_functions=legacy,
        names=names,
    )
    return _with_leftovers(request, fields, body)


def _with_leftovers(request: Request, fields: Fields, body: Mapping[str, Any]) -> Request:
    named, unknown = fields.left(KNOWN)
    speakers = any(
        message.get("name") and message.get("role") not in ("tool", "function")
        for message in body["messages"]
    )
    leftover = [*named, *(["messages.name"] if speakers else [])]
    if request.service_tier is None and body.get("service_tier") is not None:
        leftover.append("service_tier")
    return replace(request, leftover=tuple(leftover), unknown=unknown)


def _refuse_audio(fields: Fields) -> None:
    modalities = fields.items("modalities") or ()
    if "audio" in modalities or fields.raw("audio") is not None:
        param = "modalities" if "audio" in modalities else "audio"
        raise BadRequest(f"{param}: this model cannot answer with audio.", param=param)


def _max_tokens(fields: Fields, names: dict[str, str]) -> int | None:
    old, new = fields.integer("max_tokens"), fields.integer("max_completion_tokens")
    if new is not None:
        names["max_tokens"] = "max_completion_tokens"
    cap = old if new is None else new
    if cap is not None and cap < 1:
        name = names.get("max_tokens", "max_tokens")
        raise BadRequest(f"{name} must be at least 1.", param=name)
    return cap


def _count(fields: Fields) -> int:
    count = fields.integer("n")
    if count is not None and count < 1:
        raise BadRequest("n must be at least 1.", param="n")
    return 1 if count is None else count


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.raw("stop")
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise fields.wrong("stop", "a string or an array of strings")
    return tuple(text for text in texts if text)


def _output(fields: Fields) -> Output | None:
    form = fields.object("response_format")
    if form is None:
        return None
    inner = Fields(form, "response_format")
    kind = inner.need_text("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Output("json_object")
    if kind != "json_schema":
        raise inner.wrong("type", "one of text, json_object, json_schema")
    wanted = inner.object("json_schema")
    if wanted is None:
        raise inner.wrong("json_schema", "an object")
    asked = Fields(wanted, "response_format.json_schema")
    return Output(
        "json_schema",
        name=asked.text("name"),
        schema=asked.object("schema"),
        strict=asked.flag("strict"),
        description=asked.text("description"),
    )


_SWITCHES: dict[str, Literal["on", "off", "adaptive"]] = {
    "enabled": "on",
    "disabled": "off",
    "adaptive": "adaptive",
}


def _reasoning(fields: Fields, names: dict[str, str]) -> ReasoningWish | None:
    """Read ``reasoning_effort``, and ``thinking`` as DeepSeek, Z.ai and others take it."""
    effort = fields.text("reasoning_effort")
    efforts: tuple[Effort, ...] = get_args(Effort)
    if effort is not None and effort not in efforts:
        raise fields.wrong("reasoning_effort", f"one of {', '.join(efforts)}")
    switch = fields.object("thinking")
    if effort is not None or switch is not None:
        names["reasoning"] = "thinking" if effort is None else "reasoning_effort"
    known = next((each for each in efforts if each == effort), None)
    if switch is None:
        return None if known is None else ReasoningWish(effort=known)
    inner = Fields(switch, "thinking")
    mode = _SWITCHES.get(inner.text("type") or "")
    return ReasoningWish(effort=known, budget=inner.integer("budget_tokens"), mode=mode)


def _tier(fields: Fields) -> Tier | None:
    return _TIERS.get(fields.text("service_tier") or "")


def _user(fields: Fields, names: dict[str, str]) -> str | None:
    for name in ("safety_identifier", "user"):
        value = fields.text(name)
        if value is not None:
            names["user_ref"] = name
            return value
    return None


# --- encode ---------------------------------------------------------------------------------

_MAX_STOPS = 4
_TIER_NAMES: dict[Tier, str] = {
    "auto": "auto",
    "standard": "default",
    "flex": "flex",
    "priority": "priority",
}
_JSON_LINE = "Respond with a single JSON object that matches this JSON Schema and nothing else:"


def encode_request(reader: Reader, target: TargetView) -> Outgoing:
    """Write a normalised request for one target.

    Args:
        reader: whatever is not read through it is a loss.

    Raises:
        BadRequest: the model or the protocol cannot take it.
    """
    return _RequestWriter(reader, target).write()


class _RequestWriter:
    """One request on its way to one target."""

    def __init__(self, reader: Reader, target: TargetView) -> None:
        self._reader = reader
        self._request = reader.request
        self._target = target
        self._traits = target.traits
        self._names = ToolNames()

    def write(self) -> Outgoing:
        tools: dict[str, Any] = {}
        lines = ToolWriter(self._reader, self._target, self._names).declare(tools)
        output = self._output(lines)
        messages = MessageWriter(self._reader, self._target, self._names).write(lines)
        body: dict[str, Any] = {"model": self._target.model, "messages": messages}
        if self._request.stream:
            body["stream"] = True
            if self._traits.stream_options:
                body["stream_options"] = {"include_usage": True}
        self._limits(body)
        effort = self._effort(has_tools="tools" in tools)
        self._sampling(body, effort)
        body |= tools
        if output is not None:
            body["response_format"] = output
        if effort is not None:
            body["reasoning_effort"] = effort
        self._copy(body, {"verbosity": "verbosity"})
        self._people(body)
        stops: tuple[str, ...] = self._request.stop
        local = stops if len(stops) > _MAX_STOPS else ()
        return Outgoing(body, self._names, local_stop=local)

    def _copy(self, body: dict[str, Any], fields: Mapping[str, str]) -> None:
        """Carry plain fields over: IR name -> wire name."""
        for name, wired in fields.items():
            value = self._reader.take(self._request, name)
            if value is not None:
                body[wired] = value

    def _limits(self, body: dict[str, Any]) -> None:
        caps = (
            self._reader.take(self._request, "max_tokens"),
            self._target.max_output_tokens,
            self._traits.max_output_tokens,
        )
        if caps[0] is not None:
            body[self._traits.max_tokens_field] = min(cap for cap in caps if cap is not None)
        stops = self._reader.take(self._request, "stop")
        if stops:
            body["stop"] = list(stops[:_MAX_STOPS])
        count = self._reader.take(self._request, "n")
        if count != 1:
            body["n"] = count
        self._copy(
            body,
            {
                "seed": "seed",
                "presence_penalty": "presence_penalty",
                "frequency_penalty": "frequency_penalty",
            },
        )
        # logprobs stay untaken: the neutral answer has no place for them, so asking the
        # upstream would only hide that the client does not get them.

    def _sampling(self, body: dict[str, Any], effort: Effort | None) -> None:
        sampling = self._traits.sampling
        if sampling == "no" or (sampling == "only_without_reasoning" and effort != "none"):
            return
        self._copy(body, {"temperature": "temperature", "top_p": "top_p"})
        if self._traits.top_k:
            self._copy(body, {"top_k": "top_k"})

    def _effort(self, *, has_tools: bool) -> Effort | None:
        """Return the effort to ask for; None leaves it to the model."""
        wish = self._request.reasoning
        if wish is None or self._traits.thinking == "none":
            return None
        effort = wished(wish)
        if effort is not None and has_tools and self._traits.no_effort_with_tools:
            return None
        self._reader.take(self._request, "reasoning")
        self._reader.whole(wish)
        return None if effort is None else clamp(effort, self._traits.efforts)

    def _output(self, lines: list[str]) -> dict[str, Any] | None:
        output = self._request.output
        if output is None:
            return None
        self._reader.take(self._request, "output")
        take = self._reader.take
        if take(output, "kind") == "json_object":
            return {"type": "json_object"}
        name, schema = take(output, "name"), schemas.clean(take(output, "schema") or {})
        described = take(output, "description")
        if not self._traits.structured_output:
            # In words nothing is strict; the client is served as well as it can be.
            self._reader.whole(output)
            lines.append(f"{_JSON_LINE}\n{wire.compact(schema)}")
            return None
        inner: dict[str, Any] = {"name": sanitise(name or "response")}
        if described is not None:
            inner["description"] = described
        if schema:
            inner["schema"] = schema
        strict = bool(output.strict) and schemas.closed(schema)
        if strict or not output.strict:
            take(output, "strict")
        if strict:
            inner["strict"] = True
        return {"type": "json_schema", "json_schema": inner}

    def _people(self, body: dict[str, Any]) -> None:
        if self._traits.allow_service_tier:
            tier: Tier | None = self._reader.take(self._request, "service_tier")
            if tier is not None:
                body["service_tier"] = _TIER_NAMES[tier]
        hash_user = self._target.hash_user
        if self._traits.forward_user and hash_user is not None:
            user = self._reader.take(self._request, "user_ref")
            if user is not None:
                body["safety_identifier"] = hash_user(user)
        self._copy(body, {"cache_key": "prompt_cache_key"})
