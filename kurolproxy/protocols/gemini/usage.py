"""Tokens as Gemini counts them: thoughts stand beside candidates, tool prompts beside prompts."""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import Usage, count

_FIGURES = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
)


def read_usage(metadata: object) -> Usage | None:
    """Return the usage of a ``usageMetadata``, each figure clamped.

    A figure of zero is left out by the vendor, so one that is missing counts as zero; what
    the prompt cost is taken from the total where there is one.

    Returns:
        None when it holds no figure at all (Vertex, before the last frame of a stream).
    """
    if not isinstance(metadata, dict):
        return None
    figures = {name: count(metadata.get(name)) for name in _FIGURES}
    if all(figure is None for figure in figures.values()):
        return None
    said = figures["candidatesTokenCount"] or 0
    thought = figures["thoughtsTokenCount"] or 0
    searched = figures["toolUsePromptTokenCount"] or 0
    prompt = figures["promptTokenCount"]
    if prompt is None:
        prompt = max((figures["totalTokenCount"] or 0) - said - thought - searched, 0)
    # What the vendor's own tools read is a prompt of its own, beside the client's.
    prompt = count(prompt + searched) or 0
    read = figures["cachedContentTokenCount"] or 0
    completion = count(said + thought) or 0
    return Usage(
        prompt=prompt,
        completion=completion,
        cache_read=min(read, prompt),
        reasoning=min(thought, completion),
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
