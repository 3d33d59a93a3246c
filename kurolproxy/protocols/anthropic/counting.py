"""``/v1/messages/count_tokens``: how many tokens a prompt has."""

from __future__ import annotations

from typing import Any

from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Counting
from kurolproxy.tokens import count

_COUNTED = (
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "mcp_servers",
    "context_management",
)
_ANY_CAP = 8_192
_ROOM = 1_024


def generating(body: dict[str, Any]) -> dict[str, Any]:
    """Return the generating call that a counting call is about: it needs a cap as well."""
    if body.get("max_tokens") is not None:
        return body
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    # A cap under the thinking budget would be a mistake, and there is none here.
    cap = budget + _ROOM if type(budget) is int and 0 < budget < 2**31 else _ANY_CAP
    return {**body, "max_tokens": max(cap, _ANY_CAP)}


def asking(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the counting call about a generating body."""
    return {"model": model} | {name: body[name] for name in _COUNTED if name in body}


def read(answer: Any) -> int | None:
    """Return the tokens that an upstream counted, None when it did not."""
    return count(answer.get("input_tokens")) if isinstance(answer, dict) else None


def answer(tokens: int) -> bytes:
    """Write the answer for the client."""
    return wire.dumps({"input_tokens": tokens})


COUNTING = Counting(
    path="/v1/messages/count_tokens",
    generating=generating,
    asking=asking,
    read=read,
    answer=answer,
)
