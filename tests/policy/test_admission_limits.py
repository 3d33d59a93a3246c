"""Requests at once, requests per minute, tokens of the day: the facts that users see."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from kurolproxy.errors import (
    BadRequest,
    ConcurrencyLimited,
    GatewayError,
    QuotaExceeded,
    RateLimited,
)
from kurolproxy.policy.admission import Ask
from kurolproxy.policy.catalog import Model
from kurolproxy.policy.meter import Grant
from tests.policy.world import CONTACT, NOW, TODAY, TOMORROW, World

# --- 429: requests at once, requests per minute ---------------------------------------


def test_requests_at_once_are_limited_per_account_and_slots_come_back() -> None:
    world = World(concurrent_requests=2)
    first, second = world.admit(), world.admit(world.caller("other key"))
    error = world.refused(ConcurrencyLimited)
    assert error.retry_after_s == 1
    assert "'team' allows 2 at once" in error.message
    assert first.settle(5)
    third = world.admit()
    second.release(refund_request=False, now=NOW)
    third.settle(0)
    assert (world.admission.running, first.open) == (0, False)


@pytest.mark.parametrize("seconds", [0, 1, 10, 59, 60, 300])
def test_burst_of_a_thousand_on_60_a_minute_admits_60_and_one_a_second(seconds: int) -> None:
    world = World(requests_per_minute=60)
    caller = world.caller()
    admitted, refusals = 0, set()
    for number in range(1_000):
        world.now = NOW + seconds * number / 999
        try:
            world.admit(caller)
        except RateLimited as error:
            refusals.add((error.retry_after_s, error.may_retry))
        else:
            admitted += 1
    assert admitted == 60 + seconds
    assert refusals == {(1, True)}


def test_keys_of_one_account_share_its_requests() -> None:
    world = World(requests_per_minute=10)
    for number in range(10):
        world.admit(world.caller(f"key {number}"))
    assert "the plan 'team' allows 10" in world.refused(RateLimited, world.caller("new")).message


def test_narrowed_key_waits_while_its_account_goes_on() -> None:
    world = World(requests_per_minute=10)
    narrow = world.caller("narrow", requests_per_minute=2)
    world.admit(narrow)
    world.admit(narrow)
    error = world.refused(RateLimited, narrow)
    assert "this key allows 2" in error.message
    assert error.retry_after_s == 30
    # Refusing it cost the account nothing: 8 of its 10 are left.
    for _ in range(8):
        world.admit()
    world.refused(RateLimited)


def test_key_cannot_widen_the_requests_of_its_account() -> None:
    world = World(requests_per_minute=3)
    wide = world.caller("wide", requests_per_minute=1_000)
    for _ in range(3):
        world.admit(wide)
    world.refused(RateLimited, wide)


def test_request_refused_for_tokens_gives_its_minute_back() -> None:
    world = World(requests_per_minute=5, daily_tokens=100)
    for _ in range(5):
        world.refused(QuotaExceeded, prompt=101)
    assert world.standing().requests_remaining == 5


def test_refunds_run_out_and_the_minute_then_refuses() -> None:
    world = World(requests_per_minute=5, daily_tokens=100)
    kinds = []
    for _ in range(11):
        with pytest.raises(GatewayError) as caught:
            world.admit(prompt=101)
        kinds.append(caught.value.kind)
    assert kinds == ["quota_exceeded"] * 10 + ["rate_limited"]


@pytest.mark.parametrize(("refund", "left"), [(True, 5), (False, 4)])
def test_release_gives_the_minute_back_only_when_told(refund: bool, left: int) -> None:
    world = World(requests_per_minute=5)
    assert world.admit().release(refund_request=refund, now=NOW)
    assert world.standing().requests_remaining == left


def test_second_end_of_a_call_changes_nothing() -> None:
    world = World(requests_per_minute=5, daily_tokens=1_000, concurrent_requests=2)
    grant = world.admit(prompt=10, max_tokens=100)
    world.admit(prompt=10, max_tokens=100)
    assert grant.settle(42)
    assert not grant.settle(42)
    assert not grant.release(refund_request=True, now=NOW)
    standing = world.standing()
    assert (standing.tokens_used, standing.tokens_reserved) == (42, 110)
    assert (standing.requests_remaining, world.admission.running) == (3, 1)


def test_count_only_call_takes_a_request_and_a_slot_and_no_tokens() -> None:
    world = World(requests_per_minute=2, daily_tokens=10, concurrent_requests=1)
    caller = world.caller()
    world.admit(prompt=10, max_tokens=0).settle(10)
    grant = world.admission.admit_count(caller, NOW, TODAY)
    with pytest.raises(ConcurrencyLimited):
        world.admission.admit_count(caller, NOW, TODAY)
    assert grant.settle(0)
    with pytest.raises(RateLimited):
        world.admission.admit_count(caller, NOW, TODAY)
    assert (world.standing().tokens_used, world.standing().tokens_reserved) == (10, 0)


# --- 429: tokens of the day -----------------------------------------------------------


def test_a_thousand_calls_at_once_spend_no_more_than_the_thousand_tokens_left() -> None:
    world = World(daily_tokens=50_000)
    world.admit(prompt=0, max_tokens=49_000).settle(49_000)
    caller = world.caller()
    spent, grants, refusals = 0, [], []
    for _ in range(1_000):
        try:
            grants.append(world.admit(caller, prompt=5, max_tokens=20))
        except GatewayError as error:
            refusals.append(error)
    for grant in grants:
        spent += 25
        grant.settle(25)
    assert (len(grants), spent) == (40, 1_000)
    # Nobody hears that the day is used up while tokens are only reserved.
    assert {type(error) for error in refusals} == {RateLimited}
    assert {error.retry_after_s for error in refusals} == {5}
    assert all("Running requests hold the rest" in error.message for error in refusals)
    assert all(error.may_retry for error in refusals)
    standing = world.standing()
    assert (standing.tokens_used, standing.tokens_reserved) == (50_000, 0)
    assert "used up" in world.refused(QuotaExceeded, prompt=5, max_tokens=20).message


def test_race_for_the_rest_with_random_ends_never_overspends() -> None:
    chance = random.Random(7)
    world = World(daily_tokens=100_000)
    caller, running, spent = world.caller(), [], 0
    for _ in range(10_000):
        prompt, cap = chance.randrange(50), chance.choice([10, 100, 3_000, 128_000])
        try:
            grant = world.admit(caller, prompt=prompt, max_tokens=cap)
        except (RateLimited, QuotaExceeded):
            pass
        else:
            running.append((grant, prompt + (grant.output_cap or cap)))
        while running and chance.random() < 0.5:
            grant, most = running.pop(chance.randrange(len(running)))
            charged = chance.randrange(most // 50 + 1) if spent < 90_000 else most
            if chance.random() < 0.3:
                grant.release(refund_request=True, now=NOW)
            else:
                grant.settle(charged)
                spent += charged
    for grant, _ in running:
        grant.settle(0)
    assert world.standing().tokens_used == spent
    assert 99_000 < spent <= 100_000
    assert (world.admission.reserved, world.admission.running) == (0, 0)


CLAUDE_CODE = [
    ("fits", 18_000, 32_000, None, 0, "fits", None),
    ("lowered", 20_000, 32_000, None, 0, "lowered", 30_000),
    ("lowered from 128,000", 20_000, 128_000, None, 0, "lowered", 30_000),
    ("held", 20_000, 128_000, None, 29_500, "rate_limited", None),
    ("spent", 49_500, 128_000, None, 0, "quota_exceeded", None),
    ("thinking fits", 18_000, 32_000, 31_999, 0, "fits", None),
    ("thinking is never cut", 20_000, 32_000, 31_999, 0, "quota_exceeded", None),
    ("thinking is held", 18_000, 32_000, 31_999, 10, "rate_limited", None),
    ("thinking with room is lowered", 16_000, 128_000, 31_999, 0, "lowered", 34_000),
]


@pytest.mark.parametrize(
    ("prompt", "cap", "thinking", "reserved", "case", "output_cap"),
    [c[1:] for c in CLAUDE_CODE],
    ids=[c[0] for c in CLAUDE_CODE],
)
def test_claude_codes_request_with_50_000_tokens_left(
    prompt: int, cap: int, thinking: int | None, reserved: int, case: str, output_cap: int | None
) -> None:
    world = World(daily_tokens=2_000_000)
    world.admission.restore(TODAY, accounts={1: 1_950_000}, keys={})
    other = world.admit(prompt=reserved, max_tokens=0)
    seen = world.outcome(prompt=prompt, max_tokens=cap, thinking_budget=thinking)
    assert seen == (case, output_cap)
    if case == "lowered":
        assert world.admission.reserved == 50_000
    other.settle(0)


def test_used_up_day_says_when_it_resets_and_whom_to_ask_and_not_to_retry() -> None:
    world = World(daily_tokens=100)
    world.admit(prompt=100, max_tokens=0).settle(120)
    error = world.refused(QuotaExceeded, prompt=1)
    assert error.message == (
        "Today's 100 tokens of the plan 'team' are used up. "
        f"The next allowance starts at 2026-03-03 00:00 UTC. Contact: {CONTACT}"
    )
    assert error.resets_at == datetime(2026, 3, 3, tzinfo=UTC)
    assert (error.retry_after_s, error.may_retry) == (None, False)


def test_too_little_left_is_not_called_used_up() -> None:
    world = World(daily_tokens=2_000)
    error = world.refused(QuotaExceeded, prompt=1_500, max_tokens=8_000)
    assert "used up" not in error.message
    assert (
        "2,000 are left, too few for this request: it needs about 1,500 for the prompt "
        "and at least 1,024 for the answer" in error.message
    )


# asked, n, model's maximum, plan's maximum, plan's reserve -> reserved, cap sent upstream
CAPS = [
    ("client", 500, 1, None, None, None, 500, None),
    ("model", None, 1, 700, None, None, 700, None),
    ("model under client", 9_000, 1, 700, None, None, 700, 700),
    ("plan", None, 1, None, 600, None, 600, 600),
    ("plan under client", 9_000, 1, None, 600, None, 600, 600),
    ("plan under model", None, 1, 9_000, 600, None, 600, 600),
    ("client under plan", 500, 1, None, 600, None, 500, None),
    ("model under plan and client", 9_000, 1, 500, 600, None, 500, 500),
    ("nobody: the default", None, 1, None, None, None, 8_192, None),
    ("times n", 500, 3, None, None, None, 1_500, None),
    ("plan times n", 9_000, 3, None, 600, None, 1_800, 600),
    ("plan reserves less", 9_000, 1, None, None, 800, 800, None),
    ("plan reserves less, times n", 9_000, 2, None, None, 800, 1_600, None),
    ("client under the plan's reserve", 500, 1, None, None, 800, 500, None),
    ("negative is no credit", -500, 1, None, None, None, 0, None),
    ("n of zero is one", 500, 0, None, None, None, 500, None),
]


@pytest.mark.parametrize(
    ("asked", "n", "model_max", "plan_max", "reserve", "reserved", "sent"),
    [c[1:] for c in CAPS],
    ids=[c[0] for c in CAPS],
)
def test_reserved_is_the_smallest_cap(
    asked: int | None,
    n: int,
    model_max: int | None,
    plan_max: int | None,
    reserve: int | None,
    reserved: int,
    sent: int | None,
) -> None:
    world = World(daily_tokens=1_000_000, max_output_tokens=plan_max, reserve_output_tokens=reserve)
    model = Model("gpt-4o", (), max_output_tokens=model_max)
    ask = Ask(0, max_tokens=asked, n=n)
    grant = world.admission.admit(world.caller(), model, ask, NOW, TODAY)
    assert (world.admission.reserved, grant.output_cap) == (reserved, sent)


def test_plan_without_a_daily_limit_reserves_nothing_and_still_sends_its_cap() -> None:
    world = World(max_output_tokens=600)
    grant = world.admit(prompt=100, max_tokens=9_000)
    assert (world.admission.reserved, grant.output_cap) == (0, 600)
    grant.settle(700)
    standing = world.standing()
    assert (standing.tokens_limit, standing.tokens_used) == (None, 700)
    assert standing.tokens_remaining is None


def test_thinking_that_the_plans_cap_cannot_hold_is_a_clear_400() -> None:
    world = World(max_output_tokens=8_000)
    error = world.refused(BadRequest, max_tokens=32_000, thinking_budget=31_999)
    assert "'team' allows 8,000 output tokens" in error.message
    world.refused(BadRequest, max_tokens=32_000, thinking_budget=6_977)
    assert world.admit(max_tokens=32_000, thinking_budget=6_976).output_cap == 8_000


def test_narrowed_key_is_held_to_its_own_tokens_and_to_the_accounts() -> None:
    world = World(daily_tokens=10_000)
    narrow = world.caller("narrow", daily_tokens=1_000)
    grant = world.admit(narrow, prompt=100, max_tokens=900)
    assert "hold the rest" in world.refused(RateLimited, narrow, prompt=1, max_tokens=1).message
    grant.settle(1_000)
    assert "of this key are used up" in world.refused(QuotaExceeded, narrow, prompt=1).message
    # The account goes on, with what the key spent counted.
    world.admit(prompt=0, max_tokens=9_000).settle(9_000)
    assert "'team' are used up" in world.refused(QuotaExceeded, prompt=1).message


def test_key_cannot_widen_the_tokens_of_its_account() -> None:
    world = World(daily_tokens=1_000)
    wide = world.caller("wide", daily_tokens=10**9)
    assert "plan 'team'" in world.refused(QuotaExceeded, wide, prompt=1_001).message


def test_making_more_keys_gives_no_more_tokens() -> None:
    world = World(daily_tokens=1_000)
    for number in range(10):
        world.admit(world.caller(f"key {number}"), prompt=100, max_tokens=0).settle(100)
    world.refused(QuotaExceeded, world.caller("one more"), prompt=1)


# --- days -----------------------------------------------------------------------------


def test_load_across_midnight_bills_each_call_to_its_admission() -> None:
    world = World(daily_tokens=1_000)
    caller = world.caller()
    start = datetime(2026, 3, 2, 23, 59, 59, tzinfo=UTC)
    billed: dict[date, int] = {}
    running: list[Grant] = []
    first_of_tomorrow = None
    for number in range(1_000):  # 500 requests a second for 2 seconds
        wall = start + timedelta(seconds=number / 500)
        world.now, world.today = NOW + number / 500, wall.date()
        try:
            grant = world.admit(caller, prompt=1, max_tokens=9)
        except (RateLimited, QuotaExceeded):
            grant = None
        if wall >= datetime(2026, 3, 3, tzinfo=UTC) and first_of_tomorrow is None:
            first_of_tomorrow = grant
        if grant is not None:
            assert grant.day == wall.date()
            running.append(grant)
        if len(running) > 50:  # calls of the evening end after midnight
            ended = running.pop(0)
            ended.settle(10)
            billed[ended.day] = billed.get(ended.day, 0) + 10
    for ended in running:
        ended.settle(10)
        billed[ended.day] = billed.get(ended.day, 0) + 10
    assert first_of_tomorrow is not None
    assert billed == {TODAY: 1_000, TOMORROW: 1_000}
    assert (world.standing().tokens_used, world.admission.reserved) == (1_000, 0)


def test_clock_set_back_over_midnight_gives_no_second_allowance() -> None:
    world = World(daily_tokens=100)
    world.today = TOMORROW
    world.admit(prompt=100, max_tokens=0).settle(100)
    world.today = TODAY
    error = world.refused(QuotaExceeded, prompt=1)
    assert error.resets_at == datetime(2026, 3, 4, tzinfo=UTC)
    assert world.standing().tokens_resets_at == error.resets_at
    world.today = date(2026, 3, 4)
    assert world.admit(prompt=100, max_tokens=0).day == date(2026, 3, 4)


def test_sums_of_the_ledger_are_taken_over_at_a_start() -> None:
    world = World(daily_tokens=1_000)
    narrow = world.caller("narrow", daily_tokens=500)
    world.admission.restore(TODAY, accounts={1: 700, 2: 5}, keys={"k-narrow": 450, "k-gone": 9})
    # Two accounts and the one key that is counted on its own.
    assert len(world.admission._table) == 3
    assert world.standing().tokens_used == 700
    assert world.standing(narrow).tokens_remaining == 50
    world.today = TOMORROW
    assert world.standing(narrow).tokens_remaining == 500


def test_day_of_the_ledger_is_kept_when_the_clock_is_behind_it() -> None:
    world = World(daily_tokens=1_000)
    world.admission.restore(TOMORROW, accounts={1: 1_000}, keys={})
    world.refused(QuotaExceeded, prompt=1)
