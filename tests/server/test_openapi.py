"""``/openapi.json``: valid, of this installation, and what the routes really do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from kurolproxy import errors
from kurolproxy.errors import GatewayError
from kurolproxy.server.manage_operations import OPERATIONS, PREFIX, Operation
from kurolproxy.server.openapi import Documents, document
from kurolproxy.server.openapi_errors import ADVICE
from tests.conftest import Running, Starter, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.managing import manager_of
from tests.test_errors import classes

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
DOCUMENT = document(public_url="https://llm.example.org", version="1.2.3", contact="ops")
FAMILIES = {
    "createChatCompletion": "Error",
    "createResponse": "Error",
    "createMessage": "AnthropicError",
    "generateContent": "GeminiError",
    "listOwnGeminiModels": "GeminiError",
    "readAccount": "Error",
}


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return each operation by its id, with its method and path."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def texts(value: Any) -> list[str]:
    """Return all texts of a JSON value, names too."""
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def fits(value: Any, name: str) -> None:
    """Fail when a value is not what a structure of the document says."""
    whole = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:document", whole)
    schema = {"$ref": f"urn:document#/components/schemas/{name}"}
    Draft202012Validator(schema, registry=registry).validate(value)


def test_document_is_valid() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_document_refers_to_nothing_outside() -> None:
    refs = [text for text in texts(DOCUMENT) if text.startswith(("#", "http://", "https://"))]
    assert {text for text in refs if not text.startswith("#/components/")} == (
        {"https://llm.example.org"}
    )


def test_every_operation_of_the_management_api_is_described() -> None:
    told = {(method, path) for method, path, _ in operations().values() if PREFIX in path}
    assert told == {(each.method, PREFIX + each.path) for each in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=[each.id for each in OPERATIONS])
def test_every_operation_is_in_the_page_of_the_api(operation: Operation) -> None:
    rows = [line.split("|") for line in PAGE.read_text("utf-8").splitlines() if line[:1] == "|"]
    path = f"`{PREFIX}{operation.path}`"
    [text] = [
        row[3] for row in rows if operation.method in row[1].strip().split(", ") and path in row[2]
    ]
    fields = [] if operation.body is None else msgspec.structs.fields(operation.body)
    asked = [*fields, *msgspec.structs.fields(operation.query)]
    assert [each.name for each in asked if not re.search(rf"\b{each.name}\b", text)] == []


def test_every_kind_of_error_has_its_words() -> None:
    assert {*ADVICE} == {*classes(errors.GatewayError)}
    table = {each["kind"]: each for each in DOCUMENT["x-kurol-errors"]}
    assert table["quota_exceeded"] == {
        "kind": "quota_exceeded",
        "status": 429,
        "type": "insufficient_quota",
        "code": "insufficient_quota",
        "retry": False,
        "advice": ADVICE[errors.QuotaExceeded],
    }
    assert len(table) == len(ADVICE)
    assert [each["kind"] for each in table.values() if each["type"] is None] == ["misdirected"]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_errors_have_the_form_of_their_family(name: str) -> None:
    refused = operations()[name][2]["responses"]["401"]
    schema = refused["content"]["application/json"]["schema"]
    assert schema == {"$ref": f"#/components/schemas/{FAMILIES[name]}"}


KEYLESS = {"alive", "ready", "readDocument"}


@pytest.mark.parametrize("name", sorted(operations()))
def test_only_probes_need_no_key(name: str) -> None:
    security = operations()[name][2]["security"]
    assert (security == []) == (name in KEYLESS)
    if PREFIX in operations()[name][1]:
        assert security == [{"managementBearer": []}, {"managementKey": []}]


def test_who_gets_the_document_can_do_with_it_what_he_likes() -> None:
    document(public_url="", version="1")["paths"].clear()
    assert document(public_url="", version="1")["paths"]


def test_document_is_made_anew_when_the_operators_url_changes() -> None:
    documents = Documents("1")
    first = documents.of("https://a.example.org", "ops")
    assert documents.of("https://a.example.org", "ops") is first
    assert documents.of("https://b.example.org", "ops")["servers"] == (
        [{"url": "https://b.example.org"}]
    )
    assert "staff" in documents.of("https://b.example.org", "staff")["info"]["description"]


# --- as it is served ----------------------------------------------------------------------


async def served(http: aiohttp.ClientSession, running: Running, **headers: str) -> Any:
    async with http.get(f"{running.base_url}/openapi.json", headers=headers) as got:
        assert got.status == 200
        assert got.headers["content-type"] == "application/json"
        assert "x-request-id" in got.headers
        return await got.json()


@pytest.mark.parametrize(
    ("line", "url"),
    [("", "/"), ('public_url = "https://llm.example.org/"', "https://llm.example.org")],
)
async def test_document_names_the_operators_url_and_never_a_host_header(
    line: str, url: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    running = await start(toml(fake.base_url, server=line))
    found = await served(http, running, host="evil.example.net")
    assert found["servers"] == [{"url": url}]
    assert "evil.example.net" not in str(found)
    assert not {"c-model", "m-model", "claude-c"} & {*texts(found["paths"])}


async def test_what_the_routes_answer_fits_the_document(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    bearer = {"authorization": f"Bearer {gateway.key}"}
    google = {"x-goog-api-key": gateway.key}
    claude = {**bearer, "anthropic-version": "2023-06-01"}
    asked = {"model": "c-model", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    turns = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    below = "/v1beta/models/c-model"
    cases: list[tuple[str, str, Any, dict[str, str], int, str]] = [
        ("POST", "/v1/chat/completions", asked, bearer, 200, "ChatAnswer"),
        (
            "POST",
            "/v1/responses",
            {"model": "c-model", "input": "x"},
            bearer,
            200,
            "ResponsesAnswer",
        ),
        ("POST", "/v1/messages", asked, bearer, 200, "MessagesAnswer"),
        ("POST", "/v1/messages/count_tokens", asked, bearer, 200, "CountAnswer"),
        ("POST", f"{below}:generateContent", turns, google, 200, "GeminiAnswer"),
        ("POST", f"{below}:countTokens", turns, google, 200, "GeminiCount"),
        ("GET", "/v1/models", None, bearer, 200, "OpenAIModels"),
        ("GET", "/v1/models", None, claude, 200, "OpenAIModels"),
        ("GET", "/v1beta/models", None, google, 200, "GeminiModels"),
        ("GET", "/v1/models/c-model", None, bearer, 200, "OpenAIModel"),
        ("GET", below, None, google, 200, "GeminiModel"),
        ("GET", "/v1/usage", None, bearer, 200, "OwnUsage"),
        ("GET", "/livez", None, {}, 200, "Alive"),
        ("GET", "/readyz", None, {}, 200, "Ready"),
        ("POST", "/v1/chat/completions", {}, bearer, 400, "Error"),
        ("POST", "/v1/messages", asked, {}, 401, "AnthropicError"),
        ("POST", f"{below}:generateContent", turns, {}, 401, "GeminiError"),
        ("GET", "/api/v1/accounts", None, bearer, 403, "Error"),
    ]
    for method, path, body, headers, status, name in cases:
        url = gateway.base_url + path
        async with http.request(method, url, json=body, headers=headers) as got:
            assert (path, got.status) == (path, status)
            fits(await got.json(), name)


async def test_refused_fields_fit_the_document(
    gateway: Running, http: aiohttp.ClientSession
) -> None:
    root = await manager_of(gateway, http)
    told = await root.send("POST", "/accounts", {"x": 1})
    fits(told.body, "Error")
    assert len(told.error["problems"]) == 3


def test_error_of_a_kind_is_named_at_every_operation_that_can_end_in_it() -> None:
    def statuses(*kinds: type[GatewayError]) -> set[str]:
        return {str(each.status) for each in kinds}

    _, _, changing = operations()["changeAccount"]
    assert {*changing["responses"]} == {"200"} | statuses(
        errors.BadRequest,
        errors.Unauthenticated,
        errors.ManagementForbidden,
        errors.ResourceNotFound,
        errors.RequestTimeout,
        errors.Conflicting,
        errors.TooLarge,
        errors.UnsupportedMedia,
        errors.Unprocessable,
        errors.TooManyFailures,
        errors.Internal,
        errors.Overloaded,
    )
