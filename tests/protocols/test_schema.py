"""Schemas lose the keywords that targets refuse, and only as keywords."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.protocols.schema import clean, closed

REFUSED = {"$schema": "https://json-schema.org/draft-07", "$id": "urn:x", "$comment": "hm"}


def refused_in(inner: dict[str, Any]) -> dict[str, Any]:
    return REFUSED | inner


PLACES = [
    ("top", lambda inner: inner),
    ("items", lambda inner: {"items": inner}),
    ("tuple items", lambda inner: {"items": [inner]}),
    ("prefixItems", lambda inner: {"prefixItems": [{"type": "null"}, inner]}),
    ("properties", lambda inner: {"properties": {"x": inner}}),
    ("patternProperties", lambda inner: {"patternProperties": {"^x": inner}}),
    ("$defs", lambda inner: {"$defs": {"x": inner}}),
    ("definitions", lambda inner: {"definitions": {"x": inner}}),
    ("dependentSchemas", lambda inner: {"dependentSchemas": {"x": inner}}),
    ("additionalProperties", lambda inner: {"additionalProperties": inner}),
    ("anyOf", lambda inner: {"anyOf": [inner]}),
    ("oneOf", lambda inner: {"oneOf": [inner]}),
    ("allOf", lambda inner: {"allOf": [inner]}),
    ("not", lambda inner: {"not": inner}),
    ("if", lambda inner: {"if": inner, "then": inner, "else": inner}),
    ("propertyNames", lambda inner: {"propertyNames": inner}),
    ("deep", lambda inner: {"properties": {"a": {"items": {"anyOf": [{"items": inner}]}}}}),
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_keywords_go_wherever_a_schema_stands(name: str, place: Any) -> None:
    assert clean(place(refused_in({"type": "string"}))) == place({"type": "string"})


DATA = [
    ("property names", {"properties": {each: {"type": "string"} for each in REFUSED}}),
    ("names of definitions", {"$defs": {each: {"type": "string"} for each in REFUSED}}),
    ("names of old definitions", {"definitions": dict.fromkeys(REFUSED, True)}),
    ("patterns", {"patternProperties": {each: {} for each in REFUSED}}),
    ("dependent schemas", {"dependentSchemas": {each: {} for each in REFUSED}}),
    ("property called properties", {"properties": {"properties": {"type": "object"}}}),
    ("constant", {"const": REFUSED}),
    ("enumeration", {"enum": [REFUSED]}),
    ("default", {"default": REFUSED}),
    ("examples", {"examples": [REFUSED]}),
    ("unknown keyword", {"x-vendor": REFUSED}),
    ("required names", {"required": ["$id"]}),
    ("old dependencies", {"dependencies": {"a": ["$id"]}}),
    ("booleans", {"items": True, "additionalProperties": False, "not": False}),
    ("nonsense", {"properties": ["$id"], "anyOf": {"$id": 1}, "items": 5}),
]


@pytest.mark.parametrize(("name", "schema"), DATA)
def test_the_same_words_as_data_stay(name: str, schema: dict[str, Any]) -> None:
    assert clean(schema) == schema


WORDS = st.sampled_from(
    [*REFUSED, "properties", "items", "anyOf", "const", "$defs", "type", "additionalProperties"]
)
SCHEMAS = st.recursive(
    st.booleans() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
).filter(lambda value: isinstance(value, dict))


@given(SCHEMAS)
def test_input_is_never_changed_and_twice_is_once(schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    cleaned = clean(schema)
    assert schema == before
    assert clean(cleaned) == cleaned
    assert not set(REFUSED) & set(cleaned)


def an_object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a closed object schema."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | more


TEXT = {"type": "string"}
OPEN = {"type": "object", "properties": {"x": TEXT}}

CLOSED = [
    ("empty object", an_object({}), True),
    ("object", an_object({"a": TEXT}), True),
    ("no properties named", {"type": "object", "additionalProperties": False}, True),
    ("nullable object", an_object({"a": TEXT}, type=["object", "null"]), True),
    ("array of closed", an_object({"a": {"type": "array", "items": an_object({})}}), True),
    ("reference", an_object({"a": {"$ref": "#/$defs/x"}}, **{"$defs": {"x": an_object({})}}), True),
    ("choice", an_object({"a": {"anyOf": [TEXT, an_object({})]}}), True),
    ("enumeration", an_object({"a": {"enum": ["x"]}}), True),
    ("description beside", an_object({"a": TEXT | {"description": "d"}}), True),
    ("optional property", an_object({"a": TEXT, "b": TEXT}, required=["a"]), False),
    ("others allowed", an_object({"a": TEXT}, additionalProperties=True), False),
    ("others have a schema", an_object({"a": TEXT}, additionalProperties=TEXT), False),
    ("others not mentioned", OPEN, False),
    ("patterns", an_object({}, patternProperties={"^x": TEXT}), False),
    ("open property", an_object({"a": OPEN}), False),
    ("open item", an_object({"a": {"type": "array", "items": OPEN}}), False),
    ("open choice", an_object({"a": {"anyOf": [TEXT, OPEN]}}), False),
    ("open definition", an_object({}, **{"$defs": {"x": OPEN}}), False),
    ("property that takes anything", an_object({"a": {}}), False),
    ("item that takes anything", an_object({"a": {"type": "array", "items": {}}}), False),
    ("object without a type", {"properties": {"x": TEXT}}, False),
    ("no object", {"type": "string"}, False),
    ("anything", {}, False),
    ("property that is true", an_object({"a": True}), False),
    ("property that is false", an_object({"a": False}), True),
    ("nonsense", an_object({}) | {"properties": ["a"]}, False),
    ("required is no list", an_object({"a": TEXT}, required="a"), False),
]


@pytest.mark.parametrize(("name", "schema", "is_closed"), CLOSED)
def test_strict_needs_every_object_closed(
    name: str, schema: dict[str, Any], is_closed: bool
) -> None:
    assert closed(schema) is is_closed


@given(SCHEMAS)
def test_any_schema_gets_an_answer(schema: dict[str, Any]) -> None:
    assert closed(schema) in (True, False)
