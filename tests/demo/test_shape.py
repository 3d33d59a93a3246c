"""Values shaped by a schema: small, telling, the same each time."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.demo.shape import shape

CASES: list[tuple[str, Any, Any]] = [
    ("no schema takes no arguments", None, {}),
    ("an open schema is a string", {}, "demo value"),
    ("string", {"type": "string"}, "demo value"),
    ("integer", {"type": "integer"}, 1),
    ("number", {"type": "number"}, 1.5),
    ("boolean", {"type": "boolean"}, True),
    ("null", {"type": "null"}, None),
    ("upper case as in Gemini", {"type": "INTEGER"}, 1),
    ("nullable type list", {"type": ["null", "integer"]}, 1),
    ("const", {"const": 7, "type": "integer"}, 7),
    ("default before enum", {"default": "b", "enum": ["a", "b"]}, "b"),
    ("false is a default", {"type": "boolean", "default": False}, False),
    ("enum", {"type": "string", "enum": ["x", "y"]}, "x"),
    ("example", {"type": "string", "examples": ["Paris"]}, "Paris"),
    ("date", {"type": "string", "format": "date"}, "2024-01-31"),
    ("email", {"type": "string", "format": "email"}, "demo@example.com"),
    ("unknown format", {"type": "string", "format": "iban"}, "demo value"),
    ("short", {"type": "string", "maxLength": 3}, "dem"),
    ("long", {"type": "string", "minLength": 12}, "demo valuexx"),
    ("minimum", {"type": "integer", "minimum": 5}, 5),
    ("exclusive minimum", {"type": "integer", "exclusiveMinimum": 5}, 6),
    ("maximum", {"type": "integer", "maximum": -2}, -2),
    ("exclusive maximum", {"type": "integer", "exclusiveMaximum": 0}, -1),
    ("multiple", {"type": "integer", "multipleOf": 5, "minimum": 7}, 10),
    ("number between", {"type": "number", "minimum": 0, "maximum": 1}, 0.5),
    ("number above", {"type": "number", "minimum": 9}, 9.5),
    ("array", {"type": "array", "items": {"type": "integer"}}, [1]),
    ("array of three", {"type": "array", "items": {"type": "null"}, "minItems": 3}, [None] * 3),
    ("array of none", {"type": "array", "maxItems": 0, "items": {"type": "integer"}}, []),
    ("tuple", {"prefixItems": [{"type": "integer"}, {"type": "string"}]}, [1, "demo value"]),
    ("anyOf skips null", {"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
    ("oneOf", {"oneOf": [{"const": "a"}, {"const": "b"}]}, "a"),
    (
        "allOf is merged",
        {
            "allOf": [
                {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
            ]
        },
        {"a": 1, "b": True},
    ),
    (
        "required properties only, named and nested",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "at": {
                    "type": "object",
                    "properties": {"lat": {"type": "number"}, "zoom": {"type": "integer"}},
                    "required": ["lat"],
                },
                "note": {"type": "string"},
            },
            "required": ["city", "at", "undeclared"],
        },
        {"city": "demo city", "at": {"lat": 1.5}, "undeclared": "demo undeclared"},
    ),
    (
        "reference",
        {
            "$defs": {"a/b": {"type": "integer", "minimum": 3}},
            "type": "object",
            "properties": {"n": {"$ref": "#/$defs/a~1b"}},
            "required": ["n"],
        },
        {"n": 3},
    ),
    ("dangling reference", {"$ref": "#/$defs/none"}, "demo value"),
    ("reference to itself", {"$ref": "#"}, "demo value"),
]


@pytest.mark.parametrize(("name", "schema", "value"), CASES, ids=[case[0] for case in CASES])
def test_value_fits_its_schema(name: str, schema: Any, value: Any) -> None:
    assert shape(schema) == value
    assert type(shape(schema)) is type(value)


def test_recursive_schema_ends() -> None:
    node = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
        "required": ["left", "right"],
    }
    assert len(orjson.dumps(shape(node))) < 200_000


_KEYS = st.sampled_from(
    [
        "type",
        "enum",
        "const",
        "default",
        "items",
        "prefixItems",
        "properties",
        "required",
        "anyOf",
        "allOf",
        "$ref",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "exclusiveMinimum",
        "multipleOf",
        "format",
        "examples",
        "string",
        "integer",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _JSON, max_size=6))
def test_no_schema_is_too_odd(schema: dict[str, Any]) -> None:
    first = orjson.dumps(shape(schema))
    assert first == orjson.dumps(shape(schema))


@given(st.sampled_from(["integer", "number"]), st.integers(-50, 50), st.integers(0, 50))
def test_number_stays_in_its_bounds(kind: str, low: int, width: int) -> None:
    value = shape({"type": kind, "minimum": low, "maximum": low + width})
    assert low <= value <= low + width
