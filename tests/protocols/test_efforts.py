"""Words and budgets are converted by the one table, in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import EFFORTS, Effort, ReasoningWish
from kurolproxy.protocols.efforts import clamp, from_budget, to_budget, wished

BUDGETS = [
    (-1, None),
    (-7, None),
    (0, "none"),
    (1, "minimal"),
    (1_024, "minimal"),
    (1_025, "low"),
    (4_096, "low"),
    (4_097, "medium"),
    (12_288, "medium"),
    (12_289, "high"),
    (24_576, "high"),
    (24_577, "xhigh"),
    (10**9, "xhigh"),
]


@pytest.mark.parametrize(("budget", "effort"), BUDGETS)
def test_budget_has_its_word(budget: int, effort: Effort | None) -> None:
    assert from_budget(budget) == effort


WORDS = [
    ("none", 0),
    ("minimal", 1_024),
    ("low", 2_048),
    ("medium", 8_192),
    ("high", 16_384),
    ("xhigh", 32_768),
    ("max", 65_536),
]


@pytest.mark.parametrize(("effort", "budget"), WORDS)
def test_word_has_its_budget(effort: Effort, budget: int) -> None:
    assert to_budget(effort) == budget


@pytest.mark.parametrize("effort", [effort for effort in EFFORTS if effort != "max"])
def test_budget_of_a_word_is_that_word_again(effort: Effort) -> None:
    assert from_budget(to_budget(effort)) == effort


CLAMPED = [
    ("high", (), "high"),
    ("high", ("low", "high"), "high"),
    ("max", ("low", "medium", "high"), "high"),
    ("xhigh", ("low", "max"), "low"),
    ("minimal", ("low", "medium"), "low"),
    ("none", ("low", "medium"), "low"),
    ("medium", ("max", "none"), "none"),
    ("medium", ("high",), "high"),
]


@pytest.mark.parametrize(("effort", "allowed", "result"), CLAMPED)
def test_effort_is_clamped_down_else_to_the_lowest(
    effort: Effort, allowed: tuple[Effort, ...], result: Effort
) -> None:
    assert clamp(effort, allowed) == result


@given(st.sampled_from(EFFORTS), st.permutations(EFFORTS), st.integers(1, 7))
def test_order_of_the_allowed_efforts_means_nothing(
    effort: Effort, order: list[Effort], number: int
) -> None:
    allowed = tuple(order[:number])
    result = clamp(effort, allowed)
    assert result in allowed
    assert result == clamp(effort, tuple(reversed(allowed)))
    assert result == clamp(result, allowed)


WISHES = [
    (ReasoningWish(), None),
    (ReasoningWish(effort="low"), "low"),
    (ReasoningWish(budget=0), "none"),
    (ReasoningWish(budget=5_000), "medium"),
    (ReasoningWish(budget=-1), None),
    (ReasoningWish(mode="on"), None),
    (ReasoningWish(mode="adaptive", effort="high"), "high"),
    (ReasoningWish(mode="off", effort="high"), "none"),
    (ReasoningWish(effort="low", budget=30_000), "low"),
]


@pytest.mark.parametrize(("wish", "effort"), WISHES)
def test_effort_is_read_whichever_way_it_was_said(
    wish: ReasoningWish, effort: Effort | None
) -> None:
    assert wished(wish) == effort
