"""JSON Schema of tools and answers: what every target refuses, taken out; what strict needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_REFUSED = frozenset({"$schema", "$id", "$comment"})
# Where a schema holds schemas. Elsewhere (const, enum, default, examples, unknown
# keywords) the same words are data.
_ONE = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_MANY = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
# The keys of these are names of the author's, not keywords.
_NAMED = frozenset(
    {
        "$defs",
        "definitions",
        "dependencies",
        "dependentSchemas",
        "patternProperties",
        "properties",
    }
)
# A schema with none of these takes anything, objects of any shape included.
_NARROWING = ("type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf", "properties")


def clean(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema without ``$schema``, ``$id`` and ``$comment``.

    Only keywords go: a property of that name stays. The input is not changed; what had
    nothing to remove may be shared with it.
    """
    return {
        keyword: _cleaned(keyword, value)
        for keyword, value in schema.items()
        if keyword not in _REFUSED
    }


def _cleaned(keyword: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if keyword in _NAMED:
            return {name: _clean_any(each) for name, each in value.items()}
        return clean(value) if keyword in _ONE else value
    if isinstance(value, list) and keyword in _MANY:
        return [_clean_any(each) for each in value]
    return value


def _clean_any(value: Any) -> Any:
    return clean(value) if isinstance(value, Mapping) else value


def closed(schema: Mapping[str, Any]) -> bool:
    """Return whether ``strict`` can be asked for.

    That is: the schema is an object's, and every object in it forbids other properties
    and requires all of its own.
    """
    return _is_object(schema) and _closed(schema)


def _closed(schema: Mapping[str, Any] | bool) -> bool:
    if isinstance(schema, bool):
        return not schema  # true takes anything, false nothing
    if not any(keyword in schema for keyword in _NARROWING):
        return False
    if _is_object(schema) and not _shut(schema):
        return False
    return all(_closed(inner) for inner in _inner(schema))


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return (
        kind == "object"
        or (isinstance(kind, list) and "object" in kind)
        or (kind is None and "properties" in schema)
    )


def _shut(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and not schema.get("patternProperties")
        and isinstance(properties, Mapping)
        and isinstance(required, list)
        and all(name in required for name in properties)
    )


def _inner(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | bool]:
    """Yield the schemas directly inside ``schema``."""
    for keyword, value in schema.items():
        if keyword in _NAMED and isinstance(value, Mapping):
            found: Iterable[Any] = value.values()
        elif keyword in _MANY and isinstance(value, list):
            found = value
        else:
            found = [value] if keyword in _ONE else ()
        yield from (each for each in found if isinstance(each, Mapping | bool))
