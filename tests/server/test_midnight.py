"""Midnight under load, and clocks that jump: whose day pays, and when an allowance begins."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, soon
from tests.fakes.upstream import FakeUpstream
from tests.server.families import Got, ask, configuration, get, plan, rows
from tests.server.walls import EACH, NO, YES, Noting, Wall, answer, duration_s, serving

EVENING = date(2026, 3, 2)
MORNING = date(2026, 3, 3)
IN_FLIGHT = 350
PLANS = "".join(
    (
        plan("load", daily_tokens=17_000),
        plan("day", daily_tokens=1_000),
        plan("minute", requests_per_minute=2),
    )
)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


async def standing(http: aiohttp.ClientSession, running: Running, key: str) -> Any:
    return (await get(http, running, "/v1/usage", {"authorization": f"Bearer {key}"})).json


# --- midnight under load ----------------------------------------------------------------


async def test_each_call_across_midnight_is_billed_to_the_day_of_its_admission(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold_each(answer())
    # 500 calls a second by the gateway's own clock; the last of the first lot is admitted
    # 2 ms before midnight, the first of the second lot at 00:00:00.000. The first tick is
    # taken by the start.
    ticks = count(-2, 2)
    noting = Noting(lambda: next(ticks), ms("2026-03-03 00:00:00") - 2 * IN_FLIGHT)
    text = configuration(fake.base_url, PLANS)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        serving(text, tmp_path, noting.clock) as running,
        aiohttp.ClientSession(connector=connector) as many,
    ):
        key = await running.new_key("load")
        admission = running.gateway.state.admission

        def lot() -> list[asyncio.Task[Got]]:
            calls = (ask(many, running, key, "openai-chat") for _ in range(IN_FLIGHT))
            return [asyncio.create_task(each) for each in calls]

        evening = lot()
        await soon(lambda: len(noting.asked) == IN_FLIGHT, 20)
        await soon(lambda: len(fake.requests) == admission.running)
        let_in, held_tokens = admission.running, admission.reserved
        each = held_tokens // let_in
        assert 300 < let_in == 17_000 // each < IN_FLIGHT
        morning = lot()
        await soon(lambda: len(noting.asked) == 2 * IN_FLIGHT, 20)
        await soon(lambda: len(fake.requests) == admission.running)
        assert (admission.running, admission.reserved) == (2 * let_in, 2 * held_tokens)
        gate.set()
        got = [await asyncio.gather(*some) for some in (evening, morning)]
        booked = await rows(running)
        usage = await standing(http, running, key)
        assert (admission.running, admission.reserved) == (0, 0)
    for some in got:
        statuses = Counter(each.status for each in some)
        assert statuses == {200: let_in, 429: IN_FLIGHT - let_in}
        codes = {each.json["error"]["code"] for each in some if each.status == 429}
        assert codes == {"rate_limit_exceeded"}
    # Each by the day of its own admission, and each day's sum is exact.
    assert {row["request_id"]: row["day"] for row in booked} == {
        name: day.isoformat()
        for name, day in noting.days.items()
        if name in {row["request_id"] for row in booked}
    }
    charged: Counter[str] = Counter()
    for row in booked:
        charged[row["day"]] += row["charged"]
    assert charged == {"2026-03-02": EACH * let_in, "2026-03-03": EACH * let_in}
    assert (usage["day"], usage["daily_tokens"]["used"]) == ("2026-03-03", EACH * let_in)


async def test_load_that_never_stops_sees_one_allowance_before_midnight_and_one_after(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.always(answer())
    ticks = count(0, 2)
    noting = Noting(lambda: next(ticks), ms("2026-03-03 00:00:00") - 1_000)
    async with serving(configuration(fake.base_url, PLANS), tmp_path, noting.clock) as running:
        key = await running.new_key("day")
        connector = aiohttp.TCPConnector(limit=60)
        async with aiohttp.ClientSession(connector=connector) as many:
            calls = (ask(many, running, key, "openai-chat") for _ in range(1_000))
            got = await asyncio.gather(*calls)
        booked = await rows(running)
    first = next(name for name, day in noting.days.items() if day == MORNING)
    assert {each.headers["x-request-id"]: each.status for each in got}[first] == 200
    charged: Counter[str] = Counter()
    for row in booked:
        charged[row["day"]] += row["charged"]
    days = [each.isoformat() for each in (EVENING, MORNING)]
    assert sorted(charged) == days
    assert all(900 < charged[day] <= 1_000 for day in days)
    admitted = {each.headers["x-request-id"] for each in got if each.status == 200}
    assert {row["request_id"] for row in booked} == admitted


async def test_first_call_of_the_new_day_succeeds_after_a_day_that_was_used_up(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    fake.always(answer(1_000))
    wall = Wall("2026-03-02 23:59:50")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("day")
        seen = []
        for moment in ("23:59:50", "23:59:59", "23:59:59.999"):
            wall.show(f"2026-03-02 {moment}")
            got = await ask(http, running, key, "openai-chat")
            seen.append((got.status, got.headers["x-ratelimit-reset-tokens"]))
        assert seen == [(200, "10s"), (429, "1s"), (429, "1s")]
        wall.show("2026-03-03 00:00:00.000")
        got = await ask(http, running, key, "openai-chat")
        assert (got.status, got.headers["x-ratelimit-reset-tokens"]) == (200, "24h0m0s")
        assert [row["day"] for row in await rows(running)] == ["2026-03-02", "2026-03-03"]


# --- clocks that jump -------------------------------------------------------------------

# Every call uses up a whole day. Clock, answer, the day that counts; at the end the days
# that are ignored. Restarted before each step it is the same, unless another answer stands
# there: then the ledger's day of a fast clock is believed as soon as it is tomorrow.
JUMPS: dict[str, tuple[list[tuple[str, int, str]], list[str]]] = {
    "real time": (
        [
            ("2026-03-02 12:00", YES, "2026-03-02"),
            ("2026-03-02 23:59:59.999", NO, "2026-03-02"),
            ("2026-03-03 00:00", YES, "2026-03-03"),
        ],
        [],
    ),
    "back an hour over midnight": (
        [
            ("2026-03-02 23:30", YES, "2026-03-02"),
            ("2026-03-03 00:10", YES, "2026-03-03"),
            ("2026-03-02 23:10", NO, "2026-03-03"),
            ("2026-03-03 00:20", NO, "2026-03-03"),
            ("2026-03-04 00:00", YES, "2026-03-04"),
        ],
        [],
    ),
    "forward 25 hours and right again": (
        [
            ("2026-03-02 22:30", YES, "2026-03-02"),
            ("2026-03-03 23:30", YES, "2026-03-03"),
            ("2026-03-02 22:31", NO, "2026-03-03"),
            ("2026-03-03 12:00", NO, "2026-03-03"),
            ("2026-03-04 00:00", YES, "2026-03-04"),
        ],
        [],
    ),
    "forward years and right again": (
        [
            ("2026-03-02 12:00", YES, "2026-03-02"),
            ("2099-01-01 12:00", YES, "2099-01-01"),
            ("2026-03-02 12:01", NO, "2026-03-02"),
            ("2099-01-01 13:00", NO, "2099-01-01"),
            ("2026-03-02 12:02", NO, "2026-03-02"),
            ("2026-03-03 00:00", YES, "2026-03-03"),
        ],
        ["2099-01-01"],
    ),
    "a wrong year over its midnight": (
        [
            ("2026-03-02 23:50", YES, "2026-03-02"),
            ("2099-01-01 23:59", YES, "2099-01-01"),
            ("2099-01-02 00:01", YES, "2099-01-02"),
            ("2026-03-02 23:53", NO, "2026-03-02"),
            ("2026-03-03 00:01", YES, "2026-03-03"),
        ],
        ["2099-01-02", "2099-01-01"],
    ),
    "asleep for three days": (
        [
            ("2026-03-02 12:00", YES, "2026-03-02"),
            ("2026-03-05 12:00", YES, "2026-03-05"),
            ("2026-03-05 12:01", NO, "2026-03-05"),
        ],
        [],
    ),
    "summer time is no matter of UTC": (
        [
            ("2026-03-29 00:59:59", YES, "2026-03-29"),
            ("2026-03-29 01:00:00", NO, "2026-03-29"),
            ("2026-10-25 00:59:59", YES, "2026-10-25"),
            ("2026-10-25 02:00:00", NO, "2026-10-25"),
        ],
        [],
    ),
    "leap second and leap day": (
        [
            ("2016-12-31 23:59:59.9", YES, "2016-12-31"),
            ("2016-12-31 23:59:59.1", NO, "2016-12-31"),
            ("2017-01-01 00:00:00", YES, "2017-01-01"),
            ("2028-02-29 00:00:00", YES, "2028-02-29"),
            ("2028-03-01 00:00:00", YES, "2028-03-01"),
        ],
        [],
    ),
}
# 25 h late in the evening are two days: ignored while it runs, believed by a start.
LATE = [
    ("2026-03-02 23:30", YES, "2026-03-02"),
    ("2026-03-04 00:30", YES, "2026-03-04"),
    ("2026-03-02 23:31", NO, "2026-03-02"),
    ("2026-03-03 00:00", YES, "2026-03-03"),
    ("2026-03-04 00:00", NO, "2026-03-04"),
    ("2026-03-05 00:00", YES, "2026-03-05"),
]
LATE_RESTARTED = [
    *LATE[:3],
    ("2026-03-03 00:00", NO, "2026-03-04"),
    ("2026-03-04 00:00", NO, "2026-03-04"),
    ("2026-03-05 00:00", YES, "2026-03-05"),
]
RUNS = [
    *((name, steps, ignored, False) for name, (steps, ignored) in JUMPS.items()),
    ("forward 25 hours at night", LATE, ["2026-03-04"], False),
    *((f"{name}, restarted", *JUMPS[name], True) for name in list(JUMPS)[1:5]),
    ("forward 25 hours at night, restarted", LATE_RESTARTED, [], True),
]


@pytest.mark.parametrize(
    ("steps", "ignored", "restarted"), [each[1:] for each in RUNS], ids=[each[0] for each in RUNS]
)
async def test_clock_that_jumps_neither_gives_an_allowance_twice_nor_holds_one_for_ever(
    steps: list[tuple[str, int, str]],
    ignored: list[str],
    restarted: bool,
    fake: FakeUpstream,
    tmp_path: Path,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(answer(1_000))
    wall = Wall(steps[0][0])
    text = configuration(fake.base_url, PLANS)
    key = ""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(serving(text, tmp_path, wall.clock))
        key = await running.new_key("day")
        for moment, expected, day in steps:
            wall.show(moment)
            if restarted:
                await stack.aclose()
                running = await stack.enter_async_context(serving(text, tmp_path, wall.clock))
            got = await ask(http, running, key, "openai-chat")
            usage = await standing(http, running, key)
            assert (moment, got.status, usage["day"]) == (moment, expected, day)
            ends = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
            left = duration_s(got.headers["x-ratelimit-reset-tokens"])
            assert 0 <= left - (ends.timestamp() - wall.unix) < 1
            assert usage["daily_tokens"]["resets_at"] == f"{ends:%Y-%m-%dT%H:%M:%SZ}"
            if expected == NO:
                assert got.advice == (None, "false")
                assert f"{ends:%Y-%m-%d} 00:00 UTC" in got.json["error"]["message"]
        booked = [row["day"] for row in await rows(running)]
        told = [each.isoformat() for each in running.gateway.state.admission.ignored_days]
    assert booked == [day for _, status, day in steps if status == YES]
    assert len(set(booked)) == len(booked)
    if not restarted:
        assert told == ignored


async def test_wrong_year_is_logged_once_when_the_clock_is_set_right(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    fake.always(answer(1_000))
    wall = Wall("2026-03-02 12:00")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("day")
        for _ in range(3):
            for moment in ("2026-03-02 12:00", "2099-01-01 12:00", "2026-03-02 12:00"):
                wall.show(moment)
                await standing(http, running, key)
        await soon(lambda: "clock_was_wrong" in running.lines())
        wall.show("2085-07-01 12:00")
        await standing(http, running, key)
        wall.show("2026-03-02 12:01")
        await standing(http, running, key)
        await soon(lambda: "2085-07-01" in running.lines())
        told = [each for each in running.lines().splitlines() if "clock_was_wrong" in each]
        status = running.gateway.status()
    assert [json.loads(each)["ignored"] for each in told] == ["2099-01-01", "2085-07-01"]
    assert status["ignored_days"] == ["2099-01-01", "2085-07-01"]


async def test_start_with_a_wrong_clock_gives_no_second_allowance_when_it_is_set_right(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    fake.always(answer(1_000))
    wall = Wall("2026-03-02 12:00")
    text = configuration(fake.base_url, PLANS)
    async with serving(text, tmp_path, wall.clock) as running:
        key = await running.new_key("day")
        assert (await ask(http, running, key, "openai-chat")).status == YES
    wall.show("2099-01-01 12:00")
    async with serving(text, tmp_path, wall.clock) as running:
        wall.show("2026-03-02 12:05")
        assert (await ask(http, running, key, "openai-chat")).status == NO
        wall.show("2026-03-03 00:00")
        assert (await ask(http, running, key, "openai-chat")).status == YES


@pytest.mark.parametrize("hours", [-1, 1, -25, 25, 24 * 365 * 73, -24 * 365 * 50])
async def test_call_that_runs_across_a_jump_is_whole_and_billed_to_its_admission(
    hours: int, fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold_each(answer(700))
    wall = Wall("2026-03-02 23:30")
    text = configuration(fake.base_url, PLANS, server="keepalive_interval_s = 1")
    async with serving(text, tmp_path, wall.clock) as running:
        key = await running.new_key("day")
        calling = asyncio.create_task(ask(http, running, key, "openai-chat"))
        await fake.received(1)
        wall.unix += hours * 3_600
        await standing(http, running, key)
        assert running.gateway.state.admission.reserved > 0
        gate.set()
        got = await calling
        # No timer looks at the wall clock, and no duration is told by it.
        assert got.status == YES
        assert not any("-" in value for value in got.limits.values())
        (row,) = await rows(running)
        assert (row["day"], row["charged"]) == ("2026-03-02", 700)
        assert 0 <= row["duration_ms"] < 60_000
        wall.show("2026-03-02 23:31")
        usage = await standing(http, running, key)
        on_its_day = usage["day"] == "2026-03-02"
        assert usage["daily_tokens"]["used"] == (700 if on_its_day else 0)
        assert on_its_day == (hours != 1)
        assert running.gateway.state.admission.reserved == 0


async def test_requests_of_the_minute_know_nothing_of_the_wall_clock(
    fake: FakeUpstream, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    fake.always(answer())
    wall = Wall("2026-03-02 23:30")
    async with serving(configuration(fake.base_url, PLANS), tmp_path, wall.clock) as running:
        key = await running.new_key("minute")
        statuses = [(await ask(http, running, key, "openai-chat")).status for _ in range(2)]
        assert statuses == [YES, YES]
        for hours in (1, -1, 25, -25, 24 * 365 * 73, -24 * 365 * 50):
            wall.show("2026-03-02 23:30")
            wall.unix += hours * 3_600
            refused = await ask(http, running, key, "openai-chat")
            assert (refused.status, refused.advice) == (NO, ("30", None))
        wall.now += 30
        assert (await ask(http, running, key, "openai-chat")).status == YES
