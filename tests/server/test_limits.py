"""Plans as callers meet them: who is let in, what it costs, what is said when it is too much."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, Starter, new_key, soon, toml
from tests.fakes.answers import Answer, chat_answer, failure, json_answer
from tests.fakes.upstream import FakeUpstream

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"

PLANS = """
[[plans]]
name = "minute"
models = ["*"]
requests_per_minute = 60

[[plans]]
name = "day"
models = ["*"]
daily_tokens = 1_000

[[plans]]
name = "claude"
models = ["*"]
daily_tokens = 50_000

[[plans]]
name = "narrow"
models = ["m-*"]

[[plans]]
name = "single"
models = ["*"]
concurrent_requests = 1
"""


def message(prompt: int = 1, completion: int = 1) -> Answer:
    return json_answer(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "plain",
            "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": completion},
        }
    )


@pytest.fixture
async def limited(fake: FakeUpstream, start: Starter) -> Running:
    return await start(toml(fake.base_url, extra=PLANS))


async def post(
    http: aiohttp.ClientSession, gateway: Running, key: str, path: str = CHAT, **more: Any
) -> tuple[int, dict[str, Any], dict[str, str]]:
    sent = {"model": "c-model", "messages": [{"role": "user", "content": "x"}], **more}
    headers = {"authorization": f"Bearer {key}"}
    async with http.post(gateway.base_url + path, json=sent, headers=headers) as got:
        low = {name.lower(): value for name, value in got.headers.items()}
        return got.status, json.loads(await got.read()), low


async def test_burst_admits_the_plan_and_its_refill_and_no_more(
    limited: Running, fake: FakeUpstream
) -> None:
    fake.always(chat_answer())
    key = await limited.new_key("minute")
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(connector=connector) as http:
        begin = time.monotonic()
        got = await asyncio.gather(*(post(http, limited, key) for _ in range(1_000)))
        lasted = time.monotonic() - begin
    admitted = sum(status == 200 for status, _, _ in got)
    # The bucket began with the first admission, a little after ours.
    assert 60 <= admitted <= 60 + math.floor(lasted)
    assert admitted == len(fake.requests)
    refused = [(body, headers) for status, body, headers in got if status == 429]
    assert len(refused) == 1_000 - admitted
    for body, headers in refused:
        assert body["error"]["type"] == "rate_limit_error"
        assert body["error"]["code"] == "rate_limit_exceeded"
        assert headers["retry-after"] == "1"
        assert "x-should-retry" not in headers


async def test_daily_tokens_are_never_overspent_when_the_cap_is_known(
    limited: Running, fake: FakeUpstream
) -> None:
    # Eighteen for each: a prompt estimated with more than the upstream's 8, and a cap of 10.
    fake.always(chat_answer(prompt=8, completion=10))
    key = await limited.new_key("day")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as http:
        got = await asyncio.gather(
            *(post(http, limited, key, max_completion_tokens=10) for _ in range(1_000))
        )
        spent = sum(body["usage"]["total_tokens"] for status, body, _ in got if status == 200)
        assert 0 < spent <= 1_000
        assert limited.gateway.state.admission.reserved == 0
        async with http.get(
            limited.base_url + "/v1/usage", headers={"authorization": f"Bearer {key}"}
        ) as usage:
            daily = (await usage.json())["daily_tokens"]
    assert (daily["used"], daily["reserved"]) == (spent, 0)
    for status, body, headers in got:
        if status == 429 and body["error"]["code"] == "rate_limit_exceeded":
            assert headers["retry-after"] == "5"
            assert "running requests" in body["error"]["message"].lower()


async def test_nobody_hears_of_a_used_up_day_while_tokens_are_only_reserved(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold_each(chat_answer(prompt=8, completion=10))
    key = await limited.new_key("day")
    running = [
        asyncio.create_task(post(http, limited, key, max_completion_tokens=900)) for _ in range(20)
    ]
    await fake.received(1)
    await soon(lambda: sum(task.done() for task in running) == 19)
    gate.set()
    got = await asyncio.gather(*running)
    codes = sorted(body["error"]["code"] for status, body, _ in got if status == 429)
    assert codes == ["rate_limit_exceeded"] * 19
    assert limited.gateway.state.admission.reserved == 0


async def test_used_up_day_says_when_it_begins_again_and_whom_to_ask(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(prompt=900, completion=100))
    key = await limited.new_key("day")
    status, _, headers = await post(http, limited, key, max_completion_tokens=100)
    assert status == 200
    assert headers["x-ratelimit-limit-tokens"] == "1000"
    status, body, headers = await post(http, limited, key, max_completion_tokens=100)
    assert status == 429
    assert body["error"]["type"] == body["error"]["code"] == "insufficient_quota"
    assert "00:00 UTC" in body["error"]["message"]
    assert body["error"]["message"].rstrip(".").endswith("ops@example.org")
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    assert re.fullmatch(r"(\d+h\d+m|\d+m)?\d+s", headers["x-ratelimit-reset-tokens"])


# Claude Code's real request against 50,000 tokens: what is left, what it asks, what it gets.
CASES = [
    ("a: it fits", 0, 32_000, None, 200, None),
    ("b: the cap is lowered", 0, 128_000, None, 200, "lowered"),
    ("b: a thinking budget still fits", 0, 64_000, 31_999, 200, "lowered"),
    ("d: a thinking budget fits no more", 30_000, 32_000, 31_000, 429, "spent"),
    ("d: nothing useful fits", 49_500, 32_000, None, 429, "spent"),
]


@pytest.mark.parametrize(
    ("used", "cap", "budget", "status", "what"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
async def test_claude_codes_request_meets_the_four_cases(
    used: int,
    cap: int,
    budget: int | None,
    status: int,
    what: str | None,
    limited: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    key = await limited.new_key("claude")
    if used:
        fake.answer(message(prompt=used - 10, completion=10))
        await post(http, limited, key, MESSAGES, model="m-model", max_tokens=10)
    fake.answer(message())
    thinking = {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget else {}
    got, body, headers = await post(
        http, limited, key, MESSAGES, model="m-model", max_tokens=cap, **thinking
    )
    assert got == status
    if what == "lowered":
        sent = fake.last.json["max_tokens"]
        assert int(headers["x-kurol-output-cap"]) == sent < cap
        assert budget is None or sent >= budget + 1_024
    elif what == "spent":
        assert body["error"]["type"] == "rate_limit_error"
        assert headers["x-should-retry"] == "false"
    else:
        assert "x-kurol-output-cap" not in headers
        assert fake.last.json["max_tokens"] == cap


async def test_case_c_of_claude_codes_request_says_to_wait(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold_each(message())
    key = await limited.new_key("claude")
    ask = {"path": MESSAGES, "model": "m-model"}
    first = asyncio.create_task(post(http, limited, key, max_tokens=49_800, **ask))
    await fake.received(1)
    status, body, headers = await post(http, limited, key, max_tokens=32_000, **ask)
    assert (status, headers["retry-after"]) == (429, "5")
    assert "x-should-retry" not in headers
    assert body["error"]["type"] == "rate_limit_error"
    gate.set()
    assert (await first)[0] == 200


async def test_lowered_cap_reaches_a_translated_upstream_too(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    key = await limited.new_key("claude")
    status, _, headers = await post(http, limited, key, MESSAGES, max_tokens=128_000)
    assert status == 200
    sent = fake.last.json
    assert sent["max_tokens"] == int(headers["x-kurol-output-cap"]) < 50_000


async def test_lowered_cap_is_inserted_where_the_client_named_none(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    key = await limited.new_key("claude")
    fake.answer(chat_answer(prompt=47_990, completion=10))
    assert (await post(http, limited, key, max_completion_tokens=10))[0] == 200
    fake.answer(chat_answer())
    status, _, headers = await post(http, limited, key)
    assert status == 200
    assert fake.last.json["max_tokens"] == int(headers["x-kurol-output-cap"]) < 2_000


async def test_model_outside_the_plan_is_forbidden_and_never_named_another(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    key = await limited.new_key("narrow")
    for name in ("c-model", "claude-c"):
        status, body, headers = await post(http, limited, key, model=name)
        assert status == 403
        assert body["error"]["code"] == "model_not_allowed"
        assert "m-model" in body["error"]["message"]
        assert headers["x-should-retry"] == "false"
    assert fake.requests == []


async def test_key_narrows_the_plan(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    key = await limited.new_key("minute", models=["c-*"], requests_per_minute=1)
    status, _, headers = await post(http, limited, key)
    assert (status, headers["x-ratelimit-limit-requests"]) == (200, "1")
    status, _, _ = await post(http, limited, key)
    assert status == 429
    status, _, _ = await post(http, limited, key, model="m-model")
    assert status == 403


async def test_one_request_at_a_time_when_the_plan_says_so(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold_each(chat_answer())
    key = await limited.new_key("single")
    first = asyncio.create_task(post(http, limited, key))
    await fake.received(1)
    status, body, headers = await post(http, limited, key)
    assert (status, headers["retry-after"]) == (429, "1")
    assert body["error"]["code"] == "concurrency_limit_exceeded"
    gate.set()
    assert (await first)[0] == 200
    assert (await post(http, limited, key))[0] == 200


async def test_our_own_502_gives_the_request_back(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(500, "broken"))
    key = await limited.new_key("minute")
    _, _, before = await post(http, limited, key)
    for _ in range(5):
        status, _, headers = await post(http, limited, key)
        assert status == 502
    assert headers["x-ratelimit-remaining-requests"] == before["x-ratelimit-remaining-requests"]


async def test_same_incoming_request_id_makes_two_rows(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(prompt=7, completion=5))
    ids = set()
    for _ in range(2):
        headers = {"authorization": f"Bearer {gateway.key}", "x-request-id": "mine"}
        sent = {"model": "c-model", "messages": [{"role": "user", "content": "x"}]}
        async with http.post(gateway.base_url + CHAT, json=sent, headers=headers) as got:
            ids.add(got.headers["x-request-id"])
    assert len(ids) == 2
    assert "mine" not in ids
    await gateway.gateway.state.usage.flush()
    rows = await gateway.gateway.database.read("SELECT request_id, prompt, completion FROM usage")
    assert {row["request_id"] for row in rows} == ids
    assert [(row["prompt"], row["completion"]) for row in rows] == [(7, 5), (7, 5)]
    assert gateway.lines().count('"client_request_id":"mine"') == 2


async def test_restart_goes_on_with_the_days_sums(
    fake: FakeUpstream, tmp_path: Any, http: aiohttp.ClientSession
) -> None:
    from kurolproxy.app import Gateway
    from kurolproxy.config.load import parse

    fake.always(chat_answer(prompt=900, completion=100))
    text = toml(fake.base_url, extra=PLANS).replace(
        'state_dir = "state"', f'state_dir = "{tmp_path / "s"}"'
    )
    with (tmp_path / "log").open("wb") as log:
        first = Gateway(parse(text, "t.toml", {}), log_fd=log.fileno())
        await first.start()
        key = await new_key(first, "a@example.org", "day")
        base = "http://{}:{}".format(*first.addresses[0])
        running = Running(first, base, key, tmp_path / "log")
        assert (await post(http, running, key, max_completion_tokens=50))[0] == 200
        await first.stop()
        second = Gateway(parse(text, "t.toml", {}), log_fd=log.fileno())
        await second.start()
        running.base_url = "http://{}:{}".format(*second.addresses[0])
        status, body, _ = await post(http, running, key, max_completion_tokens=50)
        assert (status, body["error"]["code"]) == (429, "insufficient_quota")
        await second.stop()
