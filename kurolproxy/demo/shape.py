"""Values that fit a JSON schema: the same schema always gives the same value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_FORMATS: Mapping[str, str] = {
    "date": "2024-01-31",
    "date-time": "2024-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# Deeper and larger than any value a person would ask for; a schema that refers to
# itself, or doubles with each reference, ends here.
_MAX_DEPTH = 24
_MAX_VALUES = 5_000
_MAX_ITEMS = 100
_MAX_LENGTH = 10_000
_MAX_NUMBER = 2**53

Schema = Mapping[str, Any]


def shape(schema: Schema | None) -> Any:
    """Return the smallest telling value that ``schema`` allows.

    Required properties are filled, optional ones left out. Of several choices the first
    one is taken; strings are named after their property. ``pattern`` is not obeyed, and
    what makes no sense in a schema is passed over.

    Args:
        schema: JSON Schema, also in Gemini's spelling (upper-case types).
    """
    root = {"type": "object"} if schema is None else schema
    return _Shaper(root).value(root, "value", 0)


class _Shaper:
    """Fill one schema; it counts its values, so that no schema is too much for it."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._values = 0

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """Return a value for one place of the schema."""
        self._values += 1
        if depth > _MAX_DEPTH or self._values > _MAX_VALUES:
            return None
        if not isinstance(schema, Mapping):
            return f"demo {name}"
        schema = self._resolved(schema)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        for key in ("enum", "examples"):
            if choices := _list(schema, key):
                return choices[0]
        for key in ("anyOf", "oneOf"):
            if choices := _list(schema, key):
                return self.value(self._first(choices), name, depth + 1)
        make = _TYPES.get(_type_of(schema), _string)
        return make(self, schema, name, depth)

    def _resolved(self, schema: Schema) -> Schema:
        """Follow ``$ref`` and merge ``allOf``; a dangling reference allows everything."""
        followed: set[str] = set()
        while isinstance(reference := schema.get("$ref"), str) and reference not in followed:
            followed.add(reference)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**beside, **self._target(reference)}
        for part in _list(schema, "allOf")[:_MAX_ITEMS]:
            if isinstance(part, Mapping):
                # One level: what a part merges itself is rare and stays out.
                schema = _merged(schema, self._target(part.get("$ref")) or part)
        return schema

    def _target(self, reference: Any) -> Schema:
        if not isinstance(reference, str):
            return {}
        target: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key) if isinstance(target, Mapping) else None
        return target if isinstance(target, Mapping) else {}

    def _first(self, choices: list[Any]) -> Any:
        """Return the first choice that is not null."""
        for choice in choices:
            if isinstance(choice, Mapping) and _type_of(self._resolved(choice)) != "null":
                return choice
        return {"type": "null"}


def _merged(schema: Schema, part: Schema) -> Schema:
    return {
        **part,
        **schema,
        "properties": {**_map(part, "properties"), **_map(schema, "properties")},
        "required": [*_list(part, "required"), *_list(schema, "required")],
    }


def _list(schema: Schema, key: str) -> list[Any]:
    value = schema.get(key)
    return value if isinstance(value, list) else []


def _map(schema: Schema, key: str) -> Schema:
    value = schema.get(key)
    return value if isinstance(value, Mapping) else {}


def _number_of(schema: Schema, key: str) -> float | None:
    value = schema.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Beyond this a double no longer counts in ones.
    return min(max(value, -_MAX_NUMBER), _MAX_NUMBER) if math.isfinite(value) else None


def _count_of(schema: Schema, key: str, default: int) -> int:
    value = _number_of(schema, key)
    return default if value is None else int(min(max(value, 0), _MAX_LENGTH))


def _type_of(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if str(one).lower() != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _object(shaper: _Shaper, schema: Schema, _name: str, depth: int) -> Any:
    properties = _map(schema, "properties")
    names = [name for name in _list(schema, "required") if isinstance(name, str)]
    return {name: shaper.value(properties.get(name), name, depth + 1) for name in names}


def _array(shaper: _Shaper, schema: Schema, name: str, depth: int) -> Any:
    first = _list(schema, "prefixItems")
    wanted = max(_count_of(schema, "minItems", 1), len(first))
    wanted = min(wanted, _count_of(schema, "maxItems", wanted), _MAX_ITEMS)
    rest = [schema.get("items")] * (wanted - len(first))
    return [shaper.value(item, name, depth + 1) for item in [*first, *rest][:wanted]]


def _string(_shaper: _Shaper, schema: Schema, name: str, _depth: int) -> Any:
    value = _FORMATS.get(str(schema.get("format")), f"demo {name}")
    value = value.ljust(_count_of(schema, "minLength", 0), "x")
    return value[: _count_of(schema, "maxLength", len(value))]


def _number(_shaper: _Shaper, schema: Schema, _name: str, _depth: int) -> Any:
    low = _limit(schema, "minimum", "exclusiveMinimum")
    high = _limit(schema, "maximum", "exclusiveMaximum")
    value = 1.5
    if low is not None and value <= low:
        value = low + 0.5
    if high is not None and value >= high:
        value = high - 0.5 if low is None else (low + high) / 2
    return _stepped(schema, value)


def _limit(schema: Schema, *keys: str) -> float | None:
    return next((found for key in keys if (found := _number_of(schema, key)) is not None), None)


def _integer(_shaper: _Shaper, schema: Schema, _name: str, _depth: int) -> Any:
    value = 1
    if (low := _number_of(schema, "minimum")) is not None:
        value = max(value, math.ceil(low))
    if (low := _number_of(schema, "exclusiveMinimum")) is not None:
        value = max(value, math.floor(low) + 1)
    if (high := _number_of(schema, "maximum")) is not None:
        value = min(value, math.floor(high))
    if (high := _number_of(schema, "exclusiveMaximum")) is not None:
        value = min(value, math.ceil(high) - 1)
    return int(_stepped(schema, value))


def _stepped(schema: Schema, value: float) -> float:
    step = _number_of(schema, "multipleOf")
    if step is None or step < 1e-9:
        return value
    return math.ceil(value / step) * step


_TYPES: Mapping[str, Callable[[_Shaper, Schema, str, int], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}
