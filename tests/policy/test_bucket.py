"""The token bucket against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.policy.bucket import TokenBucket

# Far from zero, as a machine that has been up for 40 days.
START = 3_456_789.123456


def admitted(bucket: TokenBucket, times: list[float]) -> int:
    return sum(bucket.take(now) == 0.0 for now in times)


@pytest.mark.parametrize("seconds", [0, 1, 2, 10, 59, 60, 61, 600])
def test_burst_on_60_a_minute_admits_60_and_one_a_second(seconds: int) -> None:
    times = [START + tick / 20 for tick in range(seconds * 20 + 1) for _ in range(100)]
    assert admitted(TokenBucket(60), times) == 60 + seconds


@pytest.mark.parametrize("limit", [1, 7, 60, 61, 999, 100_000])
@pytest.mark.parametrize("seconds", [0, 1, 7, 30, 90])
def test_burst_admits_exactly_n_and_the_floor_of_the_refill(limit: int, seconds: int) -> None:
    bucket = TokenBucket(limit)
    count = 0
    for tick in range(seconds * 10 + 1):
        while bucket.take(START + tick / 10) == 0.0:
            count += 1
    assert count == limit + floor(Fraction(seconds * limit, 60))


def test_a_thousand_requests_at_the_same_instant() -> None:
    assert admitted(TokenBucket(60), [START] * 1_000) == 60


def test_refused_request_spends_nothing() -> None:
    bucket = TokenBucket(2)
    assert admitted(bucket, [START] * 2) == 2
    waits = [bucket.take(START + 3) for _ in range(100)]
    assert set(waits) == {27.0}
    assert bucket.take(START + 30) == 0.0


@pytest.mark.parametrize("limit", [1, 7, 60, 61, 999])
def test_wait_is_the_shortest_that_succeeds(limit: int) -> None:
    bucket = TokenBucket(limit)
    admitted(bucket, [START] * limit)
    wait_s = bucket.take(START)
    assert bucket.wait_s(START + wait_s - 0.00001) > 0.0
    assert bucket.take(START + wait_s) == 0.0


def test_asking_for_the_wait_spends_nothing() -> None:
    bucket = TokenBucket(1)
    assert [bucket.wait_s(START) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(START) == 0.0


def test_remaining_and_reset_follow_the_level() -> None:
    bucket = TokenBucket(60)
    assert (bucket.remaining(START), bucket.reset_s(START)) == (60, 0.0)
    admitted(bucket, [START] * 10)
    assert (bucket.remaining(START), bucket.reset_s(START)) == (50, 10.0)
    assert (bucket.remaining(START + 4.5), bucket.reset_s(START + 4.5)) == (54, 5.5)
    assert (bucket.remaining(START + 10_000), bucket.reset_s(START + 10_000)) == (60, 0.0)


def test_clock_that_steps_back_neither_fills_nor_breaks() -> None:
    bucket = TokenBucket(60)
    admitted(bucket, [START] * 60)
    assert bucket.take(START - 3_600) == 1.0
    assert bucket.take(START + 1) == 0.0


def test_given_back_request_is_free_again() -> None:
    bucket = TokenBucket(3)
    admitted(bucket, [START] * 3)
    assert bucket.give_back(START)
    assert (bucket.take(START), bucket.take(START) > 0) == (0.0, True)


def test_giving_back_never_fills_over_the_burst() -> None:
    bucket = TokenBucket(3)
    assert bucket.give_back(START)
    assert bucket.remaining(START) == 3


@pytest.mark.parametrize("limit", [1, 5, 60])
def test_at_most_n_are_given_back_in_any_60_seconds(limit: int) -> None:
    bucket = TokenBucket(limit)
    times = [START + tick / 8 for tick in range(8 * 200)]
    given_back = [now for now in times if bucket.give_back(now)]
    for first in given_back:
        assert sum(first <= now < first + 60 for now in given_back) <= limit
    # The window moves on: late by at most a second, so three windows were used of 200 s.
    assert len(given_back) >= 3 * limit


def test_client_that_hammers_a_failing_upstream_is_slowed_down() -> None:
    bucket = TokenBucket(10)
    tries = 0
    while bucket.take(START) == 0.0:
        bucket.give_back(START)
        tries += 1
    assert tries == 20


@pytest.mark.parametrize(
    ("before", "spent", "after", "remaining"),
    [
        (60, 50, 120, 20),
        (60, 50, 60, 10),
        (60, 50, 10, 1),
        (60, 60, 10, 0),
        (10, 10, 60, 0),
        (10, 0, 60, 60),
        (7, 3, 10, 5),
    ],
)
def test_resizing_keeps_the_share_that_was_spent(
    before: int, spent: int, after: int, remaining: int
) -> None:
    bucket = TokenBucket(before)
    admitted(bucket, [START] * spent)
    bucket.resize(after)
    assert bucket.remaining(START) == remaining
    assert bucket.remaining(START + 60) == after


@pytest.mark.parametrize("other", [1, 7, 59, 61, 100_000])
def test_resizing_there_and_back_is_no_second_burst(other: int) -> None:
    bucket = TokenBucket(60)
    assert admitted(bucket, [START] * 100) == 60
    bucket.resize(other)
    bucket.resize(60)
    assert admitted(bucket, [START] * 100) == 0
    assert admitted(bucket, [START + 30] * 100) == 30


@given(sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=20), spent=st.integers(0, 5_000))
def test_burst_cut_up_by_resizing_is_never_larger_than_the_largest(
    sizes: list[int], spent: int
) -> None:
    bucket, count = TokenBucket(sizes[0]), 0
    for size in sizes:
        bucket.resize(size)
        count += admitted(bucket, [START] * (spent // len(sizes)))
    count += admitted(bucket, [START] * 5_001)
    assert count <= max(sizes)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TokenBucket(limit)
    with pytest.raises(ValueError, match="at least 1"):
        TokenBucket(5).resize(limit)


def test_bucket_is_idle_once_it_is_full_and_no_refund_counts() -> None:
    bucket = TokenBucket(60)
    assert bucket.idle(START)
    bucket.take(START)
    assert not bucket.idle(START)
    bucket.give_back(START)
    assert not bucket.idle(START)
    assert bucket.idle(START + 62)


@given(
    limit=st.integers(1, 5_000),
    gaps_us=st.lists(st.integers(0, 30_000_000), min_size=1, max_size=200),
)
def test_bucket_agrees_with_exact_fractions(limit: int, gaps_us: list[int]) -> None:
    bucket = TokenBucket(limit)
    level, at = Fraction(limit), 0
    for gap in gaps_us:
        at += gap
        level = min(Fraction(limit), level + Fraction(gap * limit, 60_000_000))
        wait_s = bucket.take(1_000 + at / 1_000_000)
        if level >= 1:
            level -= 1
            assert wait_s == 0.0
        else:
            assert wait_s == ceil((1 - level) * 60_000_000 / limit) / 1_000_000
