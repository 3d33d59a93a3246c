"""How many tokens a call had, and how an upstream's figures are read."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TOKENS_COUNTED = 1_000_000_000
"""No usage figure is larger: absurd ones are clamped."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    Attributes:
        prompt: all input tokens, cached ones included.
        completion: all output tokens, reasoning included.
        cache_read: prompt tokens that were read from a cache.
        cache_write: prompt tokens that were written to a cache.
        reasoning: completion tokens that were thought, not said.
        clamped: the upstream wrote a figure that none can be.

    A prompt of 0 was not told: no call has none. So was a completion of 0 beside a text.
    """

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    clamped: bool = False

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return self.prompt + self.completion

    def after(self, before: Usage | None) -> Usage:
        """Return the last word on an answer: this one, and of the one before what this leaves out.

        Figures are cumulative: they replace those before, they are never added.
        """
        if before is None or (self.prompt and self.completion and not before.clamped):
            return self
        asked, said = (self if self.prompt else before), (self if self.completion else before)
        return Usage(
            prompt=asked.prompt,
            completion=said.completion,
            cache_read=asked.cache_read,
            cache_write=asked.cache_write,
            reasoning=said.reasoning,
            clamped=self.clamped or before.clamped,
        )


def unweighed(usage: Usage | None) -> bool:
    """Return whether nobody told what an answer's text cost, so that it has to be weighed."""
    return usage is None or not usage.completion


def count(value: object) -> int | None:
    """Read one usage figure of an upstream.

    Returns:
        the figure clamped to [0, 10**9], or None when it is no number at all.
    """
    if type(value) is int:
        if 0 <= value <= MAX_TOKENS_COUNTED:
            return value
    elif not isinstance(value, float):
        return None
    if value != value:  # NaN
        return None
    return int(min(max(value, 0), MAX_TOKENS_COUNTED))


class Reading:
    """Read the figures of one usage of an upstream.

    Attributes:
        clamped: one of them was no whole number from 0 to 10**9. One that is missing, or
            null, is none of those: nobody told it.
    """

    __slots__ = ("clamped",)

    def __init__(self) -> None:
        self.clamped = False

    def figure(self, value: object) -> int | None:
        """Read one figure as ``count`` does."""
        if value is None or (type(value) is int and 0 <= value <= MAX_TOKENS_COUNTED):
            return value
        found = count(value)
        if found != value:
            self.clamped = True
        return found
