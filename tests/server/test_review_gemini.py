"""What a review of Gemini in both roles found: each test held a defect."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import PLANTED_KEY, Running, Starter
from tests.fakes.answers import json_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_counting import config
from tests.server.test_gemini_routes import BODY, WHOLE, post

BAD_KEY = {
    "error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
        ],
    }
}


@pytest.fixture
async def vendors(fake: FakeUpstream, start: Starter) -> Running:
    return await start(config(fake))


@pytest.mark.parametrize("body", [BAD_KEY, [BAD_KEY]])
async def test_wrong_key_of_the_operator_is_not_told_as_the_callers(
    body: Any, vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(json_answer(body, status=400))
    status, told, got = await post(http, vendors, "/v1beta/models/g-model:generateContent")
    assert (status, got.headers["x-should-retry"]) == (502, "false")
    assert b"API key" not in told


async def test_wrong_key_of_the_operator_goes_over_to_the_next(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    keys = f'["{PLANTED_KEY}", "{PLANTED_KEY}-2"]'
    gateway = await start(config(fake).replace(f'["{PLANTED_KEY}"]', keys))
    fake.answer(json_answer(BAD_KEY, status=400), json_answer(WHOLE))
    status, told, _ = await post(http, gateway, "/v1beta/models/g-model:generateContent")
    assert (status, json.loads(told)["modelVersion"]) == (200, "g-model")
    assert len({each.header("x-goog-api-key") for each in fake.requests}) == 2


@pytest.mark.parametrize(
    "state",
    [
        {"cachedContent": "", "cached_content": "cachedContents/1"},
        {"cachedContent": "cachedContents/1", "cached_content": ""},
    ],
)
async def test_state_of_the_vendor_is_refused_whatever_its_other_spelling_says(
    state: dict[str, str], vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(json_answer(WHOLE))
    path = "/v1beta/models/g-model:generateContent"
    status, _, _ = await post(http, vendors, path, BODY | state)
    assert (status, fake.requests) == (400, [])


@pytest.mark.parametrize("name", ["g-model", "h-model"])
@pytest.mark.parametrize(
    "asked",
    [
        {"generationConfig": {"maxOutputTokens": 9}, "generation_config": {"topK": 1}},
        {"generationConfig": {"maxOutputTokens": 9, "max_output_tokens": 1_000_000}},
        {"generation_config": {"candidateCount": 1, "candidate_count": 8}},
        {"generationConfig": {"thinkingConfig": {}, "thinking_config": {"thinkingBudget": 9}}},
    ],
)
async def test_two_spellings_do_not_hide_how_much_may_come(
    asked: dict[str, Any],
    name: str,
    vendors: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(json_answer(WHOLE))
    path = f"/v1beta/models/{name}:generateContent"
    status, told, _ = await post(http, vendors, path, BODY | asked)
    assert (status, fake.requests) == (400, [])
    assert b"given twice" in told


async def test_model_is_shown_by_the_name_it_was_asked_for(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(
        config(fake).replace('id = "g-model"', 'id = "g-model"\naliases = ["gee"]')
    )
    url = f"{gateway.base_url}/v1beta/models/gee"
    async with http.get(url, headers={"x-goog-api-key": gateway.key}) as got:
        assert (await got.json())["name"] == "models/gee"


async def test_token_of_ours_goes_to_no_vendor_in_a_lone_content_either(
    vendors: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(json_answer(WHOLE))
    part = {"text": "t", "thoughtSignature": "a3gxAAAA"}
    body = {"contents": {"role": "model", "parts": part}}
    await post(http, vendors, "/v1beta/models/g-model:generateContent", body)
    assert fake.last.json == {"contents": {"role": "model", "parts": {"text": "t"}}}
