"""Schemas between the vendor's dialect of OpenAPI and JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import BadRequest
from kurolproxy.protocols.gemini.schema_decode import to_json_schema
from kurolproxy.protocols.gemini.schema_encode import to_legacy

READ: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("type in capitals", {"type": "STRING"}, {"type": "string"}),
    ("nothing said of the type", {"type": "TYPE_UNSPECIFIED", "title": "t"}, {"title": "t"}),
    ("nullable", {"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
    ("not nullable", {"type": "STRING", "nullable": False}, {"type": "string"}),
    (
        "nullable choice",
        {"anyOf": [{"type": "STRING"}], "nullable": True},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    (
        "nullable enum",
        {"type": "STRING", "enum": ["a"], "nullable": True},
        {"type": ["string", "null"], "enum": ["a", None]},
    ),
    (
        "snake case and counts as text",
        {"type": "ARRAY", "max_items": "3", "items": {"type": "INTEGER", "any_of": []}},
        {"type": "array", "maxItems": 3, "items": {"type": "integer", "anyOf": []}},
    ),
    (
        "names of properties stay",
        {"type": "OBJECT", "properties": {"max_items": {"type": "NUMBER"}, "type": {}}},
        {"type": "object", "properties": {"max_items": {"type": "number"}, "type": {}}},
    ),
    (
        "definitions",
        {"ref": "#/defs/P", "defs": {"P": {"type": "OBJECT"}}},
        {"$ref": "#/$defs/P", "$defs": {"P": {"type": "object"}}},
    ),
    (
        "the rest verbatim",
        {"type": "OBJECT", "propertyOrdering": ["a"], "example": {"type": "STRING"}},
        {"type": "object", "propertyOrdering": ["a"], "example": {"type": "STRING"}},
    ),
]


@pytest.mark.parametrize(("name", "own", "standard"), READ, ids=[case[0] for case in READ])
def test_the_vendors_dialect_is_read(
    name: str, own: dict[str, Any], standard: dict[str, Any]
) -> None:
    assert to_json_schema(own) == standard


def wrapped(inner: dict[str, Any], **root: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": inner}, **root}


WRITTEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("type", {"type": "integer"}, {"type": "INTEGER"}),
    ("type or null", {"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
    ("null alone", {"type": "null"}, {"type": "NULL"}),
    (
        "several types",
        {"type": ["string", "number"], "description": "d", "minLength": 1, "minimum": 2},
        {
            "description": "d",
            "anyOf": [{"type": "STRING", "minLength": 1}, {"type": "NUMBER", "minimum": 2}],
        },
    ),
    ("const", {"const": "x"}, {"type": "STRING", "enum": ["x"]}),
    ("const that is no text", {"const": 5}, {"type": "INTEGER"}),
    ("enum of numbers", {"type": "integer", "enum": [1, 2]}, {"type": "INTEGER"}),
    (
        "enum of several kinds",
        {"type": "string", "enum": [1, "b", ""]},
        {"type": "STRING", "enum": ["1", "b"]},
    ),
    ("enum with null", {"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
    (
        "one of",
        {"oneOf": [{"type": "string"}, {"type": "boolean"}]},
        {"anyOf": [{"type": "STRING"}, {"type": "BOOLEAN"}]},
    ),
    (
        "one type or null",
        {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d"},
        {"type": "STRING", "description": "d", "nullable": True},
    ),
    (
        "a choice beside a type",
        {"type": "object", "properties": {"b": {}}, "anyOf": [{"required": ["b"]}]},
        {"type": "OBJECT", "properties": {"b": {}}},
    ),
    (
        "all of",
        {
            "allOf": [
                {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]},
                {"properties": {"c": {"type": "string"}}, "required": ["c", "gone"]},
            ]
        },
        {
            "type": "OBJECT",
            "properties": {"b": {"type": "STRING"}, "c": {"type": "STRING"}},
            "required": ["b", "c"],
        },
    ),
    (
        "bounds",
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": True, "multipleOf": 2},
        {"type": "NUMBER", "minimum": 1},
    ),
    (
        "format that is known",
        {"type": "string", "format": "date-time"},
        {"type": "STRING", "format": "date-time"},
    ),
    ("format that is not", {"type": "string", "format": "uuid"}, {"type": "STRING"}),
    (
        "array without items",
        {"type": "array", "uniqueItems": True},
        {"type": "ARRAY", "items": {"type": "STRING"}},
    ),
    (
        "tuple",
        {"prefixItems": [{"type": "number"}, {"type": "string"}]},
        {"type": "ARRAY", "items": {"type": "NUMBER"}},
    ),
    ("anything", {"description": "d"}, {"description": "d"}),
    (
        "unknown keywords",
        {
            "type": "object",
            "properties": {"b": True},
            "if": {},
            "not": {},
            "default": 1,
            "$comment": "c",
        },
        {"type": "OBJECT", "properties": {"b": {}}},
    ),
    ("a reference that leads nowhere", {"$ref": "#/$defs/Gone"}, {"type": "OBJECT"}),
    ("a reference to elsewhere", {"$ref": "http://x.invalid/s"}, {"type": "OBJECT"}),
]


@pytest.mark.parametrize(("name", "standard", "own"), WRITTEN, ids=[case[0] for case in WRITTEN])
def test_the_vendors_dialect_is_written(
    name: str, standard: dict[str, Any], own: dict[str, Any]
) -> None:
    written = to_legacy(wrapped(standard), "the tool t")
    assert written == {"type": "OBJECT", "properties": {"a": own}}
    types.Schema.model_validate(written)


def test_references_are_put_in_place() -> None:
    defs = {"P": {"type": "object", "properties": {"x": {"type": "string"}}, "description": "old"}}
    for reference, root in (("#/$defs/P", "$defs"), ("#/definitions/P", "definitions")):
        schema = wrapped({"$ref": reference, "description": "new"}, **{root: defs})
        assert to_legacy(schema, "t") == {
            "type": "OBJECT",
            "properties": {
                "a": {
                    "type": "OBJECT",
                    "description": "new",
                    "properties": {"x": {"type": "STRING"}},
                }
            },
        }


@pytest.mark.parametrize(
    "node",
    [
        {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}},
        {"type": "object", "properties": {"n": {"allOf": [{"$ref": "#/$defs/N"}]}}},
    ],
)
def test_a_schema_inside_itself_ends(node: dict[str, Any]) -> None:
    written = to_legacy(wrapped({"$ref": "#/$defs/N"}, **{"$defs": {"N": node}}), "t")
    assert written is not None
    inner = written["properties"]["a"]
    assert inner == {"type": "OBJECT", "properties": {"n": {"type": "OBJECT"}}}


def test_references_in_a_circle_end() -> None:
    defs = {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}
    written = to_legacy(wrapped({"$ref": "#/$defs/A"}, **{"$defs": defs}), "t")
    assert written == {"type": "OBJECT", "properties": {"a": {"type": "OBJECT"}}}


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "properties": {}}, {}])
def test_no_parameters_need_no_schema(schema: dict[str, Any]) -> None:
    assert to_legacy(schema, "t") is None


def doubling(levels: int) -> dict[str, Any]:
    """Return a small schema that doubles with every reference put in place."""
    defs = {
        f"d{at}": {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/d{at + 1}"} for name in "ab"},
        }
        for at in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "string"}}}


def chain(levels: int) -> dict[str, Any]:
    defs = {
        f"d{at}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{at + 1}"}}}
        for at in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": defs}


def loud() -> dict[str, Any]:
    """Return a schema with few nodes and a long text that is repeated."""
    said = {"type": "string", "description": "x" * 100_000}
    return {
        "type": "object",
        "properties": {f"p{at}": {"$ref": "#/$defs/S"} for at in range(20)},
        "$defs": {"S": said},
    }


def copied() -> dict[str, Any]:
    """Return a schema that merges one large definition again and again."""
    wide = {"type": "object", "properties": {f"p{at}": {} for at in range(2_000)}}
    return {"allOf": [{"$ref": "#/$defs/W"}] * 5_000, "$defs": {"W": wide}}


@pytest.mark.parametrize("schema", [doubling(14), chain(200), loud(), copied()])
def test_a_schema_that_grows_too_large_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="the tool grow") as refused:
        to_legacy(schema, "the tool grow")
    assert refused.value.param == "tools"


def test_a_schema_below_the_limit_is_written() -> None:
    assert to_legacy(doubling(10), "t") is not None
    assert to_legacy(chain(20), "t") is not None


KEYWORDS = st.sampled_from(
    ["type", "$ref", "$defs", "allOf", "anyOf", "enum", "const", "items", "properties", "required"]
)
VALUES = st.sampled_from(
    ["string", "object", "array", "null", "#/$defs/a", "#", 1, None, True, ["a", 1, None]]
)
SCHEMAS = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | st.just("a"), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(st.dictionaries(KEYWORDS, SCHEMAS))
def test_any_schema_is_written_or_refused(schema: dict[str, Any]) -> None:
    try:
        written = to_legacy(schema, "t")
    except BadRequest:
        return
    types.Schema.model_validate(written or {})


@given(st.dictionaries(KEYWORDS, SCHEMAS))
def test_any_schema_is_read(schema: dict[str, Any]) -> None:
    to_json_schema(schema)
