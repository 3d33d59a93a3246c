"""Schemas for old Gemini backends: JSON Schema -> the vendor's dialect of OpenAPI.

Newer backends take JSON Schema itself. The dialect knows few keywords and refuses every
other one, has no references, one type to a schema, and values of text only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import wire

_MAX_NODES = 10_000
_MAX_BYTES = 1_048_576
_MAX_LEVELS = 60
"""Levels of schemas in schemas; each is two of the document, which has at most 100 itself."""

_FORMATS = frozenset({"date-time", "enum", "int32", "int64", "float", "double"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
# Keyword -> the types it says something about; only these are taken over as they are.
_PLAIN: Mapping[str, tuple[str, ...]] = {
    "title": (),
    "description": (),
    "example": (),
    "maxItems": ("array",),
    "minItems": ("array",),
    "propertyOrdering": ("object",),
    "minProperties": ("object",),
    "maxProperties": ("object",),
    "minimum": ("number", "integer"),
    "maximum": ("number", "integer"),
    "minLength": ("string",),
    "maxLength": ("string",),
    "pattern": ("string",),
}
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
# What a schema without a type must be of, by what else it says.
_SHOWN_BY = (("properties", "object"), ("items", "array"), ("prefixItems", "array"))
_VALUE_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}

Schema = Mapping[str, Any]


def to_legacy(schema: Schema, what: str) -> dict[str, Any] | None:
    """Return the schema in the old dialect.

    References are put in place; a schema inside itself becomes an object of any shape.

    Args:
        what: what it is the schema of, for the error (``the tool read_file``).

    Returns:
        None for an object without properties: the dialect has no word for it, and a
        function without parameters needs none.

    Raises:
        BadRequest: with its references in place it is too large.
    """
    encoded = _Encoder(schema, what).schema(schema)
    if encoded.get("type") == "OBJECT" and not encoded.get("properties"):
        return None
    return encoded or None


class _Encoder:
    """One schema on its way out.

    Args:
        root: what references are relative to.
    """

    def __init__(self, root: Schema, what: str) -> None:
        self._root = root
        self._what = what
        self._nodes = 0
        self._bytes = 0
        self._levels = 0
        # References that are being put in place, from the outside in.
        self._inside: list[str] = []

    def schema(self, schema: Any) -> dict[str, Any]:
        """Write one schema and all that is in it."""
        if not isinstance(schema, Mapping):
            # true: anything. false does not occur where a value may stand.
            return {}
        self._levels += 1
        if self._levels > _MAX_LEVELS:
            raise self._too_large()
        flat, references = self._flat(schema)
        if any(reference in self._inside for reference in references):
            written: dict[str, Any] = {"type": "OBJECT"}
        else:
            self._inside += references
            written = self._typed(flat)
            del self._inside[len(self._inside) - len(references) :]
        self._levels -= 1
        return written

    def _too_large(self) -> BadRequest:
        return BadRequest(
            f"The schema of {self._what} is too large for this model once its references "
            "are put in place.",
            param="tools",
        )

    # --- references and combinations ------------------------------------------------------

    def _flat(self, schema: Schema) -> tuple[dict[str, Any], list[str]]:
        """Return a schema with what it refers to, and the references that were followed."""
        found, references = self._followed(schema)
        parts = found.pop("allOf", None)
        if not isinstance(parts, list):
            return found, references
        merged: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, Mapping):
                inner, more = self._followed(part)
                _merge(merged, inner)
                references += more
        _merge(merged, found)
        return merged, references

    def _followed(self, schema: Schema) -> tuple[dict[str, Any], list[str]]:
        """Put what ``$ref`` points at in its place; what stands beside it goes first."""
        found, references = dict(schema), list[str]()
        while True:
            self._nodes += 1
            if self._nodes > _MAX_NODES:
                raise self._too_large()
            reference = found.pop("$ref", None)
            if not isinstance(reference, str):
                return found, references
            target = None if reference in references else _look_up(self._root, reference)
            references.append(reference)
            self._charge(target or {})
            found = {**({"type": "object"} if target is None else target), **found}

    def _charge(self, target: Schema) -> None:
        """Count the work of copying, which no written byte may show."""
        properties = target.get("properties")
        copied = len(target) + (len(properties) if isinstance(properties, Mapping) else 0)
        self._bytes += 8 * copied
        if self._bytes > _MAX_BYTES:
            raise self._too_large()

    def _typed(self, schema: Schema) -> dict[str, Any]:
        kinds = _types(schema)
        values = schema.get("enum")
        nullable = "null" in kinds or schema.get("nullable") is True
        nullable = nullable or (isinstance(values, list) and None in values)
        real = [kind for kind in kinds if kind not in ("", "null")]
        if len(real) > 1:
            options = [self.schema({**_for_type(schema, kind), "type": kind}) for kind in real]
            written = {**self._words(schema), "anyOf": options}
        elif kinds == ["null"]:
            written, nullable = {**self._words(schema), "type": "NULL"}, False
        else:
            written = self._single(schema, real[0] if real else "")
        if nullable:
            written["nullable"] = True
        return written

    def _words(self, schema: Schema) -> dict[str, Any]:
        words = {
            name: schema[name]
            for name in ("title", "description")
            if isinstance(schema.get(name), str)
        }
        self._spend(words)
        return words

    def _spend(self, value: Any) -> None:
        self._bytes += len(wire.compact(value))
        if self._bytes > _MAX_BYTES:
            raise self._too_large()

    # --- one type -------------------------------------------------------------------------

    def _single(self, schema: Schema, kind: str) -> dict[str, Any]:
        written: dict[str, Any] = {"type": kind.upper()} if kind else {}
        written |= _limits(schema, kind)
        values = _values(schema) if kind == "string" else []
        if values:
            written["enum"] = values
        self._spend(written)
        if kind == "object":
            self._properties(schema, written)
        elif kind == "array":
            # An array without items is refused.
            written["items"] = self.schema(_first_item(schema)) or {"type": "STRING"}
        return self._options(schema, written)

    def _properties(self, schema: Schema, written: dict[str, Any]) -> None:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            return
        self._spend(list(properties))
        written["properties"] = {name: self.schema(each) for name, each in properties.items()}
        required = schema.get("required")
        if isinstance(required, list):
            # A name that is no property is refused.
            named = [name for name in required if isinstance(name, str) and name in properties]
            if named:
                written["required"] = named

    def _options(self, schema: Schema, written: dict[str, Any]) -> dict[str, Any]:
        listed = [
            each
            for keyword in ("anyOf", "oneOf")
            if isinstance(schema.get(keyword), list)
            for each in schema[keyword]
        ]
        options = [each for each in listed if not _is_null(each)]
        # Beside a type there may be no anyOf: the type says enough.
        if len(options) == 1 and "type" not in written:
            # The only option but null is no choice.
            written = {**self.schema(options[0]), **written}
        elif options and "type" not in written:
            written["anyOf"] = [self.schema(each) for each in options]
        if len(options) < len(listed):
            written["nullable"] = True
        return written


def _look_up(root: Schema, reference: str) -> Schema | None:
    """Return the schema that a pointer into the document points at."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _merge(merged: dict[str, Any], more: Schema) -> None:
    """Lay one schema over another: properties and what is required of them add up."""
    for name, value in more.items():
        old = merged.get(name)
        if name == "properties" and isinstance(old, Mapping) and isinstance(value, Mapping):
            value = {**old, **value}
        elif name == "required" and isinstance(old, list) and isinstance(value, list):
            value = list(dict.fromkeys(each for each in (*old, *value) if isinstance(each, str)))
        merged[name] = value


def _types(schema: Schema) -> list[str]:
    """Return the types that a schema names, or the one that it must be of."""
    given = schema.get("type")
    listed = given if isinstance(given, list) else [given]
    kinds = [each.lower() for each in listed if isinstance(each, str)]
    known = [kind for kind in dict.fromkeys(kinds) if kind in _TYPES]
    if known:
        return known
    shown = [kind for keyword, kind in _SHOWN_BY if keyword in schema][:1]
    return shown or list(dict.fromkeys(_VALUE_TYPES.get(type(each), "") for each in _given(schema)))


def _for_type(schema: Schema, kind: str) -> dict[str, Any]:
    """Return what a schema of several types says about one of them."""
    out = {name: value for name, value in schema.items() if kind in _PLAIN.get(name, ())}
    own = {
        "object": ("properties", "required"),
        "array": ("items", "prefixItems"),
        "string": ("enum", "const", "format"),
    }
    return out | {name: schema[name] for name in own.get(kind, ()) if name in schema}


def _limits(schema: Schema, kind: str) -> dict[str, Any]:
    """Return the keywords that are taken over as they are."""
    out: dict[str, Any] = {}
    for name, value in schema.items():
        wanted = _PLAIN.get(_EXCLUSIVE.get(name, name))
        if wanted is None or (wanted and kind not in wanted) or value is None:
            continue
        if name in _EXCLUSIVE and (isinstance(value, bool) or _EXCLUSIVE[name] in schema):
            continue
        out[_EXCLUSIVE.get(name, name)] = value
    if schema.get("format") in _FORMATS:
        out["format"] = schema["format"]
    return out


def _given(schema: Schema) -> list[Any]:
    """Return the values that a schema allows, null left out: that is said by ``nullable``."""
    given = [schema["const"]] if "const" in schema else schema.get("enum")
    return [each for each in given if each is not None] if isinstance(given, list) else []


def _values(schema: Schema) -> list[str]:
    """Return the allowed values as texts, which is all that the dialect knows."""
    texts = (each if isinstance(each, str) else wire.compact(each) for each in _given(schema))
    # An empty value is refused.
    return list(dict.fromkeys(text for text in texts if text))


def _first_item(schema: Schema) -> Any:
    for keyword in ("prefixItems", "items"):
        value = schema.get(keyword)
        if isinstance(value, list):
            return value[0] if value else None
        if value is not None:
            return value
    return None


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"
