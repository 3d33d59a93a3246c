"""The day that counts: real time, clocks that jump, and starts with what the ledger holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from kurolproxy.policy.days import DAYS_KEPT, HeldDay, Start, resets_at, starting_days

MONDAY = date(2026, 3, 2)
FAR = date(2099, 1, 1)


def day(offset: int) -> date:
    return MONDAY + timedelta(days=offset)


# The clock's days in turn, as offsets from Monday, and the day that counts at each.
CLOCKS = [
    ("real time", [0, 0, 1, 2], [0, 0, 1, 2]),
    ("back an hour over midnight", [1, 0, 0, 1, 2], [1, 1, 1, 1, 2]),
    ("forward a day and back", [0, 1, 0, 0, 1, 2], [0, 1, 1, 1, 1, 2]),
    ("forward 25 h late in the evening and back", [0, 2, 0, 1, 2], [0, 2, 0, 1, 2]),
    ("forward years and back", [0, 30_000, 0, 1], [0, 30_000, 0, 1]),
    ("a day ahead, then years, then right", [1, 30_000, 0, 0, 1], [1, 30_000, 1, 1, 1]),
    ("years ahead over a midnight there", [0, 30_000, 30_001, 0], [0, 30_000, 30_001, 0]),
    ("a day ahead, two days in the future", [1, 900, 901, 902, 2], [1, 900, 901, 902, 2]),
    ("a day ahead, one day in the future", [1, 900, 901, 902, 0], [1, 900, 901, 902, 1]),
    ("asleep for three days", [0, 3, 3, 4], [0, 3, 3, 4]),
    ("back for years and right again", [0, -20_000, 0], [0, -20_000, 0]),
    ("two wrong years", [0, 9_000, 30_000, 0], [0, 9_000, 30_000, 0]),
    ("down in steps", [0, 3, 2, 1, 0], [0, 3, 3, 1, 1]),
]


@pytest.mark.parametrize(
    ("clock", "expected"), [each[1:] for each in CLOCKS], ids=[each[0] for each in CLOCKS]
)
def test_day_that_counts(clock: list[int], expected: list[int]) -> None:
    held = HeldDay()
    seen = []
    for offset in clock:
        held.follow(day(offset))
        seen.append((held.day - MONDAY).days)
    assert seen == expected


def test_turn_is_told_once() -> None:
    held = HeldDay()
    clock = [0, 0, 1, 0, 1, 2]
    assert [held.follow(day(each)) for each in clock] == [True, False, True, False, False, True]


def test_ignored_days_are_told_and_bounded() -> None:
    held = HeldDay()
    held.follow(MONDAY)
    assert held.ignored == ()
    for years in (*range(20), *range(20)):
        held.follow(day(1_000 + years))
        held.follow(MONDAY)
    assert held.ignored == tuple(day(1_000 + years) for years in range(12, 20))


def test_later_day_within_a_day_of_the_clock_is_not_ignored() -> None:
    held = HeldDay()
    held.follow(day(1))
    held.follow(MONDAY)
    assert held.ignored == ()


@pytest.mark.parametrize("leap", ["2028-02-28", "2028-02-29", "2026-03-29", "2026-12-31"])
def test_leap_days_summer_time_and_new_year_are_days_like_others(leap: str) -> None:
    today = date.fromisoformat(leap)
    held = HeldDay()
    for offset in (0, 1, 0, 1, 2):
        held.follow(today + timedelta(days=offset))
    assert held.day == today + timedelta(days=2)
    ends = resets_at(today)
    assert ends - datetime(today.year, today.month, today.day, tzinfo=UTC) == timedelta(hours=24)


def test_day_before_the_jump_is_known_through_two_days_of_a_wrong_clock() -> None:
    # A day ahead when the clock jumped just before a midnight there: the worst case.
    held = HeldDay()
    held.follow(day(1))
    for midnight in range(DAYS_KEPT - 1):
        held.follow(FAR + timedelta(days=midnight))
    held.follow(MONDAY)
    assert held.day == day(1)


# name, the clock's day, days in the ledger -> what to begin with
STARTS = [
    ("empty", [], Start(day(0), (), ())),
    ("today", [0], Start(day(0), (), ())),
    ("days before", [-9, -1, -5], Start(day(0), (day(-1), day(-5)), ())),
    ("tomorrow", [0, 1], Start(day(1), (day(0),), ())),
    ("tomorrow without today", [1, -1], Start(day(1), (day(-1),), ())),
    ("two days ahead", [2], Start(day(0), (day(2),), (day(2),))),
    ("2099", [0, 26_603], Start(day(0), (FAR,), (FAR,))),
    ("2099 and tomorrow", [0, 1, 26_603], Start(day(1), (day(0), FAR), (FAR,))),
    ("many", [-3, -2, -1, 0, 1, 5, 7],
     Start(day(1), (day(0), day(-1), day(5)), (day(5), day(7)))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "expected"), [each[1:] for each in STARTS], ids=[each[0] for each in STARTS]
)
def test_start_believes_tomorrow_and_nothing_later(known: list[int], expected: Start) -> None:
    assert starting_days(MONDAY, [day(offset) for offset in known]) == expected


def test_start_with_a_wrong_clock_remembers_the_real_days() -> None:
    start = starting_days(FAR, [day(0), day(-1), day(-2)])
    assert (start.day, start.others, start.ignored) == (FAR, (day(0), day(-1)), ())


def test_remembered_day_counts_again_when_the_clock_is_set_right() -> None:
    held = HeldDay()
    held.follow(FAR)
    held.remember(day(1))
    held.remember(day(0))
    held.follow(MONDAY)
    assert held.day == day(1)


def test_remembered_day_of_the_future_never_counts_by_itself() -> None:
    held = HeldDay()
    held.follow(MONDAY)
    held.remember(day(2))
    assert [held.follow(day(offset)) for offset in (0, 1)] == [False, True]
    assert held.day == day(1)


def test_allowance_is_back_at_midnight_utc() -> None:
    assert resets_at(MONDAY) == datetime(2026, 3, 3, tzinfo=UTC)
    assert resets_at(date(2026, 12, 31)) == datetime(2027, 1, 1, tzinfo=UTC)
