"""How the tokens of a Responses prompt are counted: ``/v1/responses/input_tokens``.

Source: ``InputTokenCountParams`` of openai-python 3.54.
"""

from __future__ import annotations

from typing import Any

from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Counting
from kurolproxy.tokens import count

# What a counting call takes; OpenAI refuses unknown fields.
_COUNTED = frozenset(
    {
        "conversation",
        "input",
        "instructions",
        "parallel_tool_calls",
        "personality",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)


def generating(body: dict[str, Any]) -> dict[str, Any]:
    """Return the generating call that a counting call is about.

    The prompt stands in the same fields; here it may lack ``input``.
    """
    out = {name: value for name, value in body.items() if name != "personality"}
    if out.get("input") is None:
        out["input"] = ""
    return out


def asking(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the counting call about a generating body."""
    return {"model": model} | {name: body[name] for name in body if name in _COUNTED}


def read(answer: Any) -> int | None:
    """Return the tokens that an upstream counted, None when it did not."""
    return count(answer.get("input_tokens")) if isinstance(answer, dict) else None


def answer(tokens: int) -> bytes:
    """Write the answer for the client."""
    return wire.dumps({"object": "response.input_tokens", "input_tokens": tokens})


COUNTING = Counting(
    path="/v1/responses/input_tokens",
    generating=generating,
    asking=asking,
    read=read,
    answer=answer,
)
