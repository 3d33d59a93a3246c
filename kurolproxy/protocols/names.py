"""Names and ids as each protocol allows them, and the way back."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from kurolproxy.ir import Tool, ToolKind

_NOT_SAFE = re.compile(r"[^a-zA-Z0-9_-]")
_HASH_CHARS = 8


def sanitise(name: str, limit: int = 64) -> str:
    """Return ``name`` in ``[a-zA-Z0-9_-]{1,limit}``.

    Other characters become ``_``; when anything changed, or it was too long, it is cut
    and ends with ``_`` and 8 hex digits of the original's SHA-1: the same input gives
    the same output, so a call and its result stay paired without a table.
    """
    safe = _NOT_SAFE.sub("_", name)
    if safe == name and 0 < len(name) <= limit:
        return name
    digest = hashlib.sha1(name.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return f"{safe[: limit - _HASH_CHARS - 1]}_{digest[:_HASH_CHARS]}"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the client calls a tool, and what kind it declared.

    Attributes:
        wrapped: a custom tool that went out as a function with one argument ``input``.
    """

    name: str
    ns: str | None = None
    kind: ToolKind = "function"
    wrapped: bool = False


class ToolNames:
    """One request's tools: the name each goes by at the upstream, and back.

    Args:
        limit: the upstream's longest name.
        letter_first: the upstream wants a leading letter or ``_`` (Gemini).
    """

    __slots__ = ("_encoded", "_letter_first", "_limit", "_origins")

    def __init__(self, limit: int = 64, *, letter_first: bool = False) -> None:
        self._limit = limit
        self._letter_first = letter_first
        self._origins: dict[str, Origin] = {}
        self._encoded: dict[tuple[str | None, str], str] = {}

    def encode(self, name: str, ns: str | None = None) -> str:
        """Return the upstream's name of a tool, declared or only called."""
        declared = self._encoded.get((ns, name))
        if declared is not None:
            return declared
        full = f"{ns}__{name}" if ns else name
        if self._letter_first and full and not (full[0].isalpha() or full[0] == "_"):
            full = f"_{full}"
        return sanitise(full, self._limit)

    def declare(self, tool: Tool, *, wrapped: bool = False) -> str:
        """Register a tool of the request and return its name at the upstream."""
        encoded = self.encode(tool.name, tool.ns)
        taken = self._origins.get(encoded)
        if taken is not None and (taken.ns, taken.name) != (tool.ns, tool.name):
            # ``b`` of namespace ``a`` beside a tool that is called ``a__b``.
            encoded = sanitise(f"{encoded}:{tool.ns}:{tool.name}", self._limit)
        self._encoded[tool.ns, tool.name] = encoded
        self._origins[encoded] = Origin(tool.name, tool.ns, tool.kind, wrapped)
        return encoded

    def restore(self, encoded: str) -> Origin:
        """Return the client's name of a tool that the upstream called."""
        return self._origins.get(encoded) or Origin(encoded)
