"""The four cases of the daily allowance, and reservations that always come back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from kurolproxy.policy.quota import (
    DailyQuota,
    Decision,
    Need,
    Reservation,
    decide,
    narrowest,
    resets_at,
    starting_day,
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


def test_call_of_yesterday_does_not_touch_today() -> None:
    account = quota()
    held = Reservation([account], 600)
    account.turn(TUESDAY)
    assert (account.used, account.reserved, account.room) == (0, 0, 1_000)
    Reservation([account], 300)
    held.settle(250)
    assert (held.day, account.used, account.reserved) == (MONDAY, 0, 300)


def test_day_never_goes_backwards() -> None:
    account = quota()
    account.turn(TUESDAY)
    Reservation([account], 0).settle(1_000)
    account.turn(MONDAY)
    assert (account.day, account.room) == (TUESDAY, 0)


@pytest.mark.parametrize(
    ("day", "expected"),
    [(MONDAY, (TUESDAY, 5)), (TUESDAY, (TUESDAY, 77)), (date(2026, 3, 4), (date(2026, 3, 4), 77))],
)
def test_restored_sum_counts_for_its_own_day_only(day: date, expected: tuple[date, int]) -> None:
    account = DailyQuota(1_000, TUESDAY)
    account.used = 5
    account.restore(day, 77)
    assert (account.day, account.used) == expected


def test_allowance_is_back_at_midnight_utc() -> None:
    assert resets_at(MONDAY) == datetime(2026, 3, 3, tzinfo=UTC)
    assert resets_at(date(2026, 12, 31)) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([], (MONDAY, ())),
        ([TUESDAY], (TUESDAY, ())),
        ([date(2099, 1, 1)], (MONDAY, (date(2099, 1, 1),))),
        ([date(2099, 1, 1), TUESDAY], (TUESDAY, (date(2099, 1, 1),))),
        ([date(2026, 3, 4)], (MONDAY, (date(2026, 3, 4),))),
    ],
)
def test_starting_day_believes_tomorrow_and_nothing_later(
    later: list[date], expected: tuple[date, tuple[date, ...]]
) -> None:
    assert starting_day(MONDAY, later) == expected


class QuotaMachine(RuleBasedStateMachine):
    """Calls of two keys of one account against a model that keeps every call in a list."""

    calls: Bundle[int] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.today = MONDAY
        self.account = DailyQuota(20_000, MONDAY)
        self.key = DailyQuota(9_000, MONDAY)
        self.reservations: list[Reservation] = []
        # (day, through the key, tokens while it runs, charged when it ended)
        self.naive: list[tuple[date, bool, int, int]] = []

    def total(self, *, key_only: bool) -> tuple[int, int]:
        rows = [c for c in self.naive if c[0] == self.today and (c[1] or not key_only)]
        return sum(row[3] for row in rows), sum(row[2] for row in rows)

    @rule(
        target=calls,
        narrowed=st.booleans(),
        prompt=st.integers(0, 3_000),
        cap=st.integers(0, 12_000),
        n=st.integers(1, 3),
    )
    def admit(self, narrowed: bool, prompt: int, cap: int, n: int) -> int:
        quotas = [self.account, self.key] if narrowed else [self.account]
        room, free = narrowest(quotas)
        decision = decide(Need(prompt, cap, n), room=room, free=free)
        refused = decision.case not in ("fits", "lowered")
        self.reservations.append(Reservation(quotas, 0 if refused else decision.tokens))
        tokens = 0 if refused else decision.tokens
        self.naive.append((self.today, narrowed, tokens, 0))
        return len(self.naive) - 1

    @rule(call=consumes(calls), share=st.floats(0, 1))
    def settle(self, call: int, share: float) -> None:
        day, narrowed, tokens, _ = self.naive[call]
        charged = int(tokens * share)
        assert self.reservations[call].settle(charged)
        self.naive[call] = (day, narrowed, 0, charged)

    @rule(call=consumes(calls), again=st.integers(0, 10_000))
    def settle_twice(self, call: int, again: int) -> None:
        self.settle(call, 1.0)
        assert not self.reservations[call].settle(again)

    @rule(days=st.integers(-2, 1))
    def turn(self, days: int) -> None:
        seen = self.today + timedelta(days=days)
        self.today = max(self.today, seen)
        self.account.turn(seen)
        self.key.turn(seen)

    @invariant()
    def sums_agree_and_allowances_hold(self) -> None:
        assert (self.account.used, self.account.reserved) == self.total(key_only=False)
        assert (self.key.used, self.key.reserved) == self.total(key_only=True)
        assert self.account.used + self.account.reserved <= 20_000
        assert self.key.used + self.key.reserved <= 9_000

    def teardown(self) -> None:
        for reservation in self.reservations:
            reservation.settle(0)
        assert (self.account.reserved, self.key.reserved) == (0, 0)


TestQuotaMachine = QuotaMachine.TestCase
