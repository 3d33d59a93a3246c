"""Clocks that jump, calls that run across, and what is kept in memory meanwhile."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from kurolproxy.errors import ConcurrencyLimited, QuotaExceeded, RateLimited
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.catalog import Plan
from kurolproxy.policy.days import DAYS_KEPT
from kurolproxy.policy.keys import Account, Key, digest
from tests.policy.world import NOW, TODAY, TOMORROW, UNIX_NOW, World

FAR = date(2099, 1, 1)


def after(days: int) -> date:
    return TODAY + timedelta(days=days)


def spend(world: World, tokens: int, caller: Caller | None = None) -> None:
    world.admit(caller, prompt=tokens, max_tokens=0).settle(tokens)


def used(world: World, today: date) -> tuple[int, int]:
    """What the account has used and reserved when the clock shows this day."""
    world.today = today
    standing = world.standing()
    return standing.tokens_used, standing.tokens_reserved


# --- jumps ------------------------------------------------------------------------------


def test_minute_in_a_wrong_year_costs_nothing_and_gives_nothing() -> None:
    world = World(daily_tokens=1_000)
    spend(world, 600)
    running = world.admit(prompt=100, max_tokens=0)
    world.today = FAR
    spend(world, 1_000)
    astray = world.admit(prompt=0, max_tokens=0)
    assert used(world, TODAY) == (600, 100)
    assert world.admission.ignored_days == (FAR,)
    world.refused(RateLimited, prompt=301, max_tokens=0)
    spend(world, 300)
    running.settle(100)
    astray.settle(50)
    assert (running.day, astray.day) == (TODAY, FAR)
    assert "used up" in world.refused(QuotaExceeded, prompt=1).message
    assert used(world, FAR) == (1_050, 0)
    assert used(world, TOMORROW) == (0, 0)


def test_wrong_year_again_and_again_gives_no_tokens_beyond_the_first_time() -> None:
    world = World(daily_tokens=1_000)
    spend(world, 1_000)
    for years in range(20):
        world.today = FAR
        if not years:
            spend(world, 1_000)
        world.refused(QuotaExceeded, prompt=1)
        world.today = TODAY
        world.refused(QuotaExceeded, prompt=1)


def test_day_spent_by_a_fast_clock_is_still_spent_when_time_gets_there() -> None:
    world = World(daily_tokens=1_000)
    world.today = after(2)  # 25 h ahead, late in the evening
    spend(world, 900)
    world.today = TODAY
    spend(world, 1_000)
    world.today = TOMORROW
    spend(world, 1_000)
    world.today = after(2)
    assert used(world, after(2)) == (900, 0)
    spend(world, 100)
    world.refused(QuotaExceeded, prompt=1)


def test_sleep_of_three_days_begins_a_day_as_any_other() -> None:
    world = World(daily_tokens=1_000)
    running = world.admit(prompt=1_000, max_tokens=0)
    world.today = after(3)
    spend(world, 1_000)
    running.settle(1_000)
    assert running.day == TODAY
    assert used(world, after(3)) == (1_000, 0)
    assert used(world, after(4)) == (0, 0)
    assert world.admission.ignored_days == ()


@pytest.mark.parametrize("hours", [-1, -25, 1, 25, 49, 24 * 365 * 73, -24 * 365 * 50])
def test_call_that_runs_across_a_jump_is_billed_to_its_admission(hours: int) -> None:
    world = World(daily_tokens=10_000)
    admitted = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
    spend(world, 500)
    running = world.admit(prompt=100, max_tokens=200)
    world.today = (admitted + timedelta(hours=hours)).date()
    there = world.admit(prompt=0, max_tokens=50)
    assert world.admission.reserved == 350
    running.settle(250)
    assert (running.day, world.admission.reserved) == (TODAY, 50)
    there.settle(1)
    expected = 750 + (1 if there.day == TODAY else 0)
    assert used(world, TODAY)[0] == expected or there.day == TOMORROW


def test_key_that_narrows_is_held_across_a_jump_too() -> None:
    world = World(daily_tokens=10_000)
    narrow = world.caller("narrow", daily_tokens=300)
    spend(world, 300, narrow)
    world.today = FAR
    spend(world, 300, narrow)
    world.today = TODAY
    assert "this key" in world.refused(QuotaExceeded, narrow, prompt=1).message
    assert used(world, TODAY) == (300, 0)


def test_jumps_leave_the_minute_and_the_slots_alone() -> None:
    world = World(requests_per_minute=3, concurrent_requests=2)
    first = world.admit()
    for today in (FAR, after(-1), after(2), TODAY):
        world.today = today
        assert world.standing().requests_remaining == 2
    world.today = FAR
    world.admit()
    world.refused(ConcurrencyLimited)
    first.settle(0)
    world.admit().settle(0)
    error = world.refused(RateLimited)
    assert error.retry_after_s == 20


def test_reset_is_told_of_the_day_that_counts() -> None:
    world = World(daily_tokens=10)
    for today, ends in [
        (TOMORROW, after(2)),
        (TODAY, after(2)),
        (FAR, date(2099, 1, 2)),
        (TODAY, after(2)),
    ]:
        world.today = today
        assert world.standing().tokens_resets_at.date() == ends


# --- starts -----------------------------------------------------------------------------


def test_start_in_a_wrong_year_remembers_what_the_real_day_has_used() -> None:
    world = World(daily_tokens=1_000)
    narrow = world.caller("narrow", daily_tokens=500)
    world.admission.restore(FAR, accounts={}, keys={})
    world.admission.remember(TODAY, accounts={1: 990}, keys={"k-narrow": 500, "k-gone": 4})
    assert used(world, FAR) == (0, 0)
    assert used(world, TODAY) == (990, 0)
    assert "this key" in world.refused(QuotaExceeded, narrow, prompt=1).message
    assert world.admission.ignored_days == (FAR,)


def test_start_remembers_what_a_wrong_clock_has_spent_of_a_day_to_come() -> None:
    world = World(daily_tokens=1_000)
    world.admission.restore(TODAY, accounts={1: 1}, keys={})
    world.admission.remember(after(2), accounts={1: 700}, keys={})
    assert [used(world, after(days))[0] for days in (0, 1, 2)] == [1, 0, 700]


def test_no_more_days_are_remembered_than_are_kept() -> None:
    world = World(daily_tokens=1_000)
    world.admission.restore(TODAY, accounts={1: 1}, keys={})
    for days in range(1, 10):
        world.admission.remember(after(-days), accounts={1: 1}, keys={})
    assert len(world.admission._table) == DAYS_KEPT


def test_day_that_counts_is_not_overwritten_by_a_memory_of_it() -> None:
    world = World(daily_tokens=1_000)
    world.admission.restore(TODAY, accounts={1: 5}, keys={})
    world.admission.remember(TODAY, accounts={1: 900}, keys={})
    assert used(world, TODAY) == (5, 0)


# --- limits that change while calls run -------------------------------------------------


def plan_of(world: World, **limits: int) -> None:
    world.admission.replace_catalog(world.catalog(Plan("team", ("gpt-*",), **limits)))


def test_request_that_was_never_taken_is_not_given_back() -> None:
    world = World()
    grants = [world.admit() for _ in range(50)]
    plan_of(world, requests_per_minute=10)
    for _ in range(10):
        world.admit()
    for grant in grants:
        grant.release(refund_request=True, now=NOW)
    world.refused(RateLimited)


def test_request_taken_from_a_bucket_that_is_gone_gives_nothing_to_its_successor() -> None:
    world = World(requests_per_minute=5)
    grants = [world.admit() for _ in range(5)]
    plan_of(world)
    world.admit()
    plan_of(world, requests_per_minute=5)
    for _ in range(5):
        world.admit()
    for grant in grants:
        grant.release(refund_request=True, now=NOW)
    world.refused(RateLimited)


def test_looking_at_a_caller_changes_no_limit() -> None:
    world = World(requests_per_minute=5, daily_tokens=100)
    stale = world.caller()
    for _ in range(5):
        world.admit(prompt=10, max_tokens=0)
    # The plan is lost and comes back; nobody calls, but some ask where they stand.
    world.admission.replace_catalog(world.catalog())
    assert world.standing(stale).requests_limit is None
    assert world.standing(stale).tokens_used == 0
    plan_of(world, requests_per_minute=5, daily_tokens=100)
    assert world.standing(stale).requests_remaining == 0
    assert world.standing(stale).tokens_reserved == 50
    world.refused(RateLimited)


def test_answer_to_a_call_of_an_old_plan_shows_and_changes_nothing_of_it() -> None:
    world = World(requests_per_minute=5)
    stale = world.caller()
    world.admission.replace_catalog(
        world.catalog(world.plan, Plan("free", ("gpt-*",), daily_tokens=7))
    )
    for _ in range(5):
        world.admit()
    world.keys.put_account(Account(1, "ann@example.org", "Ann", "user", "free"))
    assert (world.standing(stale).requests_limit, world.standing(stale).tokens_limit) == (None, 7)
    world.keys.put_account(world.account)
    world.refused(RateLimited)


def test_call_whose_body_came_slowly_meets_the_plan_of_its_account_now() -> None:
    world = World()
    stale = world.caller()
    tight = Plan("tight", ("gpt-*",), requests_per_minute=1, daily_tokens=100)
    world.admission.replace_catalog(world.catalog(world.plan, tight))
    world.keys.put_account(Account(1, "ann@example.org", "Ann", "user", "tight"))
    world.refused(QuotaExceeded, stale, prompt=101)
    assert world.admit(stale, prompt=1, max_tokens=1).plan is tight
    with pytest.raises(RateLimited):
        world.admission.admit_count(stale, NOW, TODAY)
    assert world.admission.plan(stale) is tight


def test_call_whose_body_came_slowly_meets_the_limits_of_its_key_now() -> None:
    world = World()
    stale = world.caller("key")
    world.caller("key", daily_tokens=5)
    assert "this key" in world.refused(QuotaExceeded, stale, prompt=6).message


def test_key_that_narrows_no_more_settles_where_it_was_admitted() -> None:
    world = World(daily_tokens=1_000)
    narrow = world.caller("key", daily_tokens=500, requests_per_minute=2)
    grant = world.admit(narrow, prompt=400, max_tokens=0)
    wide = world.caller("key", daily_tokens=None)
    world.admit(wide, prompt=600, max_tokens=0).settle(600)
    grant.settle(400)
    assert used(world, TODAY) == (1_000, 0)
    narrow = world.caller("key", daily_tokens=500)
    assert world.standing(narrow).tokens_remaining == 0
    assert (world.admission.reserved, world.admission.running) == (0, 0)


def test_key_revoked_or_rotated_while_its_call_runs_settles_all_the_same() -> None:
    world = World(daily_tokens=1_000, concurrent_requests=2)
    narrow = world.caller("key", daily_tokens=500)
    first = world.admit(narrow, prompt=400, max_tokens=0)
    key = narrow.key
    rotated = Key(key.id, 1, "", digest("new"), "", "", daily_tokens=500)
    world.keys.put(rotated, world.account)
    renewed = world.admission.authenticate("new", UNIX_NOW)
    assert world.standing(renewed).tokens_reserved == 400
    second = world.admit(renewed, prompt=100, max_tokens=0)
    world.keys.remove(key.id)
    world.refused(ConcurrencyLimited)
    first.settle(400)
    second.settle(100)
    assert used(world, TODAY) == (500, 0)
    assert (world.admission.reserved, world.admission.running) == (0, 0)


def test_allowance_that_comes_and_goes_while_calls_run_leaves_nothing_held() -> None:
    world = World()
    grants = []
    for limits in ({}, {"daily_tokens": 10_000}, {}, {"daily_tokens": 50_000}, {}):
        plan_of(world, **limits)
        grants += [world.admit(prompt=100, max_tokens=400) for _ in range(3)]
    plan_of(world, daily_tokens=50_000)
    assert world.standing().tokens_reserved == world.admission.reserved == 6 * 500
    for number, grant in enumerate(grants):
        grant.settle(number)
    assert used(world, TODAY) == (sum(range(15)), 0)
    assert (world.admission.reserved, world.admission.running) == (0, 0)


# --- memory -----------------------------------------------------------------------------


def crowd(world: World, count: int, *, narrowing: bool = False, start: int = 0) -> list[Caller]:
    made = []
    for number in range(start, start + count):
        account = Account(1_000 + number, f"{number}@example.org", "", "user", "team")
        secret = f"secret {number}"
        key = Key(f"k{number}", account.id, "", digest(secret), "", "")
        if narrowing:
            key = replace(key, daily_tokens=900, requests_per_minute=9)
        world.keys.put(key, account)
        made.append(Caller(key, account))
    return made


def test_asking_where_one_stands_leaves_nothing_behind() -> None:
    world = World(requests_per_minute=60, daily_tokens=1_000)
    for caller in crowd(world, 100, narrowing=True):
        world.standing(caller)
    assert len(world.admission._table) == 0


def test_call_that_runs_is_found_again_however_many_others_came() -> None:
    world = World(requests_per_minute=60, concurrent_requests=1)
    narrow = world.caller("narrow", requests_per_minute=2)
    grant = world.admit(narrow)
    world.now += 3_600
    for caller in crowd(world, 500):
        world.admit(caller).settle(0)
        world.now += 10
    world.refused(ConcurrencyLimited, narrow)
    world.now += 3_600
    grant.release(refund_request=True, now=world.now)
    assert world.standing(narrow).requests_remaining == 2


def test_request_given_back_late_reaches_the_bucket_it_came_from() -> None:
    world = World(requests_per_minute=60)
    narrow = world.caller("narrow", requests_per_minute=2)
    grant = world.admit(narrow)
    world.now += 3_600
    for caller in crowd(world, 100):
        world.admit(caller).settle(0)
    world.admit(narrow)
    world.admit(narrow)
    world.refused(RateLimited, narrow)
    grant.release(refund_request=True, now=world.now)
    assert world.admit(narrow).open


def test_meter_that_is_forgotten_loses_no_tokens_and_no_refunds() -> None:
    world = World(requests_per_minute=2, daily_tokens=1_000)
    caller = world.caller()
    spend(world, 100, caller)
    world.refused(QuotaExceeded, prompt=5_000)
    world.refused(QuotaExceeded, prompt=5_000)
    world.now += 30  # full again, but two refunds are on record
    for other in crowd(world, 50):
        world.admit(other, max_tokens=1).settle(0)
    world.refused(QuotaExceeded, prompt=5_000)
    assert world.standing().requests_remaining == 1
    world.now += 120
    for other in crowd(world, 50, start=50):
        world.admit(other, max_tokens=1).settle(0)
    assert (world.standing().tokens_used, world.standing().requests_remaining) == (100, 2)


def test_meters_of_a_busy_minute_are_forgotten_after_it() -> None:
    world = World(requests_per_minute=60, daily_tokens=1_000)
    for caller in crowd(world, 2_000, narrowing=True):
        world.admit(caller, prompt=1, max_tokens=0).settle(0)
    assert len(world.admission._table) == 8_000  # a meter and a quota each, of account and key
    world.now += 61
    for caller in crowd(world, 5_000, start=2_000):
        world.admit(caller, prompt=1, max_tokens=0).settle(0)
        world.now += 0.1
    assert len(world.admission._table) < 100


def test_days_and_their_quotas_are_dropped_when_they_are_past() -> None:
    world = World(daily_tokens=1_000)
    callers = crowd(world, 100)
    for days in range(30):
        world.today = after(days)
        for caller in callers:
            spend(world, 1, caller)
    # Nothing limits their requests: a meter is forgotten as soon as another comes.
    assert len(world.admission._table) <= 1 + 100 * DAYS_KEPT


def test_key_that_is_gone_takes_its_quota_along() -> None:
    world = World(daily_tokens=10**6)
    for number in range(500):
        narrow = world.caller(f"key {number}", daily_tokens=500)
        spend(world, 5, narrow)
        world.keys.remove(narrow.key.id)
        world.now += 100
    assert len(world.admission._table) < 20
    assert used(world, TODAY) == (2_500, 0)


def test_account_takes_less_than_a_kilobyte() -> None:
    world = World(requests_per_minute=60, daily_tokens=1_000)
    callers = crowd(world, 5_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for caller in callers:
            spend(world, 500, caller)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken / len(callers) < 1_000
