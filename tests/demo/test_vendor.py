"""The demo vendor's server: credentials, listings, limits, and clients that leave."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from kurolproxy.demo.vendor import DemoVendor

NAMES = ["demo-echo", "demo-tools", "demo-slow", "demo-think"]
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "say 40 words"}]}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/responses", {"input": "say 40 words"}),
    ("/v1/messages", {**CHAT, "max_tokens": 999}),
    (
        "/v1beta/models/demo-slow:generateContent",
        {"contents": [{"parts": [{"text": "say 40 words"}]}]},
    ),
]
ENDPOINTS = pytest.mark.parametrize(("path", "asked"), CALLS, ids=[path for path, _ in CALLS])


async def test_credential_is_needed_when_one_is_set() -> None:
    vendor = DemoVendor(api_key="sk-demo")
    await vendor.start()
    cases: list[tuple[str, dict[str, str], int]] = [
        ("/v1/chat/completions", {}, 401),
        ("/v1/chat/completions", {"authorization": "Bearer wrong"}, 401),
        ("/v1/chat/completions", {"authorization": "Bearer sk-demo"}, 404),
        ("/v1/chat/completions", {"x-api-key": "sk-demo"}, 401),
        ("/v1/messages", {"x-api-key": "sk-demo"}, 404),
        ("/v1/messages", {"authorization": "Bearer sk-demo"}, 404),
        ("/v1beta/models/x:countTokens", {"x-goog-api-key": "sk-demo"}, 404),
        ("/v1beta/models/x:countTokens?key=sk-demo", {}, 404),
        ("/v1beta/models/x:countTokens", {}, 401),
        ("/nowhere", {}, 401),
    ]
    async with aiohttp.ClientSession(vendor.base_url) as http:
        for path, headers, status in cases:
            async with http.post(path, json={"model": "x"}, headers=headers) as answer:
                assert (path, headers, answer.status) == (path, headers, status)
    await vendor.stop()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", {"type": "invalid_request_error", "code": "invalid_api_key"}),
        ("/v1/responses", {"type": "invalid_request_error", "code": "invalid_api_key"}),
        ("/v1/messages", {"type": "authentication_error", "message": "invalid x-api-key"}),
        ("/v1beta/models/demo-echo:generateContent", {"code": 401, "status": "UNAUTHENTICATED"}),
    ],
)
async def test_wrong_credential_is_a_401_in_the_vendors_form(
    path: str, kind: dict[str, object]
) -> None:
    vendor = DemoVendor(api_key="sk-demo")
    await vendor.start()
    async with (
        aiohttp.ClientSession(vendor.base_url) as http,
        http.post(path, data=b"not read", headers={"authorization": "Bearer x"}) as answer,
    ):
        error = (await answer.json())["error"]
        assert answer.status == 401
    assert {name: error[name] for name in kind} == kind
    await vendor.stop()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/chat/completions", "We could not parse the JSON body"),
        ("/v1/responses", "We could not parse the JSON body"),
        ("/v1/messages", "The request body is not valid JSON"),
        ("/v1beta/models/demo-echo:generateContent", "Invalid JSON payload received"),
    ],
)
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"a":NaN}', b'{"a":"\xff"}', b'"\\ud800"'])
async def test_malformed_body_is_a_400(
    http: aiohttp.ClientSession, path: str, words: str, raw: bytes
) -> None:
    async with http.post(path, data=raw) as answer:
        assert answer.status == 400
        assert words in (await answer.json())["error"]["message"]


@ENDPOINTS
async def test_deep_body_is_refused_not_crashed_on(
    http: aiohttp.ClientSession, path: str, asked: dict[str, Any]
) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    tools: Any = {
        "/v1/chat/completions": [
            {"type": "function", "function": {"name": "f", "parameters": schema}}
        ],
        "/v1/responses": [{"type": "function", "name": "f", "parameters": schema}],
        "/v1/messages": [{"name": "f", "input_schema": schema}],
    }
    declared = [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]
    body = {**asked, "model": "demo-echo", "tools": tools.get(path, declared)}
    async with http.post(path, json=body) as answer:
        assert answer.status == 400


async def test_models_are_listed_for_each_sdk(
    openai_client: openai.AsyncOpenAI,
    anthropic_client: anthropic.AsyncAnthropic,
    http: aiohttp.ClientSession,
) -> None:
    assert [model.id async for model in openai_client.models.list()] == NAMES
    assert (await openai_client.models.retrieve("demo-slow")).owned_by == "demo"
    listed = [model async for model in anthropic_client.models.list()]
    assert [model.id for model in listed] == NAMES
    assert (await anthropic_client.models.retrieve("demo-echo")).display_name == "Demo Echo"
    async with http.get("/v1beta/models") as answer:
        names = [model["name"] for model in (await answer.json())["models"]]
    assert names == [f"models/{name}" for name in NAMES]
    async with http.get("/v1beta/models/demo-think") as answer:
        assert (await answer.json())["thinking"] is True
    for path in ("/v1/models/none", "/v1beta/models/none"):
        async with http.get(path) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("POST", "/v1/embeddings", "type"),
        ("GET", "/v1/chat/completions", "type"),
        ("POST", "/v1beta/models/demo-echo:embedContent", "status"),
        ("POST", "/v1beta/models/demo-echo", "status"),
    ],
)
async def test_unknown_url_is_a_404_in_its_family(
    http: aiohttp.ClientSession, method: str, path: str, form: str
) -> None:
    async with http.request(method, path) as answer:
        assert answer.status == 404
        assert form in (await answer.json())["error"]


@ENDPOINTS
async def test_same_request_has_the_same_answer(
    http: aiohttp.ClientSession, path: str, asked: dict[str, Any]
) -> None:
    body = {**asked, "model": "demo-slow"}
    answers = []
    for _ in range(2):
        async with http.post(path, json=body) as answer:
            assert answer.status == 200
            answers.append(await answer.read())
    assert answers[0] == answers[1]


@ENDPOINTS
@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_leaves_ends_the_slow_answer(
    path: str, asked: dict[str, Any], stream: bool
) -> None:
    vendor = DemoVendor(pace_s=60.0)
    await vendor.start()
    body = {**asked, "model": "demo-slow", "stream": stream}
    if stream:
        path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")
    async with aiohttp.ClientSession(vendor.base_url) as http:
        call = asyncio.ensure_future(http.post(path, json=body))
        await _until(vendor, 1)
        if stream:
            (await call).close()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await _until(vendor, 0)
    await asyncio.wait_for(vendor.stop(), 5)


async def test_slow_model_streams_at_its_pace() -> None:
    vendor = DemoVendor(pace_s=0.02)
    await vendor.start()
    loop = asyncio.get_running_loop()
    body = {"model": "demo-slow", "stream": True, "input": "say 10 words"}
    async with aiohttp.ClientSession(vendor.base_url) as session:
        began = loop.time()
        async with session.post("/v1/responses", json=body) as answer:
            raw = await answer.text()
    assert raw.count("response.output_text.delta") == 20
    assert loop.time() - began >= 10 * 0.02
    await vendor.stop()


async def test_stop_ends_open_streams() -> None:
    vendor = DemoVendor(pace_s=60.0)
    await vendor.start()
    body = {**CHAT, "model": "demo-slow", "stream": True}
    async with (
        aiohttp.ClientSession(vendor.base_url) as http,
        http.post("/v1/chat/completions", json=body),
    ):
        await asyncio.wait_for(vendor.stop(), 10)
    assert vendor.running == 0


async def test_too_large_a_body_is_a_413() -> None:
    vendor = DemoVendor(max_body_bytes=1_000)
    await vendor.start()
    async with (
        aiohttp.ClientSession(vendor.base_url) as session,
        session.post("/v1/messages", data=b"x" * 2_000) as answer,
    ):
        assert answer.status == 413
        assert (await answer.json())["error"]["type"] == "request_too_large"
    await vendor.stop()


def test_vendor_knows_nothing_of_the_gateway() -> None:
    code = (
        "import sys, kurolproxy.demo.vendor\n"
        "print([m for m in sys.modules if m.startswith('kurolproxy.')"
        " and not m.startswith('kurolproxy.demo')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def _until(vendor: DemoVendor, running: int) -> None:
    async def wait() -> None:
        while vendor.running != running:  # noqa: ASYNC110  # the vendor has no event for it
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), 5)
