"""JSON Schema of an answer, as ``output_config.format`` takes it.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs and the
schema transformation of the ``anthropic`` SDK: a keyword outside the list is refused, so
it becomes words of the description, which the model reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.protocols import wire

_KEPT = frozenset(
    {
        "$ref",
        "const",
        "default",
        "enum",
        "required",
        "title",
        "type",
    }
)
_FORMATS = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }
)
_NAMED = frozenset({"$defs", "definitions", "properties"})
# The vendor knows no oneOf; anyOf admits all that it admits.
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}


def sanitise(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that the vendor takes; what it cannot check is told to the model."""
    kept: dict[str, Any] = {}
    told: list[str] = []
    for keyword, value in schema.items():
        if keyword in _KEPT or _accepted(keyword, value):
            kept[keyword] = value
        elif keyword in _NAMED and isinstance(value, Mapping):
            kept[keyword] = {name: _inner(each) for name, each in value.items()}
        elif keyword in _LISTS and isinstance(value, list):
            kept.setdefault(_LISTS[keyword], []).extend(_inner(each) for each in value)
        elif keyword == "items":
            kept[keyword] = _inner(value)
        elif keyword not in ("additionalProperties", "description"):
            told.append(f"{keyword}: {wire.compact(value)}")
    _describe(kept, schema.get("description"), told)
    if schema.get("type") == "object" or "properties" in schema:
        # Every object must be closed, whatever the author said.
        kept["additionalProperties"] = False
    return kept


def _accepted(keyword: str, value: Any) -> bool:
    if keyword == "format":
        return value in _FORMATS
    return keyword == "minItems" and value in (0, 1)


def _inner(schema: Any) -> Any:
    return sanitise(schema) if isinstance(schema, Mapping) else schema


def _describe(kept: dict[str, Any], description: Any, told: list[str]) -> None:
    words = [description] if isinstance(description, str) and description else []
    if told:
        words.append("{" + ", ".join(told) + "}")
    if words:
        kept["description"] = "\n\n".join(words)
