"""An upstream that streams although it should not, and one that does not although it should."""

from __future__ import annotations

import aiohttp
import pytest

from tests.conftest import Running
from tests.fakes.answers import chat_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_limits import message
from tests.server.test_stream_life import CHAT, MESSAGES, ask, begin, end, event, pairs, sent, words

# No codec of ours decodes this tool: the bytes are passed on unread.
ONLY_THE_VENDOR_KNOWS = {"tools": [{"type": "bash_20250124", "name": "bash"}]}


@pairs
async def test_whole_answer_to_a_request_for_a_stream_is_streamed(
    path: str, model: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.answer(chat_answer() if model == "c-model" else message())
    got = await ask(http, gateway, path, sent(model))
    assert (got.status, got.text, got.looks_whole) == (200, "hi", True)


@pairs
async def test_stream_in_answer_to_a_request_for_the_whole_is_gathered(
    path: str, model: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.answer(stream_answer([*begin(model), *words(model, ["a", "b"]), *end(model)]))
    headers = {"authorization": f"Bearer {gateway.key}"}
    body = sent(model, stream=False)
    async with http.post(gateway.base_url + path, json=body, headers=headers) as got:
        value = await got.json()
    if path == CHAT:
        assert value["choices"][0]["message"]["content"] == "ab"
        assert value["usage"]["total_tokens"] == 15
    else:
        assert [block["text"] for block in value["content"]] == ["ab"]
        assert value["usage"]["output_tokens"] == 4


async def test_late_error_of_a_request_that_only_the_vendor_understands_is_in_band(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    late = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    fake.answer(stream_answer([*begin("m-model"), *words("m-model", ["ab"]), late]))
    got = await ask(http, gateway, MESSAGES, sent("m-model", **ONLY_THE_VENDOR_KNOWS))
    assert (got.status, got.text) == (200, "ab")
    assert got.error is not None
    assert "Overloaded" in got.error["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_other_form_of_an_answer_that_only_the_vendor_understands(
    stream: bool, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    frames = stream_answer([*begin("m-model"), *words("m-model", ["hi"]), *end("m-model")])
    fake.answer(message() if stream else frames)
    body = sent("m-model", stream=stream, **ONLY_THE_VENDOR_KNOWS)
    got = await ask(http, gateway, MESSAGES, body)
    assert got.status == 200
    assert b'"hi"' in got.data
