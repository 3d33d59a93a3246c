"""Tokens as Gemini counts them: thoughts stand beside candidates, tool prompts beside prompts."""

from __future__ import annotations

from typing import Any

from kurolproxy.tokens import Reading, Usage

_SILENT = (None,) * 6


def read_usage(metadata: object) -> Usage | None:
    """Return the usage of a ``usageMetadata``, each figure clamped.

    A figure of zero is left out by the vendor, so one that is missing counts as zero, but
    for what is left of the total: of the prompt when that is missing, else of the answer.

    Returns:
        None when it holds no figure at all (Vertex, before the last frame of a stream).
    """
    if not isinstance(metadata, dict):
        return None
    figure = (reading := Reading()).figure
    found = prompt, said, thought, searched, read, total = (
        figure(metadata.get("promptTokenCount")),
        figure(metadata.get("candidatesTokenCount")),
        figure(metadata.get("thoughtsTokenCount")),
        figure(metadata.get("toolUsePromptTokenCount")),
        figure(metadata.get("cachedContentTokenCount")),
        figure(metadata.get("totalTokenCount")),
    )
    if found == _SILENT and not reading.clamped:
        return None
    thought, searched = thought or 0, searched or 0
    rest = (total or 0) - thought - searched
    if prompt is None:
        prompt = max(rest - (said or 0), 0)
    if said is None:
        said = max(rest - prompt, 0)
    # What the vendor's own tools read is a prompt of its own, beside the client's.
    prompt = figure(prompt + searched) or 0
    completion = figure(said + thought) or 0
    return Usage(
        prompt=prompt,
        completion=completion,
        cache_read=min(read or 0, prompt),
        reasoning=min(thought, completion),
        clamped=reading.clamped,
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return usage in this protocol's form; there is no word for tokens written to a cache."""
    metadata = {"promptTokenCount": usage.prompt}
    if usage.cache_read:
        metadata["cachedContentTokenCount"] = usage.cache_read
    metadata["candidatesTokenCount"] = max(usage.completion - usage.reasoning, 0)
    if usage.reasoning:
        metadata["thoughtsTokenCount"] = usage.reasoning
    metadata["totalTokenCount"] = usage.total
    return metadata
