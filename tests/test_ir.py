"""Answers fold and unfold without loss; figures of vendors are clamped."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import (
    Block,
    BlockEnd,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Failure,
    Finish,
    ModelTraits,
    Request,
    Response,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    Text,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols.folding import fold
from kurolproxy.tokens import MAX_TOKENS_COUNTED, Reading, Usage, count
from tests.unfolding import unfold

COUNTED = [
    (0, 0),
    (7, 7),
    (7.9, 7),
    (-1, 0),
    (-0.5, 0),
    (MAX_TOKENS_COUNTED, MAX_TOKENS_COUNTED),
    (MAX_TOKENS_COUNTED + 1, MAX_TOKENS_COUNTED),
    (10**40, MAX_TOKENS_COUNTED),
    (float("inf"), MAX_TOKENS_COUNTED),
    (float("-inf"), 0),
    (float("nan"), None),
    (None, None),
    (True, None),
    ("7", None),
    ([7], None),
]


@pytest.mark.parametrize(("value", "figure"), COUNTED)
def test_figure_is_clamped_or_refused(value: object, figure: int | None) -> None:
    assert count(value) == figure


@given(st.integers() | st.floats() | st.text() | st.none() | st.booleans())
def test_no_figure_credits_anybody(value: object) -> None:
    figure = count(value)
    assert figure is None or 0 <= figure <= MAX_TOKENS_COUNTED


@pytest.mark.parametrize(
    ("value", "clamped"),
    [
        (7, False),
        (7.0, False),
        (None, False),
        (MAX_TOKENS_COUNTED, False),
        (7.9, True),
        (-1, True),
        (MAX_TOKENS_COUNTED + 1, True),
        (float("nan"), True),
        (True, True),
        ("7", True),
        ([7], True),
    ],
)
def test_figure_that_none_can_be_is_noted(value: object, clamped: bool) -> None:
    reading = Reading()
    assert reading.figure(value) == count(value)
    assert reading.clamped == clamped


AFTER = [
    (None, Usage(5, 7), Usage(5, 7)),
    (Usage(5, 7, 2, 1, 3), Usage(6, 8), Usage(6, 8)),
    (Usage(5, 7, 2, 1, 3), Usage(6, 0), Usage(6, 7, 0, 0, 3)),
    (Usage(5, 7, 2, 1, 3), Usage(0, 8), Usage(5, 8, 2, 1, 0)),
    (Usage(5, 7), Usage(clamped=True), Usage(5, 7, clamped=True)),
    (Usage(5, 7, clamped=True), Usage(6, 8), Usage(6, 8, clamped=True)),
]


@pytest.mark.parametrize(("before", "last", "expected"), AFTER)
def test_last_usage_counts_and_what_it_leaves_out_stays(
    before: Usage | None, last: Usage, expected: Usage
) -> None:
    assert last.after(before) == expected


def test_total_is_prompt_and_completion() -> None:
    usage = Usage(prompt=5, completion=7, cache_read=2, cache_write=1, reasoning=3)
    assert usage.total == 12


TEXTS = st.text(max_size=8)
BLOCKS = st.builds(
    Block,
    kind=st.sampled_from(["text", "reasoning", "tool", "refusal"]),
    text=TEXTS,
    tool=st.none() | st.builds(ToolHead, TEXTS, TEXTS),
    seal=st.none() | st.builds(Seal, st.sampled_from("argc"), TEXTS, TEXTS),
    citations=st.lists(st.builds(Citation, TEXTS), max_size=2).map(tuple),
)
RESPONSES = st.builds(
    Response,
    id=TEXTS,
    model=TEXTS,
    blocks=st.lists(BLOCKS, max_size=4).map(tuple),
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    finish=st.builds(Finish, st.sampled_from(["stop", "tool_calls", "length"])),
)


@given(RESPONSES)
def test_answer_folds_to_itself(response: Response) -> None:
    assert fold(unfold(response)) == response


@given(RESPONSES)
def test_unfolded_answer_keeps_the_guarantees(response: Response) -> None:
    events = unfold(response)
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], Finish)
    assert sum(isinstance(event, Finish | Failure) for event in events) == 1
    starts = [event.index for event in events if isinstance(event, BlockStart)]
    assert starts == list(range(len(response.blocks)))
    open_block: int | None = None
    for event in events:
        if isinstance(event, BlockStart):
            assert open_block is None
            open_block = event.index
        elif isinstance(event, Delta | Sealed | Cited | BlockEnd):
            assert event.index == open_block
            assert not isinstance(event, Delta) or event.text
            open_block = None if isinstance(event, BlockEnd) else open_block
    assert open_block is None


def test_deltas_of_one_block_are_joined_and_the_last_usage_counts() -> None:
    events: list[StreamEvent] = [
        Start("r1", "m"),
        UsageSeen(Usage(1, 1)),
        BlockStart(0, "text"),
        Delta(0, "Hel"),
        Delta(0, "lo"),
        Sealed(0, Seal("g", "gemini", "first")),
        Sealed(0, Seal("g", "gemini", "last")),
        BlockEnd(0),
        UsageSeen(Usage(2, 3)),
        Finish("stop"),
    ]
    assert fold(events) == Response(
        "r1",
        "m",
        (Block("text", "Hello", seal=Seal("g", "gemini", "last")),),
        Usage(2, 3),
        Finish("stop"),
    )


def test_failure_ends_an_answer_whatever_came_before() -> None:
    events: list[StreamEvent] = [Start(), BlockStart(0, "text"), Delta(0, "a"), Failure("gone")]
    assert fold(events) == Failure("gone")


def test_answer_without_an_end_is_a_failure() -> None:
    assert isinstance(fold([Start(), BlockStart(0, "text"), BlockEnd(0)]), Failure)
    assert isinstance(fold([]), Failure)


@pytest.mark.parametrize("value", [Text("a"), Usage(), Request("m", ()), ModelTraits(), Start()])
def test_values_cannot_be_changed(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(value.__slots__)), None)


def test_traits_nobody_described_are_the_careful_ones() -> None:
    traits = ModelTraits()
    assert not traits.allow_store
    assert not traits.forward_user
    assert traits.system_position == "first"
    assert traits.max_tokens_field == "max_tokens"
    assert traits.hosted_tools == ()
    assert not traits.custom_tools
    assert not traits.prefill
