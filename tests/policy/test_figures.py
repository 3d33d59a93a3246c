"""Attempts at upstreams: what is counted, for how long, and in how much memory."""

from __future__ import annotations

import random
import sys
import tracemalloc

import pytest

from kurolproxy.policy.figures import (
    BOUNDS,
    LONGEST_S,
    SLICE_S,
    Figures,
    Window,
    percentile,
)

NOW = 100_000.0

OUTCOMES = [
    ("ok", "ok"),
    ("upstream_error", "failed"),
    ("upstream_timeout", "failed"),
    ("internal", "failed"),
    ("bad_request", "refused"),
    ("context_too_long", "refused"),
    ("too_large", "refused"),
    ("client_gone", "gone"),
]


@pytest.mark.parametrize(("outcome", "counted"), OUTCOMES)
def test_attempt_counts_as_what_it_says_of_the_upstream(outcome: str, counted: str) -> None:
    figures = Figures()
    figures.add("lab", outcome, NOW)
    window = figures.window("lab", 60.0, NOW)
    found = {name: getattr(window, name) for name in ("failed", "refused", "gone")}
    assert found == {name: int(name == counted) for name in found}
    assert window.attempts == 1


def test_error_rate_leaves_out_whose_client_went_away() -> None:
    figures = Figures()
    for outcome in ("ok", "ok", "bad_request", "upstream_error", "client_gone"):
        figures.add("lab", outcome, NOW)
    assert figures.window("lab", 60.0, NOW).error_rate == 0.25


def test_error_rate_of_nothing_is_unknown() -> None:
    figures = Figures()
    assert figures.window("lab", 60.0, NOW) == Window()
    figures.add("lab", "client_gone", NOW)
    assert figures.window("lab", 60.0, NOW).error_rate is None


@pytest.mark.parametrize("seconds", [60.0, 300.0, LONGEST_S])
def test_window_holds_what_ended_in_it_and_at_most_a_slice_more(seconds: float) -> None:
    for age, inside in ((0.0, True), (seconds - 0.001, True), (seconds + SLICE_S, False)):
        figures = Figures()
        figures.add("lab", "ok", NOW - age)
        assert figures.window("lab", seconds, NOW).attempts == int(inside), age


def test_slice_of_an_hour_ago_is_used_again_from_nothing() -> None:
    figures = Figures()
    for step in range(1_000):
        figures.add("lab", "ok", NOW + step * SLICE_S)
    last = NOW + 999 * SLICE_S
    assert figures.window("lab", LONGEST_S, last).attempts == LONGEST_S / SLICE_S + 1
    assert figures.window("lab", SLICE_S, last).attempts == 2


def test_upstreams_are_counted_apart() -> None:
    figures = Figures()
    figures.add("lab", "ok", NOW)
    figures.add("other", "upstream_error", NOW)
    assert figures.window("lab", 60.0, NOW).failed == 0
    assert figures.window("other", 60.0, NOW).failed == 1


def test_percentiles_are_within_an_eighth_of_the_truth() -> None:
    source = random.Random(6)
    times = sorted(source.lognormvariate(0.0, 1.5) for _ in range(10_000))
    figures = Figures()
    for each in times:
        figures.add("lab", "ok", NOW, head_s=each, content_s=2 * each)
    window = figures.window("lab", 60.0, NOW)
    for found, share, factor in (
        (window.head_p50, 0.5, 1),
        (window.head_p95, 0.95, 1),
        (window.content_p50, 0.5, 2),
        (window.content_p95, 0.95, 2),
    ):
        assert found == pytest.approx(times[int(share * len(times))] * factor, rel=0.125)


def test_time_beyond_the_last_bin_is_its_bound_and_of_nothing_there_is_none() -> None:
    counts = [0] * (len(BOUNDS) + 1)
    assert percentile(counts, 0.5) is None
    counts[-1] = 1
    assert percentile(counts, 0.5) == BOUNDS[-1]


def test_last_failure_is_remembered_and_a_refusal_is_none() -> None:
    figures = Figures()
    assert figures.last_failure("lab", NOW) is None
    figures.add("lab", "bad_request", NOW)
    assert figures.last_failure("lab", NOW) is None
    figures.add("lab", "upstream_timeout", NOW)
    figures.add("lab", "ok", NOW + 1)
    assert figures.last_failure("lab", NOW + 5) == (5.0, "upstream_timeout")


def test_upstream_that_a_reload_took_away_is_forgotten() -> None:
    figures = Figures()
    for name in ("lab", "gone"):
        figures.add(name, "upstream_error", NOW)
    figures.keep({"lab"})
    assert figures.window("gone", 60.0, NOW) == Window()
    assert figures.last_failure("gone", NOW) is None
    assert figures.window("lab", 60.0, NOW).attempts == 1
    assert figures.last_failure("lab", NOW) is not None


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer takes memory of its own")
def test_memory_of_a_busy_upstream_is_bounded() -> None:
    figures = Figures()
    tracemalloc.start()
    for step in range(2_000):
        figures.add("lab", "upstream_error", NOW + step * SLICE_S, head_s=0.1, content_s=0.2)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 300_000
