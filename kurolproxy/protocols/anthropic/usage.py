"""Tokens as Anthropic counts them: cached prompt tokens stand beside ``input_tokens``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.tokens import Reading, Usage

_FIELDS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


class Figures:
    """The usage of one answer, as its events tell it.

    ``message_start`` tells what the prompt cost, ``message_delta`` the totals: each counter
    that an event has replaces the one before.
    """

    __slots__ = ("_reading", "_seen")

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._reading = Reading()

    def begin(self, usage: object) -> None:
        """Take what the prompt cost; of the answer, ``message_start`` knows nothing yet.

        Its ``output_tokens`` hold a place: a stream that tells nothing more was not counted.
        """
        self.update(usage)
        self._seen.pop("output_tokens", None)

    def update(self, usage: object) -> None:
        """Take the counters of one ``usage`` object; what is no number says nothing."""
        if not isinstance(usage, Mapping):
            return
        details = usage.get("output_tokens_details")
        found = {name: usage.get(name) for name in _FIELDS}
        if isinstance(details, Mapping):
            found["thinking_tokens"] = details.get("thinking_tokens")
        for name, value in found.items():
            figure = self._reading.figure(value)
            if figure is not None:
                self._seen[name] = figure

    @property
    def usage(self) -> Usage | None:
        """The tokens so far; None when nobody named any."""
        if not self._seen and not self._reading.clamped:
            return None
        figure = self._seen.get
        read = figure("cache_read_input_tokens", 0)
        written = figure("cache_creation_input_tokens", 0)
        prompt = self._reading.figure(figure("input_tokens", 0) + read + written) or 0
        return Usage(
            prompt=prompt,
            completion=figure("output_tokens", 0),
            cache_read=read,
            cache_write=written,
            reasoning=figure("thinking_tokens", 0),
            clamped=self._reading.clamped,
        )


def encode_usage(usage: Usage | None) -> dict[str, Any]:
    """Write the totals; an unknown usage is written as zero, which this protocol requires."""
    seen = usage or Usage()
    return {
        "input_tokens": max(seen.prompt - seen.cache_read - seen.cache_write, 0),
        "cache_read_input_tokens": seen.cache_read,
        "cache_creation_input_tokens": seen.cache_write,
        "output_tokens": seen.completion,
        "output_tokens_details": {"thinking_tokens": seen.reasoning},
    }
