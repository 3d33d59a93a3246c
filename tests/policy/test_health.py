"""What rests, for how long, and who may probe it; time is handed in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kurolproxy.errors import Blame
from kurolproxy.policy.catalog import Catalog, Model, Target, Upstream
from kurolproxy.policy.choice import Way
from kurolproxy.policy.health import (
    AVOIDED_S,
    FAILURES,
    PROBE_S,
    REFUSED_S,
    SLOW_S,
    WINDOW_S,
    Change,
    Failed,
    Health,
)


def upstream(name: str = "up", *, most: int | None = None) -> Upstream:
    keys = ("secret-one", "secret-two")
    return Upstream(name, ("openai-chat",), "http://x", api_keys=keys, max_concurrent=most)


def way(up: Upstream, model: str = "m", key: int = 0) -> Way:
    return Way(Target(up, model, ("openai-chat",)), up.api_keys[key])


UP = upstream()
ONE, TWO = way(UP), way(UP, key=1)
OTHER = way(UP, model="other")
FAILS = Failed("failing", "HTTP 500")


def is_open(health: Health, tried: Way, now: float) -> bool:
    """Return whether a request would be sent; it is over at once."""
    if not health.take(tried, now):
        return False
    health.end(tried)
    return True


def fail(health: Health, tried: Way, now: float, failure: Failed = FAILS, times: int = 1) -> None:
    for _ in range(times):
        assert health.take(tried, now)
        health.failed(tried, failure, now)
        health.end(tried)


# --- what rests, and for how long ---------------------------------------------------------

RESTS: list[tuple[str, Failed, float, set[str]]] = [
    # what happened, how long, which of: the same way, the other key, the other model
    ("401", Failed("credential", "HTTP 401"), REFUSED_S, {"same", "model"}),
    ("403", Failed("access", "HTTP 403"), REFUSED_S, {"same"}),
    ("429 that says when", Failed("limited", "HTTP 429", rest_s=7), 7.0, {"same"}),
    ("503 that says when", Failed("busy", "HTTP 503", rest_s=7), 7.0, {"same", "key"}),
    ("a pause of a day", Failed("busy", "HTTP 503", rest_s=86_400), 300.0, {"same", "key"}),
    ("a pause of nothing", Failed("busy", "HTTP 503", rest_s=0), 1.0, {"same", "key"}),
]


@pytest.mark.parametrize(("name", "failure", "seconds", "rests"), RESTS, ids=[r[0] for r in RESTS])
def test_what_was_refused_rests_and_nothing_else(
    name: str, failure: Failed, seconds: float, rests: set[str]
) -> None:
    ways = {"same": ONE, "key": TWO, "model": OTHER}
    health = Health()
    fail(health, ONE, 100.0, failure)
    for label, each in ways.items():
        assert is_open(health, each, 100.0 + seconds - 0.01) is (label not in rests), label
    for label, each in ways.items():
        health = Health()
        fail(health, ONE, 100.0, failure)
        assert is_open(health, each, 100.0 + seconds), label


@pytest.mark.parametrize("blame", ["limited", "busy", "failing"])
def test_single_failure_that_says_nothing_lets_nothing_rest(blame: Blame) -> None:
    health = Health()
    fail(health, ONE, 100.0, Failed(blame, "x"), times=FAILURES - 1)
    assert is_open(health, ONE, 100.0)


def test_target_that_failed_twenty_times_in_a_row_rests_for_all_its_credentials() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES)
    assert not is_open(health, ONE, 100.0)
    assert not is_open(health, TWO, 100.0)
    assert is_open(health, OTHER, 100.0)


def test_failures_far_apart_are_no_row() -> None:
    health = Health()
    for number in range(3 * FAILURES):
        fail(health, ONE, number * WINDOW_S / (FAILURES - 2))
    assert is_open(health, ONE, 3 * FAILURES * WINDOW_S)


def test_answer_between_failures_ends_the_row() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES - 1)
    health.answered(TWO, 99.0)
    fail(health, ONE, 100.0, times=FAILURES - 1)
    assert is_open(health, ONE, 100.0)


# --- the probe ------------------------------------------------------------------------------


def test_of_a_hundred_requests_exactly_one_is_the_probe() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES)
    now = 100.0 + PROBE_S
    assert [health.take(ONE, now) for _ in range(100)].count(True) == 1
    # It still runs: another one may try its luck only a while later.
    assert not health.take(ONE, now + PROBE_S - 0.01)
    assert [health.take(ONE, now + PROBE_S) for _ in range(100)].count(True) == 1


def test_probe_that_fails_lets_the_target_rest_on() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES)
    assert health.take(ONE, 110.0)
    health.failed(ONE, FAILS, 112.0)
    health.end(ONE)
    assert not is_open(health, ONE, 112.0 + PROBE_S - 0.01)
    assert is_open(health, ONE, 112.0 + PROBE_S)


def test_probe_that_is_answered_opens_the_way_for_all() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES)
    assert health.take(ONE, 110.0)
    health.answered(ONE, 110.0)
    assert all(health.take(each, 110.0) for each in (ONE, TWO, ONE, TWO))


def test_refused_credential_is_probed_by_one_request_after_its_rest() -> None:
    health = Health()
    fail(health, ONE, 100.0, Failed("credential", "HTTP 401"))
    now = 100.0 + REFUSED_S
    assert [health.take(ONE, now) for _ in range(100)].count(True) == 1
    health.failed(ONE, Failed("credential", "HTTP 401"), now)
    assert not is_open(health, ONE, now + REFUSED_S - 0.01)


def test_failure_of_a_request_from_before_does_not_shorten_a_rest() -> None:
    health = Health()
    assert health.take(ONE, 90.0)
    fail(health, ONE, 100.0, Failed("busy", "HTTP 503", rest_s=60))
    health.failed(ONE, Failed("busy", "HTTP 503", rest_s=1), 101.0)
    assert not is_open(health, ONE, 159.0)


def test_answer_to_what_was_asked_before_a_rest_began_does_not_end_it() -> None:
    health = Health()
    assert health.take(ONE, 90.0)
    fail(health, ONE, 100.0, Failed("limited", "HTTP 429", rest_s=60))
    health.answered(ONE, 90.0)
    assert not is_open(health, ONE, 159.0)
    assert health.take(ONE, 160.0)
    health.answered(ONE, 160.0)
    assert all(health.take(ONE, 160.0) for _ in range(3))


def test_failure_of_what_was_asked_before_a_rest_began_is_no_failed_probe() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES)
    assert health.take(ONE, 105.0)
    health.failed(ONE, Failed("failing", "silent", waited_s=30.0), 106.0)
    health.answered(ONE, 105.0)
    assert all(health.take(ONE, 107.0) for _ in range(3))


def test_probe_that_showed_nothing_leaves_its_place_to_the_next_request() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES)
    assert health.take(ONE, 110.0)
    health.unproven(ONE, 109.0)
    assert not health.take(ONE, 111.0)
    health.unproven(ONE, 110.0)
    assert [health.take(ONE, 111.0) for _ in range(100)].count(True) == 1


def test_rest_that_began_while_the_probe_ran_stays_when_the_probe_shows_nothing() -> None:
    health = Health()
    fail(health, ONE, 100.0, times=FAILURES)
    assert health.take(ONE, 110.0)
    health.failed(ONE, Failed("busy", "HTTP 503", rest_s=60), 111.0)
    health.unproven(ONE, 110.0)
    assert not is_open(health, ONE, 170.0)


def test_request_that_may_not_probe_goes_only_where_nothing_bad_is_known() -> None:
    health = Health()
    assert health.take(ONE, 100.0, may_probe=False)
    fail(health, ONE, 100.0, times=FAILURES)
    assert not health.take(ONE, 110.0, may_probe=False)
    # It was no probe: that is still to come.
    assert health.take(ONE, 110.0)


# --- what one account alone met ------------------------------------------------------------

REFUSED = {each: Failed("access", "HTTP 403", account=each) for each in (1, 2)}


def test_refusal_that_one_account_met_lets_the_way_rest_for_it_alone() -> None:
    health = Health()
    health.failed(ONE, REFUSED[1], 100.0)
    assert not health.take(ONE, 110.0, 1)
    assert health.take(ONE, 110.0, 2)
    assert [each.account for _, each in health.resting(ONE, 110.0)] == [1]
    assert health.resting(ONE, 110.0, 2) == []
    assert health.refusal([ONE], "m", 110.0, 1).retry_after_s == 60


def test_refusal_that_another_account_meets_too_lets_the_way_rest_for_all() -> None:
    health = Health()
    health.failed(ONE, REFUSED[1], 100.0)
    health.failed(ONE, REFUSED[2], 110.0)
    assert not any(health.take(ONE, 120.0, each) for each in (1, 2, 3))
    # Long after the first it says nothing of the others again.
    health = Health()
    health.failed(ONE, REFUSED[1], 100.0)
    health.failed(ONE, REFUSED[2], 100.0 + REFUSED_S)
    assert [health.take(ONE, 101.0 + REFUSED_S, each) for each in (1, 2, 3)] == [True, False, True]


@pytest.mark.parametrize(("others", "rests_for_all"), [(0, False), (2, False), (3, True)])
def test_row_of_failures_rests_for_the_account_that_made_it(
    others: int, rests_for_all: bool
) -> None:
    health = Health()
    for number in range(FAILURES):
        failure = Failed("failing", "HTTP 500", account=2 if number < others else 1)
        health.failed(ONE, failure, 100.0)
    assert not health.take(ONE, 100.0, 1)
    assert health.take(ONE, 100.0, 3) is not rests_for_all


@pytest.mark.parametrize("blame", ["credential", "limited", "busy"])
def test_what_the_vendor_says_of_itself_holds_for_all_accounts(blame: Blame) -> None:
    health = Health()
    health.failed(ONE, Failed(blame, "x", rest_s=60, account=1), 100.0)
    assert not health.take(ONE, 110.0, 2)


# --- concurrency ------------------------------------------------------------------------------


def test_upstream_runs_no_more_than_its_cap() -> None:
    small = upstream(most=2)
    health = Health()
    first, second = way(small), way(small, model="other", key=1)
    assert health.take(first, 0.0)
    assert health.take(second, 0.0)
    assert not health.take(first, 0.0)
    health.end(second)
    assert health.take(first, 0.0)
    assert health.running(small) == 2


def test_full_upstream_is_no_probe() -> None:
    small = upstream(most=1)
    health = Health()
    fail(health, way(small), 100.0, times=FAILURES)
    assert health.take(way(small, model="other"), 100.0)
    assert not health.take(way(small), 110.0)
    health.end(way(small, model="other"))
    assert health.take(way(small), 110.0)


# --- who comes first ----------------------------------------------------------------------------


def test_target_that_let_somebody_wait_in_vain_comes_last_for_a_while() -> None:
    health = Health()
    slow, quick = way(UP), way(upstream("quick"))
    fail(health, slow, 100.0, Failed("failing", "silent", waited_s=SLOW_S))
    assert health.order([slow, quick], 100.0) == [quick, slow]
    assert health.order([slow, quick], 100.0 + AVOIDED_S) == [slow, quick]
    # It does not rest: where it is the only one it is asked.
    assert is_open(health, slow, 100.0)


def test_quick_failure_changes_no_order() -> None:
    health = Health()
    other = way(upstream("quick"))
    fail(health, ONE, 100.0, Failed("failing", "HTTP 500", waited_s=SLOW_S - 1))
    assert health.order([ONE, other], 100.0) == [ONE, other]


# --- what callers and operators are told ------------------------------------------------------


@pytest.mark.parametrize(("seconds", "hint"), [(7.0, 7), (6.2, 7), (0.4, 1), (250.0, 60)], ids=str)
def test_refusal_says_when_the_first_way_may_be_tried(seconds: float, hint: int) -> None:
    health = Health()
    fail(health, ONE, 100.0, Failed("busy", "x", rest_s=300))
    fail(health, OTHER, 100.0, Failed("busy", "x", rest_s=max(seconds, 1)))
    error = health.refusal([ONE, OTHER], "m", 100.0 + max(seconds, 1) - seconds)
    assert error.retry_after_s == hint
    assert "m are resting" in error.message


def test_refusal_of_a_full_upstream_says_so() -> None:
    small = upstream(most=1)
    health = Health()
    assert health.take(way(small), 0.0)
    error = health.refusal([way(small)], "m", 0.0)
    assert (error.status, error.retry_after_s) == (503, 1)
    assert "as many requests as they may" in error.message


def test_changes_are_told_once_and_without_the_credential() -> None:
    told: list[Change] = []
    health = Health(told.append)
    fail(health, TWO, 100.0, Failed("credential", "HTTP 401"))
    assert health.take(TWO, 500.0)
    health.failed(TWO, Failed("credential", "HTTP 401"), 500.0)
    health.answered(TWO, 500.0)
    health.answered(TWO, 500.0)
    assert told == [
        Change("up", "credential", 2, None, "HTTP 401", REFUSED_S),
        Change("up", "credential", 2, None, "HTTP 401", None),
    ]
    assert "secret" not in repr(told)


def catalog(*upstreams: Upstream, model: str = "m") -> Catalog:
    targets = tuple(Target(each, model, ("openai-chat",)) for each in upstreams)
    return Catalog(upstreams, [Model("public", targets)])


def test_upstream_is_up_while_any_way_by_it_is_open() -> None:
    idle, health = upstream("idle"), Health()
    known = Catalog([UP, idle], catalog(UP).models.values())
    assert health.up(known, 0.0) == {"up": True, "idle": True}
    fail(health, ONE, 100.0, Failed("credential", "HTTP 401"))
    assert health.up(known, 100.0) == {"up": True, "idle": True}
    fail(health, TWO, 100.0, Failed("credential", "HTTP 401"))
    assert health.up(known, 100.0) == {"up": False, "idle": True}
    assert health.up(known, 100.0 + REFUSED_S) == {"up": True, "idle": True}


def test_facts_say_what_rests_and_why_without_the_credential() -> None:
    health = Health()
    fail(health, TWO, 100.0, Failed("credential", "HTTP 401"))
    fail(health, ONE, 100.0, Failed("busy", "HTTP 503", rest_s=30))
    assert health.take(OTHER, 100.0)
    facts = health.facts(catalog(UP), 110.0)
    assert facts == [
        {
            "name": "up",
            "up": False,
            "running": 1,
            "max_concurrent": None,
            "resting": [
                {
                    "credential": None,
                    "model": "m",
                    "why": "HTTP 503",
                    "seconds": 20.0,
                    "account": None,
                },
                {
                    "credential": 2,
                    "model": None,
                    "why": "HTTP 401",
                    "seconds": 290.0,
                    "account": None,
                },
            ],
        }
    ]


def test_reload_keeps_the_rests_of_what_it_keeps() -> None:
    health = Health()
    fail(health, ONE, 100.0, Failed("busy", "HTTP 503", rest_s=60))
    fail(health, OTHER, 100.0, Failed("busy", "HTTP 503", rest_s=60))
    health.keep(catalog(upstream()), catalog(UP))
    assert not is_open(health, ONE, 110.0)
    assert is_open(health, OTHER, 110.0)


@pytest.mark.parametrize(
    ("change", "rests"),
    [
        ({"base_url": "http://other"}, False),
        ({"headers": {"x-region": "2"}}, False),
        ({"max_concurrent": 7}, True),
        ({"api_keys": ("secret-one", "secret-three")}, True),
    ],
    ids=["address", "headers", "cap", "other key"],
)
def test_reload_forgets_the_rests_of_an_upstream_that_is_another_now(
    change: dict[str, Any], rests: bool
) -> None:
    health = Health()
    fail(health, ONE, 100.0, Failed("credential", "HTTP 401"))
    changed = replace(UP, **change)
    health.keep(catalog(changed), catalog(UP))
    assert is_open(health, way(changed), 110.0) is not rests
