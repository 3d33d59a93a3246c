"""What tools are told of a model is what catalog and plan say."""

from __future__ import annotations

from kurolproxy.connect.wanted import ModelFacts, facts_of
from kurolproxy.ir import ModelTraits
from kurolproxy.policy.catalog import Model, Plan, Target, Upstream

UPSTREAM = Upstream("lab", ("anthropic",), "http://127.0.0.1:1")


def model(*traits: ModelTraits, window: int | None = None, output: int | None = None) -> Model:
    targets = tuple(Target(UPSTREAM, "x", ("anthropic",), traits=each) for each in traits)
    return Model("m", targets, context_window=window, max_output_tokens=output)


def test_the_smallest_limit_counts_that_any_target_or_the_plan_has() -> None:
    wide = ModelTraits(context_window=200_000, max_output_tokens=64_000)
    narrow = ModelTraits(context_window=100_000)
    found = facts_of(model(wide, narrow, window=150_000), Plan("p", ("*",), max_output_tokens=500))
    assert (found.context_window, found.max_output_tokens) == (100_000, 500)
    assert facts_of(model(wide)).max_output_tokens == 64_000


def test_what_nobody_says_is_unknown() -> None:
    assert facts_of(model(ModelTraits())) == ModelFacts("m")


def test_a_model_thinks_when_a_target_does_and_sees_when_all_do() -> None:
    thinker = ModelTraits(reasoning_family="claude")
    mute = ModelTraits(reasoning_family="claude", thinking="none", vision=False)
    assert facts_of(model(thinker, mute)).thinks
    assert not facts_of(model(mute)).thinks
    assert not facts_of(model(thinker, mute)).sees
