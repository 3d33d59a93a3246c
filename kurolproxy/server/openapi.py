"""The OpenAPI document of this installation, from the tables that answer its requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from kurolproxy.server.api_models import AccountId, Error, KeyId, NoQuery
from kurolproxy.server.manage_operations import OPERATIONS, PREFIX, Operation
from kurolproxy.server.openapi_calls import HEADERS, PATHS, SCHEMAS, SECURITY, TEXT, ref
from kurolproxy.server.openapi_errors import MANAGED, WITH_BODY, error_table, responses

Schema = dict[str, Any]

PATH: Final = "/openapi.json"
"""Where the document is."""

_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = (
    "One gateway for OpenAI's, Anthropic's and Google's clients. Every model that the key's plan"
    " has can be called through each of the endpoints. Bodies are the vendors' own: what is not"
    " described here is passed on, or translated where the model's upstream speaks another"
    " protocol."
)
_TAGS: Final = (
    ("OpenAI", "Chat Completions and Responses, for OpenAI's clients: base URL with `/v1`."),
    ("Anthropic", "Messages, for Anthropic's clients: base URL without a path."),
    ("Gemini", "For Google's clients: base URL without a path. The same exists below `/v1`."),
    ("Models and usage", "What the calling key may do, and has done today."),
    ("Management", "Accounts, keys and usage, with a management key of an admin."),
    ("Health", "Probes; no key is needed."),
)
_PARAMS: Final[dict[str, tuple[Any, str]]] = {
    "account_id": (AccountId, "The number of an account."),
    "key_id": (KeyId, "The id of a key."),
    "model_id": (str, "The id of a model; slashes may stand as they are."),
    "plan_name": (str, "The name of a plan."),
}


class Documents:
    """The document, made once and remembered until what it says of the operator changes.

    To make it takes 10 ms, and anybody may ask for it.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._about = ("", "")
        self._known: Schema | None = None

    def of(self, public_url: str, contact: str) -> Schema:
        """Return it as ``document`` does; it is shared, and not to be changed."""
        if self._known is None or self._about != (public_url, contact):
            self._about = (public_url, contact)
            self._known = document(public_url=public_url, version=self._version, contact=contact)
        return self._known


def document(*, public_url: str, version: str, contact: str = "") -> Schema:
    """Return the document.

    Args:
        public_url: what users are told to call; "": wherever the document came from.
        version: of the program.
        contact: of the operator.
    """
    shapes = [Error, *dict.fromkeys(_shapes())]
    _, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    about = f"{_ABOUT} Contact: {contact}" if contact else _ABOUT
    found = {
        "openapi": "3.1.0",
        "info": {"title": "Kurol Proxy", "version": version, "description": about},
        "servers": [{"url": public_url or "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS],
        "paths": {**PATHS, PATH: _own(), **_managed()},
        "components": {
            "schemas": {**components, **SCHEMAS},
            "headers": {**HEADERS},
            "securitySchemes": {**SECURITY},
        },
        "x-kurol-errors": error_table(),
    }
    # Plain JSON values, and a copy: the tables are shared.
    plain: Schema = msgspec.json.decode(msgspec.json.encode(found))
    return plain


def _shapes() -> Iterator[type[msgspec.Struct]]:
    for operation in OPERATIONS:
        yield from (each for each in (operation.body, operation.answer) if each is not None)


def _own() -> Schema:
    good = {
        "description": "OpenAPI 3.1.",
        "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}},
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    return {
        "get": {
            "tags": ["Health"],
            "operationId": "readDocument",
            "summary": "This document",
            "security": [],
            "responses": {"200": good},
        }
    }


def _managed() -> Schema:
    """Return the paths of the management API."""
    paths: Schema = {}
    for operation in OPERATIONS:
        path = paths.setdefault(PREFIX + operation.path, {})
        path[operation.method.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Schema:
    kinds = {*MANAGED, *operation.errors, *(WITH_BODY if operation.body else ())}
    found: Schema = {
        "tags": ["Management"],
        "operationId": operation.id,
        "summary": operation.summary,
        "security": [{"managementBearer": []}, {"managementKey": []}],
        "parameters": [*_path_params(operation), *_query_params(operation)],
        "responses": {str(operation.status): _answer(operation), **responses(kinds, "Error")},
    }
    if operation.notes:
        found["description"] = operation.notes
    if operation.body is not None:
        content = {"application/json": {"schema": ref(operation.body.__name__)}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _answer(operation: Operation) -> Schema:
    headers: Schema = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
    if operation.status == 201:
        headers["location"] = {"description": "The path of what was made.", "schema": TEXT}
    found: Schema = {"description": operation.summary + ".", "headers": headers}
    if operation.answer is not None:
        found["content"] = {"application/json": {"schema": ref(operation.answer.__name__)}}
    if operation.id == "readUsage":
        found["content"]["text/csv"] = {"schema": TEXT}
    return found


def _path_params(operation: Operation) -> Iterator[Schema]:
    for name, (kind, text) in _PARAMS.items():
        if f"{{{name}}}" in operation.path:
            schema = msgspec.json.schema(kind)
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "description": text,
                "schema": schema,
            }


def _query_params(operation: Operation) -> Iterator[Schema]:
    if operation.query is NoQuery:
        return
    schema = msgspec.json.schema(operation.query)
    shape = schema["$defs"][operation.query.__name__]
    for name, each in shape["properties"].items():
        found = {"name": name, "in": "query", "schema": each}
        text = each.pop("description", None)
        if text is not None:
            found["description"] = text
        if each.get("type") == "array":
            found |= {"style": "form", "explode": False}
        yield found
