"""Gemini's paths: the model and the method stand there, in two versions and two forms."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, Starter
from tests.fakes.answers import failure, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_counting import config

BODY = {"contents": [{"parts": [{"text": "Hi"}]}]}


def said(text: str, **more: Any) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, **more}
    return {"candidates": [candidate], "modelVersion": "plain", "responseId": "r1"}


WHOLE = said("Hello", finishReason="STOP") | {
    "usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 1, "totalTokenCount": 3}
}
FRAMES = [
    said("Hel"),
    said("lo"),
    WHOLE | {"candidates": said("", finishReason="STOP")["candidates"]},
]


@pytest.fixture
async def vendors(fake: FakeUpstream, start: Starter) -> Running:
    return await start(config(fake))


async def post(
    http: aiohttp.ClientSession, gateway: Running, path: str, body: Any = BODY
) -> tuple[int, bytes, aiohttp.ClientResponse]:
    headers = {"x-goog-api-key": gateway.key}
    async with http.post(gateway.base_url + path, json=body, headers=headers) as got:
        return got.status, await got.read(), got


@pytest.mark.parametrize("base", ["/v1beta", "/v1", "/v1/v1beta"])
@pytest.mark.parametrize("name", ["g-model", "models/g-model", "g%2Dmodel"])
async def test_model_is_found_in_the_path(
    base: str, name: str, vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(json_answer(WHOLE))
    status, body, _ = await post(http, vendors, f"{base}/models/{name}:generateContent")
    assert status == 200
    shown = json.loads(body)
    assert shown["candidates"][0]["content"]["parts"] == [{"text": "Hello"}]
    assert fake.last.path == "/v1beta/models/plain:generateContent"
    assert fake.last.json == BODY


async def test_model_id_may_hold_slashes_and_colons(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(config(fake).replace('id = "g-model"', 'id = "vendor/g-model:free"'))
    fake.always(json_answer(WHOLE))
    path = "/v1beta/models/vendor/g-model:free:generateContent"
    status, body, _ = await post(http, gateway, path)
    assert (status, json.loads(body)["modelVersion"]) == (200, "vendor/g-model:free")


@pytest.mark.parametrize("name", ["g-model", "a-model", "h-model"])
async def test_stream_is_an_array_without_alt_sse(
    name: str, vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    chat = [
        {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    answers: dict[str, list[Any]] = {
        "g-model": FRAMES,
        "h-model": [*chat, "[DONE]"],
        "a-model": [
            {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 2}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "Hello"},
            },
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 1},
            },
            {"type": "message_stop"},
        ],
    }
    frames = [
        b"data: " + (each if isinstance(each, str) else json.dumps(each)).encode() + b"\n\n"
        for each in answers[name]
    ]
    fake.always(stream_answer(frames))
    status, body, got = await post(http, vendors, f"/v1beta/models/{name}:streamGenerateContent")
    assert (status, got.content_type) == (200, "application/json")
    elements = json.loads(body)
    parts = [part for each in elements for part in each["candidates"][0]["content"]["parts"]]
    assert "".join(part["text"] for part in parts) == "Hello"
    assert {each["modelVersion"] for each in elements} == {name}
    assert elements[-1]["candidates"][0]["finishReason"] == "STOP"
    # Whatever the client wants, the upstream is asked for events.
    assert name != "g-model" or fake.last.path.endswith(":streamGenerateContent?alt=sse")


async def test_elements_of_an_array_go_out_as_they_arrive(
    vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    hold = fake.hold()
    first, *rest = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in FRAMES]
    fake.always(stream_answer([first, hold, *rest]))
    url = vendors.base_url + "/v1beta/models/g-model:streamGenerateContent"
    async with http.post(url, json=BODY, headers={"x-goog-api-key": vendors.key}) as got:
        begun = await got.content.readany()
        assert b'"Hel"' in begun
        assert begun.startswith(b"[")
        hold.set()
        assert len(json.loads(begun + await got.content.read())) == 3


@pytest.mark.parametrize("query", ["", "?alt=sse"])
@pytest.mark.parametrize("name", ["g-model", "h-model"])
async def test_late_error_is_the_last_thing_in_a_stream(
    query: str, name: str, vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]}
    first = FRAMES[0] if name == "g-model" else chunk
    fake.always(stream_answer([b"data: " + json.dumps(first).encode() + b"\n\n"], end="close"))
    path = f"/v1beta/models/{name}:streamGenerateContent{query}"
    status, body, _ = await post(http, vendors, path)
    assert status == 200
    if query:
        frames = [json.loads(each.removeprefix(b"data: ")) for each in body.split(b"\n\n") if each]
    else:
        frames = json.loads(body)
    assert frames[0]["candidates"][0]["content"]["parts"] == [{"text": "Hel"}]
    assert frames[-1]["error"]["code"] == 502
    assert frames[-1]["error"]["status"] == "UNAVAILABLE"


REFUSED: list[tuple[str, int, str]] = [
    ("/v1beta/models/nobody:generateContent", 404, "NOT_FOUND"),
    ("/v1/models/nobody:streamGenerateContent", 404, "NOT_FOUND"),
    ("/v1beta/models/g-model:batchEmbedContents", 404, "NOT_FOUND"),
    ("/v1beta/models/g-model", 405, "INVALID_ARGUMENT"),
    ("/v1beta/interactions", 404, "NOT_FOUND"),
]


@pytest.mark.parametrize(("path", "status", "word"), REFUSED)
async def test_what_is_not_there_is_said_in_googles_form(
    path: str, status: int, word: str, vendors: Running, http: aiohttp.ClientSession
) -> None:
    got, body, _ = await post(http, vendors, path)
    assert (got, json.loads(body)["error"]["status"]) == (status, word)


async def test_error_before_the_stream_has_a_status_of_its_own(
    vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(400, protocol="gemini", message="contents is bad"))
    path = "/v1/models/g-model:streamGenerateContent"
    status, body, got = await post(http, vendors, path)
    assert (status, got.content_type) == (400, "application/json")
    assert json.loads(body)["error"]["message"] == "contents is bad"


async def test_key_in_the_query_is_never_sent_on_nor_logged(
    vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(json_answer(WHOLE))
    url = f"{vendors.base_url}/v1beta/models/g-model:generateContent?key={vendors.key}"
    async with http.post(url, json=BODY) as got:
        assert got.status == 200
    assert "key=" not in fake.last.path
    assert all(vendors.key not in value for _, value in fake.last.headers)
    assert vendors.key not in vendors.lines()
    # Only Gemini's own routes take it.
    async with http.post(f"{vendors.base_url}/v1/messages?key={vendors.key}", json=BODY) as got:
        assert got.status == 401


@pytest.mark.parametrize("config_name", ["generationConfig", "generation_config"])
async def test_several_answers_are_refused_where_only_one_could_be_given(
    config_name: str, vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(json_answer(WHOLE))
    wanted = {**BODY, config_name: {"candidateCount": 2}}
    status, body, _ = await post(http, vendors, "/v1beta/models/h-model:generateContent", wanted)
    assert status == 400
    assert "candidateCount" in json.loads(body)["error"]["message"]
    assert not fake.requests
    # Its own vendor may give as many as it likes.
    status, _, _ = await post(http, vendors, "/v1beta/models/g-model:generateContent", wanted)
    assert (status, fake.last.json) == (200, wanted)


async def test_several_answers_of_a_chat_client_do_not_reach_gemini(
    vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    body = {"model": "g-model", "messages": [{"role": "user", "content": "Hi"}], "n": 2}
    headers = {"authorization": f"Bearer {vendors.key}"}
    url = vendors.base_url + "/v1/chat/completions"
    async with http.post(url, json=body, headers=headers) as got:
        assert got.status == 400
        assert (await got.json())["error"]["param"] == "n"
    assert not fake.requests
