"""Tokens as Gemini counts them: thoughts stand beside candidates, tool prompts beside prompts."""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import Usage, count

_FIGURES = (
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
    figure = metadata.get
    said = count(figure("candidatesTokenCount", 0)) or 0
    thought = count(figure("thoughtsTokenCount", 0)) or 0
    searched = count(figure("toolUsePromptTokenCount", 0)) or 0
    prompt = count(figure("promptTokenCount"))
    if prompt is None:
        if not any(count(figure(name)) is not None for name in _FIGURES):
            return None
        prompt = max((count(figure("totalTokenCount")) or 0) - said - thought - searched, 0)
    # What the vendor's own tools read is a prompt of its own, beside the client's.
    if searched:
        prompt = count(prompt + searched) or 0
    read = count(figure("cachedContentTokenCount", 0)) or 0
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
