"""Schemas of Gemini clients: the vendor's dialect of OpenAPI -> JSON Schema.

Source: https://ai.google.dev/api/caching#Schema and the type ``Schema`` of the
``google-genai`` SDK 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.protocols.gemini.vocabulary import camel

# Their values are whole numbers of 64 bits, which protocol buffers may write as strings.
_COUNTS = frozenset(
    {"maxItems", "minItems", "maxLength", "minLength", "maxProperties", "minProperties"}
)
_RENAMED = {"defs": "$defs", "ref": "$ref"}
_ONE = frozenset({"items", "additionalProperties"})
_MANY = frozenset({"anyOf"})
_NAMED = frozenset({"properties", "$defs"})
_UNSPECIFIED = "type_unspecified"


def to_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema that says the same.

    Types are in lower case there, and ``nullable`` is a type of its own; every other
    keyword stays as it is.
    """
    out: dict[str, Any] = {}
    for spelled, value in schema.items():
        keyword = spelled if spelled.startswith("$") else camel(spelled)
        if value is not None and keyword != "nullable":
            out[_RENAMED.get(keyword, keyword)] = _value(_RENAMED.get(keyword, keyword), value)
    if out.get("type") == _UNSPECIFIED:
        del out["type"]
    return _nullable(out) if schema.get("nullable") is True else out


def _value(keyword: str, value: Any) -> Any:
    if keyword == "type":
        return value.lower() if isinstance(value, str) else value
    if keyword in _COUNTS and isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    if keyword == "$ref" and isinstance(value, str):
        return value.replace("#/defs/", "#/$defs/", 1)
    if isinstance(value, Mapping):
        if keyword in _NAMED:
            return {name: _inner(each) for name, each in value.items()}
        return to_json_schema(value) if keyword in _ONE else value
    if isinstance(value, list) and keyword in _MANY:
        return [_inner(each) for each in value]
    return value


def _inner(schema: Any) -> Any:
    return to_json_schema(schema) if isinstance(schema, Mapping) else schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a schema take null as well."""
    kind, options, values = schema.get("type"), schema.get("anyOf"), schema.get("enum")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    if isinstance(options, list):
        schema["anyOf"] = [*options, {"type": "null"}]
    if isinstance(values, list) and None not in values:
        schema["enum"] = [*values, None]
    return schema
