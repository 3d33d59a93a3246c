"""Responses requests, neutral form -> wire.

The body's keys always stand in one order: the vendor's prompt cache works by prefix.
"""

from __future__ import annotations

from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Effort
from kurolproxy.protocols import efforts, wire
from kurolproxy.protocols import schema as schemas
from kurolproxy.protocols.base import Outgoing, TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames, sanitise
from kurolproxy.protocols.openai_responses.items_encode import ItemWriter
from kurolproxy.protocols.openai_responses.tools import ToolWriter
from kurolproxy.protocols.openai_responses.vocabulary import (
    ENCRYPTED_REASONING,
    TIER_NAMES,
    Tier,
)

_LEAST_OUTPUT_TOKENS = 16
_JSON_LINE = "Respond with a single JSON object that matches this JSON Schema and nothing else:"


def encode_request(reader: Reader, view: TargetView) -> Outgoing:
    """Write a normalised request for one target.

    Args:
        reader: whatever is not read through it is a loss.

    Raises:
        BadRequest: the model or the protocol cannot take it.
    """
    return _Encoder(reader, view).outgoing()


class _Encoder:
    """One request on its way to one target."""

    def __init__(self, reader: Reader, target: TargetView) -> None:
        self._reader = reader
        self._request = reader.request
        self._target = target
        self._traits = target.traits
        self._names = ToolNames()
        # What has no field of its own is said at the end of the instructions.
        self._lines: list[str] = []

    def outgoing(self) -> Outgoing:
        self._one_answer()
        tools: dict[str, Any] = {}
        self._lines += ToolWriter(self._reader, self._target, self._names).declare(tools)
        form = self._format()
        instructions, items = ItemWriter(self._reader, self._target, self._names).write(self._lines)
        reasoning = self._reasoning(has_tools="tools" in tools)
        fields: dict[str, Any] = {
            "model": self._target.model,
            "instructions": instructions or None,
            "input": items,
            **tools,
            "reasoning": reasoning or None,
            "text": self._text(form) or None,
            "max_output_tokens": self._cap(),
            **self._sampling(reasoning.get("effort")),
            **self._people(),
            # Left out it would mean: keep it.
            "store": None if self._traits.allow_store else False,
            "include": self._include(),
            "stream": True if self._request.stream else None,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        return Outgoing(body, self._names, local_stop=self._reader.take(self._request, "stop"))

    def _one_answer(self) -> None:
        if self._reader.take(self._request, "n") > 1:
            name = self._request.names.get("n", "n")
            raise BadRequest(
                f"{name}: model {self._target.public_model} gives one answer to a request.",
                param=name,
            )

    def _cap(self) -> int | None:
        wish: int | None = self._reader.take(self._request, "max_tokens")
        if wish is None:
            return None
        limits = (wish, self._target.max_output_tokens, self._traits.max_output_tokens)
        return max(min(each for each in limits if each is not None), _LEAST_OUTPUT_TOKENS)

    def _include(self) -> list[str] | None:
        # Without storage the proof is all that brings the thoughts back. Log probabilities
        # are not asked for: the neutral answer has no place for them, and asking would only
        # hide that the client does not get them.
        return None if self._traits.thinking == "none" else [ENCRYPTED_REASONING]

    # --- reasoning and sampling ---------------------------------------------------------

    def _reasoning(self, *, has_tools: bool) -> dict[str, str]:
        """Return how much to think; nothing when it is left to the model."""
        wish = self._request.reasoning
        if wish is None or self._traits.thinking == "none":
            return {}
        effort = efforts.wished(wish)
        if effort is not None and has_tools and self._traits.no_effort_with_tools:
            return {}
        self._reader.take(self._request, "reasoning")
        self._reader.whole(wish)
        out: dict[str, str] = {}
        if effort is not None:
            effort = efforts.clamp(effort, self._traits.efforts)
            out["effort"] = effort
        if wish.show != "none" and effort != "none":
            out["summary"] = "auto"
        return out

    def _sampling(self, effort: str | Effort | None) -> dict[str, Any]:
        allowed = self._traits.sampling
        if allowed == "no" or (allowed == "only_without_reasoning" and effort != "none"):
            return {}
        return {name: self._reader.take(self._request, name) for name in ("temperature", "top_p")}

    # --- the form of the answer ---------------------------------------------------------

    def _text(self, form: dict[str, Any] | None) -> dict[str, Any]:
        out: dict[str, Any] = {} if form is None else {"format": form}
        verbosity = self._reader.take(self._request, "verbosity")
        if verbosity is not None:
            out["verbosity"] = verbosity
        return out

    def _format(self) -> dict[str, Any] | None:
        output, take = self._request.output, self._reader.take
        if output is None:
            return None
        take(self._request, "output")
        if take(output, "kind") == "json_object":
            return {"type": "json_object"}
        name, described = take(output, "name"), take(output, "description")
        schema = schemas.clean(take(output, "schema") or {})
        if not self._traits.structured_output:
            # In words nothing is strict; the client is served as well as it can be.
            self._reader.whole(output)
            self._lines.append(f"{_JSON_LINE}\n{wire.compact(schema)}")
            return None
        out: dict[str, Any] = {"type": "json_schema", "name": sanitise(name or "response")}
        if described is not None:
            out["description"] = described
        out["schema"] = schema or {"type": "object"}
        strict = bool(output.strict) and schemas.closed(schema)
        if strict or not output.strict:
            take(output, "strict")
        out["strict"] = strict
        return out

    # --- everything else ----------------------------------------------------------------

    def _people(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self._traits.allow_service_tier:
            tier: Tier | None = self._reader.take(self._request, "service_tier")
            out["service_tier"] = TIER_NAMES[tier] if tier is not None else None
        hash_user = self._target.hash_user
        if self._traits.forward_user and hash_user is not None:
            user = self._reader.take(self._request, "user_ref")
            out["safety_identifier"] = hash_user(user) if user is not None else None
        out["prompt_cache_key"] = self._reader.take(self._request, "cache_key")
        return out
