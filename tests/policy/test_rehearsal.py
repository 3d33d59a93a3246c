"""``rehearse`` says what ``admit`` would, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kurolproxy.errors import GatewayError
from kurolproxy.policy.admission import Ask
from kurolproxy.policy.catalog import Model, Plan
from tests.policy.world import MODEL, World

LOTS = 200_000


def nothing(world: World) -> None:
    """Leave everything as it is."""


def one_runs(world: World) -> None:
    world.admit()


def hundred_used(world: World) -> None:
    world.admit(max_tokens=50).settle(100)


# name, plan, what the key narrows, what was before, what is asked, the refusal or the cap
CASES: list[
    tuple[str, dict[str, Any], dict[str, Any], Callable[[World], None], Ask, str | int | None]
] = [
    ("unlimited", {}, {}, nothing, Ask(10), None),
    ("cap of the plan", {"max_output_tokens": 500}, {}, nothing, Ask(10), 500),
    ("all run", {"concurrent_requests": 1}, {}, one_runs, Ask(10), "concurrency_limited"),
    ("one is left", {"requests_per_minute": 2}, {}, one_runs, Ask(10), None),
    ("too fast", {"requests_per_minute": 1}, {}, one_runs, Ask(10), "rate_limited"),
    ("key too fast", {}, {"requests_per_minute": 1}, one_runs, Ask(10), "rate_limited"),
    ("spent", {"daily_tokens": 100}, {}, hundred_used, Ask(10, max_tokens=10), "quota_exceeded"),
    ("key spent", {}, {"daily_tokens": 100}, hundred_used, Ask(1, max_tokens=9), "quota_exceeded"),
    ("held", {"daily_tokens": LOTS}, {}, one_runs, Ask(10, max_tokens=10), "rate_limited"),
    ("lowered", {"daily_tokens": 5_010}, {}, nothing, Ask(10, max_tokens=LOTS), 5_000),
    ("thinking", {"max_output_tokens": 500}, {}, nothing, Ask(1, 900, 1, 800), "bad_request"),
]


@pytest.mark.parametrize(
    ("plan", "key", "before", "ask", "expected"),
    [each[1:] for each in CASES],
    ids=[each[0] for each in CASES],
)
def test_rehearsal_says_what_admission_does(
    plan: dict[str, Any],
    key: dict[str, Any],
    before: Callable[[World], None],
    ask: Ask,
    expected: str | int | None,
) -> None:
    world = World(**plan)
    caller = world.caller(**key)
    before(world)
    running = world.admission.running_of(caller, world.today)
    standing = world.standing(caller)

    def told(act: Callable[..., Any]) -> tuple[object, str]:
        try:
            found = act(caller, MODEL, ask, world.now, world.today)
        except GatewayError as error:
            return error.kind, error.message
        return getattr(found, "output_cap", found), ""

    rehearsed = told(world.admission.rehearse)
    assert rehearsed[0] == expected
    assert rehearsed == told(world.admission.rehearse)
    assert world.admission.running_of(caller, world.today) == running
    assert world.standing(caller) == standing
    assert told(world.admission.admit) == rehearsed


def test_running_calls_are_seen_under_other_limits_and_on_another_day() -> None:
    world = World(concurrent_requests=1)
    caller = world.caller()
    world.admit()
    world.admission.replace_catalog(world.catalog(Plan("team", ("gpt-*",), 7)))
    assert world.admission.running_of(caller, world.today) == 1
    assert world.admission.running_of(caller, world.today.replace(day=3)) == 1


LIKE = [
    ("gtp-4o", "gpt-4o"),
    ("GPT-4o", "gpt-4o"),
    ("gpt-4o-2024", "gpt-4o"),
    ("Fast", "fast"),
    ("llama", None),
    ("secret-mode", None),
    ("g" * 10_000, None),
    ("", None),
]


@pytest.mark.parametrize(("name", "near"), LIKE)
def test_unknown_model_names_the_callers_own_that_is_like_it(name: str, near: str | None) -> None:
    world = World()
    with pytest.raises(GatewayError) as caught:
        world.admission.model(world.caller(), name)
    hint = "" if near is None else f" Did you mean '{near}'?"
    assert caught.value.message.removeprefix(f"There is no model '{name[:200]}'.") == (
        f"{hint} GET /v1/models lists the models of this key."
    )


def test_no_model_that_the_key_is_narrowed_away_from_is_named() -> None:
    world = World(models=[MODEL, Model("gpt-4o-mini", ())])
    caller = world.caller(models=("gpt-4o",))
    with pytest.raises(GatewayError, match="Did you mean 'gpt-4o'"):
        world.admission.model(caller, "gpt-4o-min")
