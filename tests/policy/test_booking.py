"""What the upstream told is booked; the estimate takes the place of what it did not tell."""

from __future__ import annotations

import pytest

from kurolproxy.policy.booking import booked
from kurolproxy.tokens import MAX_TOKENS_COUNTED, Usage

FULL = Usage(30, 12, 8, 4, 5)

# (told, whole) -> (booked, estimated); the prompt is estimated as 50, 30 bytes were emitted.
CASES = [
    ("told", FULL, True, FULL, False),
    ("told, cut off later", FULL, False, FULL, True),
    ("told less than was emitted, cut off", Usage(30, 1, 8, 4), False, Usage(30, 10, 8, 4), True),
    ("nothing told", None, True, Usage(50, 10), True),
    ("nothing told, cut off", None, False, Usage(50, 10), True),
    ("zeros told", Usage(), True, Usage(50, 10), True),
    ("no prompt told", Usage(0, 12, 0, 0, 5), True, Usage(50, 12, 0, 0, 5), True),
    ("no completion told", Usage(30, 0, 8, 4), True, Usage(30, 10, 8, 4), True),
    ("only a cache told", Usage(cache_read=70), True, Usage(50, 10, 50), True),
    ("clamped", Usage(30, 12, clamped=True), True, Usage(30, 12, clamped=True), False),
]


@pytest.mark.parametrize(
    ("told", "whole", "expected", "estimated"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_told_half_is_kept_and_the_other_one_estimated(
    told: Usage | None, whole: bool, expected: Usage, estimated: bool
) -> None:
    found = booked(told, prompt_estimate=50, emitted_bytes=30, whole=whole)
    assert found == (expected, estimated)


def test_silent_answer_of_a_counted_prompt_is_not_estimated() -> None:
    found = booked(Usage(30, 0), prompt_estimate=50, emitted_bytes=0, whole=True)
    assert found == (Usage(30, 0), False)


def test_no_estimate_is_larger_than_any_figure() -> None:
    usage, _ = booked(None, prompt_estimate=10**12, emitted_bytes=10**12, whole=True)
    assert usage == Usage(MAX_TOKENS_COUNTED, MAX_TOKENS_COUNTED)
