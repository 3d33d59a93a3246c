"""Bad input is normal input: status, wire form, and no key in what comes back."""

from __future__ import annotations

import io
import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, Starter, toml
from tests.fakes.answers import Answer, chat_answer, json_answer
from tests.fakes.upstream import FakeUpstream

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
ROUTES = (CHAT, MESSAGES)
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {"model": "c-model", "messages": [{"role": "user", "content": "x"}]},
    MESSAGES: {
        "model": "m-model",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
    },
}
JSON = {"content-type": "application/json"}


def deep(levels: int) -> bytes:
    return b'{"model":"c-model","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def body(path: str, **changes: Any) -> bytes:
    return json.dumps({**GOOD[path], **changes}).encode()


def error_of(path: str, text: str) -> dict[str, Any]:
    """Return the error object of a body, checked to have the form of its family."""
    value = json.loads(text)
    if path.startswith(MESSAGES):
        assert value["type"] == "error"
        assert value["request_id"].startswith("req_")
        assert set(value["error"]) == {"type", "message"}
    elif path.startswith("/v1beta/"):
        assert set(value["error"]) >= {"code", "message", "status"}
    else:
        assert set(value["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = value["error"]
    return error


BODIES = [
    ("empty", b"", 400),
    ("truncated", b'{"model":"c-model","messages":[', 400),
    ("array at the top", b"[]", 400),
    ("trailing bytes", b'{"model":"c-model"} x', 400),
    ("NaN", b'{"model":"c-model","temperature":NaN}', 400),
    ("byte order mark", b'\xef\xbb\xbf{"model":"c-model"}', 400),
    ("invalid UTF-8", b'{"model":"c-model","x":"\xff"}', 400),
    ("lone surrogate", b'{"model":"c-model","x":"\\ud800"}', 400),
    ("no model", b'{"messages":[]}', 400),
    ("model is a number", b'{"model":5}', 400),
    ("model is empty", b'{"model":""}', 400),
    ("model twice", b'{"model":"c-model","model":"m-model"}', 400),
    ("stream twice", b'{"model":"c-model","stream":true,"stream":false}', 400),
    ("stream is a text", b'{"model":"c-model","stream":"yes","max_tokens":1}', 400),
    ("nested 101 levels", deep(101), 400),
    ("nested 255 levels", deep(255), 400),
    ("nested 1,025 levels", deep(1025), 400),
    ("nested 100,000 levels", deep(100_000), 400),
    ("unknown model", b'{"model":"nobody","max_tokens":1}', 404),
    ("model with CR LF", b'{"model":"a\\r\\nX-Evil: 1","max_tokens":1}', 404),
    ("model as HTML", b'{"model":"<script>alert(1)</script>","max_tokens":1}', 404),
    ("alias in other letters", b'{"model":"C-MODEL","max_tokens":1}', 404),
    ("model with a space", b'{"model":"c-model ","max_tokens":1}', 404),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(("sent", "status"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES])
async def test_bad_body_is_an_error_in_the_callers_form(
    sent: bytes,
    status: int,
    path: str,
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    headers = {**JSON, "authorization": f"Bearer {gateway.key}"}
    async with http.post(gateway.base_url + path, data=sent, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == status
        assert answer.content_type == "application/json"
        assert answer.headers["x-should-retry"] == "false"
        assert "X-Evil" not in answer.headers
    assert error_of(path, text)["message"]
    assert gateway.key not in text
    assert fake.requests == []
    assert gateway.gateway.state.admission.reserved == 0


WRONG_TYPES = [
    ("messages is a text", "/v1/chat/completions", "m-model", {"messages": "x"}),
    ("messages is missing", "/v1/chat/completions", "m-model", {"messages": None}),
    ("message is a number", "/v1/chat/completions", "m-model", {"messages": [5]}),
    ("tools is an object", "/v1/chat/completions", "m-model", {"tools": {"a": 1}}),
    ("temperature is a text", "/v1/chat/completions", "m-model", {"temperature": "hot"}),
    (
        "content is a number",
        "/v1/messages",
        "c-model",
        {"messages": [{"role": "user", "content": 5}]},
    ),
    ("role is unknown", "/v1/messages", "c-model", {"messages": [{"role": "bot", "content": "x"}]}),
    ("system is a number", "/v1/messages", "c-model", {"system": 5}),
    ("tool has no name", "/v1/messages", "c-model", {"tools": [{"input_schema": {}}]}),
    ("stop is a number", "/v1/messages", "c-model", {"stop_sequences": [5]}),
]


@pytest.mark.parametrize(
    ("path", "model", "changes"), [c[1:] for c in WRONG_TYPES], ids=[c[0] for c in WRONG_TYPES]
)
async def test_wrong_type_in_a_translated_request_names_the_field(
    path: str,
    model: str,
    changes: dict[str, Any],
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    sent = body(path, model=model, **changes)
    headers = {**JSON, "authorization": f"Bearer {gateway.key}"}
    async with http.post(gateway.base_url + path, data=sent, headers=headers) as answer:
        assert answer.status == 400
        error = error_of(path, await answer.text())
    assert next(iter(changes)) in error["message"]
    assert fake.requests == []


@pytest.mark.parametrize(
    "changes", [{"max_tokens": None}, {"max_tokens": "many"}, {"max_tokens": -1}]
)
@pytest.mark.parametrize("model", ["m-model", "c-model"])
async def test_messages_without_max_tokens_is_refused_whatever_the_upstream(
    changes: dict[str, Any],
    model: str,
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    headers = {**JSON, "x-api-key": gateway.key}
    sent = body(MESSAGES, model=model, **changes)
    async with http.post(gateway.base_url + MESSAGES, data=sent, headers=headers) as answer:
        assert answer.status == 400
        error = error_of(MESSAGES, await answer.text())
    assert error == {"type": "invalid_request_error", "message": "max_tokens: Field required"}
    assert fake.requests == []


HEADS = [
    ("gzip body", {"content-encoding": "gzip"}, 415),
    ("form body", {"content-type": "application/x-www-form-urlencoded"}, 415),
    ("multipart body", {"content-type": "multipart/form-data; boundary=x"}, 415),
    ("no content type", {"content-type": "text/plain"}, 200),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(("more", "status"), [h[1:] for h in HEADS], ids=[h[0] for h in HEADS])
async def test_head_decides_before_the_body_is_read(
    more: dict[str, str],
    status: int,
    path: str,
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(whole_answer(path))
    headers = {**JSON, "authorization": f"Bearer {gateway.key}", **more}
    async with http.post(gateway.base_url + path, data=body(path), headers=headers) as answer:
        assert answer.status == status
        if status != 200:
            error_of(path, await answer.text())


def whole_answer(path: str) -> Answer:
    if path == CHAT:
        return chat_answer()
    return json_answer(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "plain",
            "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    )


@pytest.mark.parametrize("path", ROUTES)
async def test_body_over_the_limit_is_refused_with_and_without_its_length(
    path: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url) + "\n[limits]\nmax_body_bytes = 20_000\n")
    headers = {**JSON, "authorization": f"Bearer {gateway.key}"}
    big = body(path, x="y" * 30_000)

    async def pieces() -> Any:
        for at in range(0, len(big), 1_000):
            yield big[at : at + 1_000]

    for data in (big, pieces()):
        async with http.post(gateway.base_url + path, data=data, headers=headers) as answer:
            assert answer.status == 413
            error_of(path, await answer.text())
    assert gateway.gateway.state.bodies.held == 0


async def test_four_megabytes_are_no_problem(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(whole_answer(CHAT))
    headers = {**JSON, "authorization": f"Bearer {gateway.key}"}
    sent = io.BytesIO(body(CHAT, x="y" * 4_000_000))
    async with http.post(gateway.base_url + CHAT, data=sent, headers=headers) as answer:
        assert answer.status == 200
    assert fake.last.body == sent.getvalue().replace(b'"c-model"', b'"plain"')


UNKNOWN = [
    ("GET", "/nothing", 404, "invalid_request_error"),
    ("POST", "/v1/embeddings", 404, "invalid_request_error"),
    ("POST", "/v1/completions", 404, "invalid_request_error"),
    ("POST", "/v1/images/generations", 404, "invalid_request_error"),
    ("POST", "/v1/audio/speech", 404, "invalid_request_error"),
    ("GET", "/v1/chat/completions", 405, "invalid_request_error"),
    ("DELETE", "/v1/messages", 405, "invalid_request_error"),
    ("PUT", "/v1/models", 405, "invalid_request_error"),
    ("TRACE", "/v1/chat/completions", 405, "invalid_request_error"),
    ("GET", "/v1/../etc/passwd", 404, "invalid_request_error"),
    ("GET", "/%2e%2e/etc/passwd", 404, "invalid_request_error"),
    ("GET", "/v1/responses", 405, "invalid_request_error"),
    ("PUT", "/v1beta/models/x:generateContent", 405, None),
    ("GET", "/v1beta/nothing", 404, None),
]


@pytest.mark.parametrize(("method", "path", "status", "kind"), UNKNOWN)
async def test_unknown_route_or_method_has_the_form_of_its_family(
    method: str,
    path: str,
    status: int,
    kind: str | None,
    gateway: Running,
    http: aiohttp.ClientSession,
) -> None:
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.request(method, gateway.base_url + path, headers=headers) as answer:
        assert answer.status == status
        error = error_of(path, await answer.text())
        if status == 405:
            assert answer.headers["allow"]
    assert error.get("type") == kind
    if "embeddings" in path:
        assert "chat models" in error["message"]


async def test_unknown_route_of_an_anthropic_client_has_its_form(
    gateway: Running, http: aiohttp.ClientSession
) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    async with http.get(gateway.base_url + "/v1/nothing", headers=headers) as answer:
        value = await answer.json()
    assert value["type"] == "error"
    assert value["error"]["type"] == "not_found_error"


SLIPS = [
    "/v1/v1/chat/completions",
    "/chat/completions",
    "/v1/chat/completions/",
    "/v1/v1/chat/completions/",
]


@pytest.mark.parametrize("path", SLIPS)
async def test_slips_of_a_base_url_are_forgiven(
    path: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(whole_answer(CHAT))
    headers = {**JSON, "authorization": f"Bearer {gateway.key}"}
    async with http.post(gateway.base_url + path, data=body(CHAT), headers=headers) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "path", ["/v1/models", "/models", "/v1/v1/models", "/v1/v1beta/models", "/v1/models/"]
)
async def test_slips_of_the_models_route_are_forgiven(
    path: str, gateway: Running, http: aiohttp.ClientSession
) -> None:
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.get(gateway.base_url + path, headers=headers) as answer:
        assert answer.status == 200
