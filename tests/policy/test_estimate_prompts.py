"""The promise of the estimate: prompts of the size that agents send, counted by a tokenizer.

Nobody is asked over a network: the vocabularies are part of a package. See docs/estimate.md.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import toktok

from tests.policy.estimate_measured import Measured, Spread, measured, outside
from tests.policy.estimate_prompts import WRITERS
from tests.policy.estimate_texts import KINDS, SCRIPTS

both = pytest.mark.parametrize(
    "ratio", [Measured.of_body, Measured.of_decoded], ids=["bytes", "decoded"]
)
Ratio = Callable[..., float]


EXAMPLES = [
    ("antidisestablishmentarianism", 6, 6),
    ("2 + 2 = 4", 7, 7),
    ("お誕生日おめでとう", 9, 8),
]


@pytest.mark.parametrize(("text", "cl100k", "o200k"), EXAMPLES)
def test_tokenizer_counts_as_openai_says(text: str, cl100k: int, o200k: int) -> None:
    # Source: OpenAI's cookbook, "How to count tokens with tiktoken".
    assert toktok.batch_count([text], "cl100k_base") == [cl100k]
    assert toktok.batch_count([text], "o200k_base") == [o200k]


def test_there_are_enough_prompts_of_an_agents_size() -> None:
    prompts = measured()
    assert len(prompts) >= 100
    assert min(each.actual[0] for each in prompts) >= 5_000
    assert {each.protocol for each in prompts} == set(WRITERS)
    assert {each.kind for each in prompts} > set(KINDS)


@both
def test_nine_of_ten_prompts_are_estimated_within_the_bounds(ratio: Ratio) -> None:
    wrong = outside(ratio)
    assert len(wrong) <= len(measured()) // 10, wrong


@both
@pytest.mark.parametrize("protocol", list(WRITERS))
def test_nine_of_ten_prompts_of_each_protocol_are(ratio: Ratio, protocol: str) -> None:
    own = [ratio(each) for each in measured() if each.protocol == protocol]
    assert Spread.of(own).promised >= 0.9


@both
def test_no_prompt_is_estimated_at_less_than_half(ratio: Ratio) -> None:
    least = min(ratio(each, vocabulary) for each in measured() for vocabulary in range(3))
    assert least >= 0.5


@both
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_text_is_estimated_about_right(ratio: Ratio, kind: str) -> None:
    # The densest kinds end a little below their tokens, none far.
    ratios = [ratio(each) for each in measured() if each.kind.partition(",")[0] == kind]
    assert min(ratios) >= 0.9
    assert max(ratios) <= 2.5


def test_bytes_and_decoded_request_are_estimated_alike() -> None:
    # The bytes hold the syntax of JSON and ids besides: more, but not much.
    for each in measured():
        assert each.decoded <= each.body <= 1.8 * each.decoded, each


def test_escaped_scripts_are_estimated_as_if_they_were_not() -> None:
    found = {(each.kind, each.protocol): each.body for each in measured()}
    for kind in SCRIPTS:
        for protocol in WRITERS:
            plain, escaped = found[kind, protocol], found[f"{kind}, escaped", protocol]
            assert plain <= escaped <= 1.1 * plain, (kind, protocol)
