"""A thousand requests at once: what is admitted is exact, and so is what the others hear."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from math import floor
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from kurolproxy.storage.errors import Limit
from tests.conftest import Running, new_key, soon
from tests.fakes.answers import Answer, json_answer
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.server.families import (
    Got,
    ask,
    configuration,
    every_family,
    get,
    metric,
    plan,
    rows,
)
from tests.server.walls import EACH, Noting, Wall, answer, serving

AT_ONCE = 1_000
PLANS = "".join(
    (
        plan("minute", requests_per_minute=60),
        plan("slow", requests_per_minute=6),
        plan("tight", requests_per_minute=7, daily_tokens=1_000),
        plan("day", daily_tokens=1_000),
        plan("agent", daily_tokens=50_000),
    )
)


async def crowd(running: Running, key: str, *, count: int = AT_ONCE, cap: int = 10) -> list[Got]:
    """Send so many requests at once, over a hundred connections."""
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(connector=connector) as http:
        calls = (ask(http, running, key, "openai-chat", cap=cap) for _ in range(count))
        return await asyncio.gather(*calls)


async def usage(http: aiohttp.ClientSession, running: Running, key: str) -> Any:
    got = await get(http, running, "/v1/usage", {"authorization": f"Bearer {key}"})
    return got.json


# --- requests of a minute ---------------------------------------------------------------


async def test_burst_admits_exactly_the_plan_and_its_refill(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.always(answer())
    noting = Noting(lambda: time.monotonic_ns() // 1_000_000)
    text = configuration(fake.base_url, PLANS)
    async with serving(text, tmp_path, noting.clock) as running:
        key = await running.new_key("minute")
        got = await crowd(running, key)
    assert len(noting.asked) == AT_ONCE
    lasted_s = (noting.asked[-1] - noting.asked[0]) / 1_000
    admitted = sum(each.status == 200 for each in got)
    assert admitted == 60 + floor(lasted_s) == len(fake.requests)
    refused = [each for each in got if each.status == 429]
    assert len(refused) == AT_ONCE - admitted
    assert {each.json["error"]["code"] for each in refused} == {"rate_limit_exceeded"}
    assert {each.advice for each in refused} == {("1", None)}


@pytest.mark.parametrize(("step_ms", "refilled"), [(0, 0), (1, 0), (5, 4), (50, 49)])
async def test_burst_by_a_clock_of_its_own_admits_exactly_as_many(
    step_ms: int, refilled: int, fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.always(answer())
    ticks = iter(range(1_000_000, 2_000_000, step_ms)) if step_ms else None
    noting = Noting(lambda: next(ticks) if ticks else 1_000_000)
    text = configuration(fake.base_url, PLANS)
    async with serving(text, tmp_path, noting.clock) as running:
        got = await crowd(running, await running.new_key("minute"))
    assert sum(each.status == 200 for each in got) == 60 + refilled
    assert floor((AT_ONCE - 1) * step_ms / 1_000) == refilled


async def test_refused_request_hears_when_the_next_one_is_free(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    fake.always(answer())
    wall = Wall("2026-03-02 12:00:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("slow")
        heard = Counter(each.advice for each in await crowd(running, key, count=100))
        assert heard == {(None, None): 6, ("10", None): 94}
        for waited_s, expected in [(0.5, "10"), (0.6, "9"), (7.9, "1"), (0.999, "1")]:
            wall.wait(waited_s)
            assert (await ask(http, running, key, "openai-chat")).advice == (expected, None)
        wall.wait(0.001)
        assert (await ask(http, running, key, "openai-chat")).status == 200


async def test_failing_upstream_under_a_crowd_gives_back_no_more_than_the_plan(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.always(json_answer({"error": {"message": "broken"}}, status=500))
    wall = Wall("2026-03-02 12:00:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("slow")
        statuses = Counter(each.status for each in await crowd(running, key, count=200))
        assert statuses == {502: 12, 429: 188}
        wall.wait(10)
        statuses = Counter(each.status for each in await crowd(running, key, count=20))
        assert statuses == {502: 1, 429: 19}
        # The refunds of the first instant are out of the window, and the minute is full.
        wall.wait(61)
        statuses = Counter(each.status for each in await crowd(running, key, count=200))
        assert statuses == {502: 12, 429: 188}
        assert running.gateway.state.admission.running == 0


async def test_crowd_refused_for_its_tokens_spends_no_more_than_twice_the_plan(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    wall = Wall("2026-03-02 12:00:00")
    fake.always(answer(1_000))
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("tight")
        assert [each.status for each in await crowd(running, key, count=1)] == [200]
        codes = Counter(each.json["error"]["code"] for each in await crowd(running, key, count=200))
        assert codes == {"insufficient_quota": 6 + 7, "rate_limit_exceeded": 200 - 13}


# --- tokens of a day --------------------------------------------------------------------


async def test_crowd_spends_no_more_than_what_is_left(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    fake.always(answer())
    wall = Wall("2026-03-02 12:00:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("day")
        got = await crowd(running, key)
        # What is left is too little for another one: nothing was wasted either.
        (more,) = await crowd(running, key, count=1)
        assert more.json["error"]["code"] == "insufficient_quota"
        used = (await usage(http, running, key))["daily_tokens"]["used"]
        booked = [row["charged"] for row in await rows(running)]
        assert running.gateway.state.admission.reserved == 0
    admitted = sum(each.status == 200 for each in got)
    assert used == admitted * EACH == sum(booked) <= 1_000
    codes = Counter(each.json["error"]["code"] for each in got if each.status == 429)
    assert set(codes) <= {"rate_limit_exceeded", "insufficient_quota"}
    for each in got:
        if each.status == 429:
            used_up = each.json["error"]["code"] == "insufficient_quota"
            assert each.advice == ((None, "false") if used_up else ("5", None))


async def test_nobody_hears_used_up_while_tokens_are_only_reserved(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold_each(answer())
    wall = Wall("2026-03-02 12:00:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("day")
        admission = running.gateway.state.admission
        first = asyncio.create_task(crowd(running, key, count=1))
        await fake.received(1)
        most = 1_000 // admission.reserved
        # All but the last slots of the connections: the others are refused at once.
        others = [asyncio.create_task(crowd(running, key, count=1)) for _ in range(AT_ONCE // 5)]
        await soon(lambda: sum(task.done() for task in others) == len(others) - most + 1)
        refused = [(await task)[0] for task in others if task.done()]
        assert {each.json["error"]["code"] for each in refused} == {"rate_limit_exceeded"}
        assert all("Running requests hold" in each.json["error"]["message"] for each in refused)
        assert {each.advice for each in refused} == {("5", None)}
        assert admission.reserved <= 1_000
        gate.set()
        await asyncio.gather(first, *others)
        assert (await usage(http, running, key))["daily_tokens"]["used"] == most * EACH
        assert (admission.reserved, admission.running) == (0, 0)


# What the day's 50,000 tokens say to a call, by the design's letters: used before, held by
# another call, the output cap that is asked for.
CASES = {
    "a": (0, 0, 20_000),
    "b": (0, 0, 128_000),
    "c": (0, 49_000, 128_000),
    "d": (49_500, 0, 128_000),
}
DAILY = {
    "openai-chat": ("insufficient_quota", "insufficient_quota"),
    "openai-responses": ("insufficient_quota", "insufficient_quota"),
    "anthropic": ("rate_limit_error", None),
    "gemini": ("RESOURCE_EXHAUSTED", None),
}
HELD = {
    "openai-chat": ("rate_limit_error", "rate_limit_exceeded"),
    "openai-responses": ("rate_limit_error", "rate_limit_exceeded"),
    "anthropic": ("rate_limit_error", None),
    "gemini": ("RESOURCE_EXHAUSTED", None),
}


def kind(got: Got) -> tuple[str, str | None]:
    error = got.json["error"]
    code = error.get("code")
    return error.get("type") or error["status"], code if isinstance(code, str) else None


async def meet(case: str, family: ProtocolName, fake: FakeUpstream, running: Running) -> Got:
    """Bring about one of the four cases, by a call of this family."""
    used, other, cap = CASES[case]
    key = await running.new_key("agent")
    gate = fake.hold()

    async def held(_: SeenRequest) -> Answer:
        await gate.wait()
        return answer()

    async with aiohttp.ClientSession() as http:
        if used:
            fake.answer(answer(used))
            assert (await ask(http, running, key, "openai-chat")).status == 200
        fake.always(held if other else answer(), model=None)
        holding = None
        if other:
            holding = asyncio.create_task(ask(http, running, key, "openai-chat", cap=other))
            await fake.received(1)
        got = await ask(http, running, key, family, model="m-chat", cap=cap)
        gate.set()
        assert holding is None or (await holding).status == 200
        return got


@every_family
@pytest.mark.parametrize("case", list(CASES))
async def test_four_cases_in_the_words_of_each_family(
    case: str, family: ProtocolName, fake: FakeUpstream, tmp_path: Path
) -> None:
    wall = Wall("2026-03-02 12:00:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        got = await meet(case, family, fake, running)
        sent = fake.last.json.get("max_tokens") or fake.last.json.get("max_completion_tokens")
        assert metric(running, "kurol_rejections_total") == (case in "cd")
        assert running.gateway.state.admission.reserved == 0
    cap = got.headers.get("x-kurol-output-cap")
    if case in "ab":
        assert got.status == 200
        assert (cap is not None) == (case == "b")
        assert int(cap or CASES["a"][2]) == sent
        assert 49_000 < sent < 50_000 or case == "a"
        return
    assert (got.status, cap) == (429, None)
    message = got.json["error"]["message"]
    if case == "c":
        assert kind(got) == HELD[family]
        assert got.advice == ("5", None)
        assert "Running requests hold the rest of today's tokens" in message
        return
    assert kind(got) == DAILY[family]
    assert got.advice == (None, "false")
    assert "500 are left, too few for this request" in message
    assert "The next allowance starts at 2026-03-03 00:00 UTC" in message
    assert message.endswith("Contact: ops@example.org")
    assert (b"PerDay" in got.body) == (family == "gemini")


# --- limits belong to the account -------------------------------------------------------


async def test_twenty_keys_of_an_account_share_its_minute_and_the_next_is_refused(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.always(answer())
    wall = Wall("2026-03-02 12:00:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        keys = [await running.new_key("minute") for _ in range(20)]
        with pytest.raises(Limit, match="20 keys"):
            await running.new_key("minute")
        got = await asyncio.gather(*(crowd(running, key, count=10) for key in keys))
        statuses = Counter(each.status for some in got for each in some)
        assert statuses == {200: 60, 429: 140}


async def test_keys_of_an_account_share_its_tokens_and_one_that_narrows_is_counted_twice(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    fake.always(answer(200))
    wall = Wall("2026-03-02 12:00:00")
    text = configuration(fake.base_url, PLANS)
    async with serving(text, tmp_path, wall.clock) as running:
        keys = [await running.new_key("day") for _ in range(3)]
        narrow = await running.new_key("day", daily_tokens=400, requests_per_minute=3)
        for _ in range(2):
            assert (await ask(http, running, narrow, "openai-chat")).status == 200
    # By the ledger after a restart as by memory before it.
    async with serving(text, tmp_path, wall.clock) as running:
        assert (await usage(http, running, narrow))["daily_tokens"]["used"] == 400
        assert (await usage(http, running, keys[0]))["daily_tokens"]["used"] == 400
        refused = await ask(http, running, narrow, "openai-chat")
        assert "this key are used up" in refused.json["error"]["message"]
        assert refused.headers["x-ratelimit-limit-tokens"] == "400"
        statuses = [(await ask(http, running, key, "openai-chat")).status for key in keys]
        assert statuses == [200, 200, 200]
        for key in (keys[0], narrow):
            refused = await ask(http, running, key, "openai-chat")
            assert "used up" in refused.json["error"]["message"]
        assert (await usage(http, running, keys[1]))["daily_tokens"]["used"] == 1_000


async def test_another_account_has_limits_of_its_own(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.always(answer())
    wall = Wall("2026-03-02 12:00:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        one = await running.new_key("minute")
        other = await new_key(running.gateway, "other@example.org", "minute")
        got = await asyncio.gather(*(crowd(running, key, count=100) for key in (one, other)))
        assert [Counter(each.status for each in some) for some in got] == [{200: 60, 429: 40}] * 2
