"""The four cases of the daily allowance, and reservations that always come back."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.policy.quota import (
    DailyQuota,
    Decision,
    Need,
    Reservation,
    decide,
    narrowest,
)

MONDAY = date(2026, 3, 2)
TUESDAY = date(2026, 3, 3)

# name, need, room, free, expected
CASES = [
    ("exactly all", Need(100, 900), 1_000, 1_000, Decision("fits", 1_000)),
    ("one too many, tiny", Need(101, 900), 1_000, 1_000, Decision("spent")),
    ("one too many, large", Need(100, 4_000), 4_099, 4_099, Decision("lowered", 4_099, 3_999)),
    ("lowered to 1,024", Need(100, 4_000), 1_124, 1_124, Decision("lowered", 1_124, 1_024)),
    ("not lowered to 1,023", Need(100, 4_000), 1_123, 1_123, Decision("spent")),
    ("held", Need(100, 900), 500, 1_000, Decision("held")),
    ("held, would be lowered", Need(100, 4_000), 500, 2_000, Decision("held")),
    ("spent although held", Need(100, 4_000), 0, 1_000, Decision("spent")),
    ("nothing left", Need(1, 1), 0, 0, Decision("spent")),
    ("overshot", Need(0, 0), -5, -5, Decision("spent")),
    ("prompt alone fits", Need(1_000, 0), 1_000, 1_000, Decision("fits", 1_000)),
    ("prompt alone is too large", Need(1_001, 0), 1_000, 1_000, Decision("spent")),
    ("n answers fit", Need(10, 100, n=3), 310, 310, Decision("fits", 310)),
    ("n answers share", Need(0, 4_000, n=3), 5_000, 5_000, Decision("lowered", 4_998, 1_666)),
    ("n over the room", Need(0, 4_000, n=2_000), 1_500, 1_500, Decision("spent")),
    ("thinking fits", Need(0, 9_000, floor=6_024), 6_024, 9_000, Decision("lowered", 6_024, 6_024)),
    ("thinking does not", Need(0, 9_000, floor=6_024), 6_023, 6_023, Decision("spent")),
    ("thinking is held", Need(0, 9_000, floor=6_024), 6_023, 6_024, Decision("held")),
    ("thinking, whole cap", Need(0, 3_000, floor=9_999), 3_000, 3_000, Decision("fits", 3_000)),
    ("unlimited", Need(10**12, 10**12), None, None, Decision("fits", 0)),
]


@pytest.mark.parametrize(
    ("need", "room", "free", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_decision(need: Need, room: int | None, free: int | None, expected: Decision) -> None:
    assert decide(need, room=room, free=free) == expected


# Claude Code's real requests: max_tokens by model, older models with a thinking budget.
# left of the day, reserved by others, prompt, max_tokens, thinking budget -> the case
CLAUDE_CODE = [
    ("a: 32,000 fit", 50_000, 0, 18_000, 32_000, None, Decision("fits", 50_000)),
    ("b: 32,000 lowered", 50_000, 0, 18_001, 32_000, None, Decision("lowered", 50_000, 31_999)),
    ("b: 128,000 lowered", 50_000, 0, 20_000, 128_000, None, Decision("lowered", 50_000, 30_000)),
    ("c: held", 50_000, 40_000, 20_000, 128_000, None, Decision("held")),
    ("d: prompt leaves too little", 50_000, 0, 49_000, 128_000, None, Decision("spent")),
    ("a: thinking 31,999", 50_000, 0, 18_000, 32_000, 31_999, Decision("fits", 50_000)),
    ("c: thinking 31,999 held", 50_000, 1, 18_000, 32_000, 31_999, Decision("held")),
    ("d: thinking 31,999", 50_000, 0, 18_001, 32_000, 31_999, Decision("spent")),
    ("b: thinking and 128,000", 50_000, 0, 16_977, 128_000, 31_999,
     Decision("lowered", 50_000, 33_023)),
    ("d: thinking and 128,000", 50_000, 0, 16_978, 128_000, 31_999, Decision("spent")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "reserved", "prompt", "cap", "thinking", "expected"),
    [c[1:] for c in CLAUDE_CODE],
    ids=[c[0] for c in CLAUDE_CODE],
)
def test_claude_code_with_50_000_tokens_left(
    left: int, reserved: int, prompt: int, cap: int, thinking: int | None, expected: Decision
) -> None:
    need = Need(prompt, cap, floor=1 if thinking is None else thinking + 1_024)
    assert decide(need, room=left - reserved, free=left) == expected


@given(
    need=st.builds(
        Need,
        prompt=st.integers(0, 5_000),
        hold=st.integers(0, 10_000),
        n=st.integers(1, 8),
        floor=st.integers(1, 5_000),
    ),
    free=st.integers(-100, 30_000),
    reserved=st.integers(0, 30_000),
)
def test_what_is_reserved_always_fits_and_covers_the_output_cap(
    need: Need, free: int, reserved: int
) -> None:
    room = free - reserved
    decision = decide(need, room=room, free=free)
    cap = need.hold if decision.output_cap is None else decision.output_cap
    if decision.case in ("fits", "lowered"):
        assert decision.tokens == need.prompt + cap * need.n <= room
    else:
        assert (decision.tokens, decision.output_cap) == (0, None)
        # The text names this figure: with it, and only with it, the call is let in.
        enough = need.prompt + need.least_answer
        assert room < enough
        assert (decision.case == "spent") == (free < enough)
    if decision.case == "lowered":
        assert need.floor <= cap < need.hold


def quota(allowance: int | None = 1_000, *, used: int = 0) -> DailyQuota:
    made = DailyQuota(allowance, MONDAY)
    made.used = used
    return made


def test_narrowest_is_the_smallest_of_each() -> None:
    account, key = quota(1_000, used=100), quota(500)
    account.reserved = 700
    assert narrowest([account, key]) == (200, 500)
    assert narrowest([account, quota(None)]) == (200, 900)
    assert narrowest([quota(None)]) == (None, None)


def test_settling_replaces_the_reservation_by_the_use() -> None:
    account = quota()
    held = Reservation([account], 600)
    assert (account.reserved, account.room, account.free) == (600, 400, 1_000)
    assert held.settle(250)
    assert (account.used, account.reserved, account.room) == (250, 0, 750)


def test_second_settlement_changes_nothing() -> None:
    account = quota()
    held = Reservation([account], 600)
    assert (held.settle(250), held.settle(250), held.settle(0)) == (True, False, False)
    assert (account.used, account.reserved) == (250, 0)


def test_account_and_key_hold_and_count_the_same() -> None:
    account, key = quota(1_000), quota(700)
    held = Reservation([account, key], 600)
    assert (account.reserved, key.reserved) == (600, 600)
    held.settle(10)
    assert [(each.used, each.reserved) for each in (account, key)] == [(10, 0), (10, 0)]


def test_unlimited_quota_counts_use_and_holds_nothing() -> None:
    account, key = quota(None), quota(700)
    held = Reservation([account, key], 600)
    assert (account.reserved, key.reserved) == (0, 600)
    held.settle(10)
    assert (account.used, account.reserved, account.room, account.free) == (10, 0, None, None)


def test_allowance_that_appears_while_a_call_runs_leaves_nothing_reserved() -> None:
    account = quota(None)
    held = Reservation([account], 600)
    account.allowance = 1_000
    held.settle(10)
    assert (account.used, account.reserved) == (10, 0)


def test_negative_use_is_no_credit() -> None:
    account = quota(used=500)
    Reservation([account], 10).settle(-400)
    assert account.used == 500


def test_call_is_settled_where_it_was_admitted_whatever_day_counts_by_then() -> None:
    monday = quota()
    held = Reservation([monday], 600)
    tuesday = DailyQuota(1_000, TUESDAY)
    Reservation([tuesday], 300)
    held.settle(250)
    assert (held.day, monday.used, monday.reserved) == (MONDAY, 250, 0)
    assert (tuesday.used, tuesday.reserved) == (0, 300)


@pytest.mark.parametrize(("allowance", "held"), [(1_000, 600), (None, 0)])
def test_reservation_says_what_the_account_holds(allowance: int | None, held: int) -> None:
    account, key = quota(allowance), quota(700)
    assert Reservation([account, key], 600).held == account.reserved == held


def test_looking_under_another_allowance_changes_nothing() -> None:
    account = quota(1_000, used=400)
    Reservation([account], 100)
    seen = account.under(2_000)
    assert (seen.room, seen.free, seen.used, seen.day) == (1_500, 1_600, 400, MONDAY)
    assert (account.allowance, account.room) == (1_000, 500)
    assert account.under(1_000) is account
