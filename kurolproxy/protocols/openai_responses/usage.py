"""Tokens as Responses counts them: cached ones inside the input, reasoning inside the output."""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import Usage, count
from kurolproxy.protocols import wire


def read_usage(usage: object) -> Usage | None:
    """Read a ``usage`` object, each figure clamped.

    Returns:
        None when it is none, or a main figure is no number: the estimate is better.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if prompt is None or completion is None:
        return None
    asked, said = _details(usage, "input"), _details(usage, "output")
    read = min(count(asked.get("cached_tokens")) or 0, prompt)
    return Usage(
        prompt=prompt,
        completion=completion,
        cache_read=read,
        cache_write=min(count(asked.get("cache_write_tokens")) or 0, prompt - read),
        reasoning=min(count(said.get("reasoning_tokens")) or 0, completion),
    )


def _details(usage: dict[str, Any], side: str) -> dict[str, Any]:
    found = usage.get(f"{side}_tokens_details")
    return found if isinstance(found, dict) else {}


def write_usage(usage: Usage | None) -> bytes:
    """Write a ``usage`` object; the types require both objects with details."""
    if usage is None:
        return b"null"
    return wire.dumps(
        {
            "input_tokens": usage.prompt,
            "input_tokens_details": {
                "cached_tokens": usage.cache_read,
                "cache_write_tokens": usage.cache_write,
            },
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.total,
        }
    )
