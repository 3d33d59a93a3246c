"""Tokens as Responses counts them: cached ones inside the input, reasoning inside the output."""

from __future__ import annotations

from typing import Any

from kurolproxy.protocols import wire
from kurolproxy.tokens import Reading, Usage


def read_usage(usage: object) -> Usage | None:
    """Read a ``usage`` object, each figure clamped.

    Returns:
        None when it is none. A main figure that is missing, or no number, is 0: the
        estimate takes its place, and the other one is kept.
    """
    if not isinstance(usage, dict):
        return None
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return None
    figure = (reading := Reading()).figure
    prompt = figure(usage.get("input_tokens")) or 0
    completion = figure(usage.get("output_tokens")) or 0
    asked, said = _details(usage, "input"), _details(usage, "output")
    read = min(figure(asked.get("cached_tokens")) or 0, prompt)
    return Usage(
        prompt=prompt,
        completion=completion,
        cache_read=read,
        cache_write=min(figure(asked.get("cache_write_tokens")) or 0, prompt - read),
        reasoning=min(figure(said.get("reasoning_tokens")) or 0, completion),
        clamped=reading.clamped,
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
