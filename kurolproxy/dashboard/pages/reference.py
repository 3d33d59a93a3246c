"""``/docs``: the API of this installation, made of its OpenAPI document; no login is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from kurolproxy.dashboard.examples import examples_at
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit

Schema = Mapping[str, Any]

_REF: Final = "#/components/schemas/"
# Bounds from here on are those of the numbers themselves.
_ANY: Final = 10**15
_METHODS: Final = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a value.

    Attributes:
        text: in words.
        name: of the structure that it is; "": it is none.
    """

    text: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a structure.

    Attributes:
        where: ``path``, ``query`` or ``header``; "" of a field.
        text: what it means.
    """

    name: str
    kind: Kind
    required: bool
    text: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        id: its name in the document.
        body: the structure that it takes; "": none.
        answers: status and structure of each answer that is no error.
        errors: the statuses of all others.
    """

    id: str
    method: str
    path: str
    summary: str
    text: str
    fields: list[Field]
    body: str
    answers: list[tuple[str, str]]
    errors: list[str]


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that belong together."""

    name: str
    text: str
    operations: list[Operation]


@dataclass(frozen=True, slots=True)
class Structure:
    """An object in a body."""

    name: str
    text: str
    fields: list[Field]


async def show(visit: Visit) -> web.Response:
    """Show the reference."""
    document = visit.desk.openapi()
    base_url = visit.site.public_url
    return visit.render(
        "reference.html",
        base_url=base_url,
        groups=list(_groups(document)),
        structures=list(_structures(document)),
        errors=document["x-kurol-errors"],
        examples=list(examples_at(base_url)),
        pieces=pieces,
    )


def pieces(text: str) -> list[tuple[bool, str]]:
    """Return a text cut at its backticks: whether a piece is code, and the piece."""
    return [(at % 2 == 1, each) for at, each in enumerate(text.split("`")) if each]


def _groups(document: Schema) -> Iterator[Group]:
    for tag in document["tags"]:
        found = [
            _operation(method, path, methods[method])
            for path, methods in document["paths"].items()
            for method in _METHODS
            if method in methods and tag["name"] in methods[method]["tags"]
        ]
        yield Group(tag["name"], tag["description"], found)


def _operation(method: str, path: str, told: Schema) -> Operation:
    good = [(status, each) for status, each in told["responses"].items() if status < "400"]
    return Operation(
        id=told["operationId"],
        method=method.upper(),
        path=path,
        summary=told["summary"],
        text=told.get("description", ""),
        fields=[_parameter(each) for each in told.get("parameters", ())],
        body=_content(told.get("requestBody", {})),
        answers=[(status, _content(each)) for status, each in good],
        errors=[status for status in told["responses"] if status >= "400"],
    )


def _parameter(told: Schema) -> Field:
    return Field(
        told["name"],
        kind_of(told["schema"]),
        told.get("required", False),
        told.get("description", ""),
        told["in"],
    )


def _content(told: Schema) -> str:
    """Return the name of the structure that a body is; "" when it has none."""
    content: Schema = told.get("content", {})
    schema: Schema = content.get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).removeprefix(_REF)


def _structures(document: Schema) -> Iterator[Structure]:
    for name, told in document["components"]["schemas"].items():
        required = told.get("required", ())
        yield Structure(
            name,
            told.get("description", ""),
            [
                Field(each, kind_of(schema), each in required, _text(schema))
                for each, schema in told.get("properties", {}).items()
            ],
        )


def _text(schema: Schema) -> str:
    """Return what a schema says of itself, or the first of its choices that says anything."""
    for each in (schema, *schema.get("anyOf", ())):
        if "description" in each:
            return str(each["description"])
    return ""


def kind_of(schema: Schema) -> Kind:
    """Return the type of what fits a schema, in words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_REF)
        return Kind(name, name)
    if "anyOf" in schema:
        kinds = [kind_of(each) for each in schema["anyOf"]]
        names = [each.name for each in kinds if each.name]
        return Kind(" | ".join(each.text for each in kinds), names[0] if names else "")
    if "const" in schema:
        return Kind(f'"{schema["const"]}"')
    if "enum" in schema:
        return Kind(" | ".join(f'"{each}"' for each in schema["enum"]))
    if schema.get("type") == "array":
        inner = kind_of(schema.get("items", {}))
        return Kind(f"array of {inner.text}", inner.name)
    return Kind(_plain(schema))


def _plain(schema: Schema) -> str:
    """Return a type that holds no other, with its bounds."""
    name = str(schema.get("format") or schema.get("type", "any"))
    low, high = schema.get("minimum"), schema.get("maximum", _ANY)
    if low is not None and high < _ANY:
        return f"{name}, {low} to {high}"
    return name if low is None else f"{name} from {low}"


ROUTES: Final = (Route("GET", "/docs", show, needs="nobody", always=True),)
