"""Which ways to a model are tried first."""

from __future__ import annotations

from collections import Counter
from itertools import count

from kurolproxy.policy.catalog import Model, Target, Upstream
from kurolproxy.policy.choice import ways


def target(name: str, *, priority: int = 0, weight: int = 1, keys: tuple[str, ...] = ()) -> Target:
    upstream = Upstream(name, ("openai-chat",), f"http://{name}", api_keys=keys)
    return Target(upstream, "m", ("openai-chat",), priority=priority, weight=weight)


def order(model: Model, session: bytes | None, spin: float = 0.5) -> list[tuple[str, str | None]]:
    found = ways(model, lambda: session, lambda: spin)
    return [(way.target.upstream.name, way.key) for way in found]


def firsts(model: Model, sessions: int = 3_000) -> dict[bytes, str]:
    named = (str(number).encode() for number in range(sessions))
    return {each: order(model, each)[0][0] for each in named}


def test_lower_priority_number_comes_first_whatever_the_session() -> None:
    model = Model("m", (target("late", priority=5), target("early"), target("last", priority=9)))
    for number in range(50):
        names = [name for name, _ in order(model, str(number).encode())]
        assert names == ["early", "late", "last"]


def test_credentials_keep_the_order_of_the_file() -> None:
    model = Model("m", (target("a", keys=("k1", "k2")), target("b", priority=1)))
    assert order(model, b"s") == [("a", "k1"), ("a", "k2"), ("b", None)]


def test_only_target_is_taken_without_asking_for_the_session() -> None:
    def never() -> bytes | None:
        raise AssertionError("nobody needs it")

    found = ways(Model("m", (target("a", keys=("k1", "k2")),)), never, lambda: 0.5)
    assert [way.key for way in found] == ["k1", "k2"]


def test_session_goes_where_it_went_before() -> None:
    model = Model("m", (target("a"), target("b"), target("c")))
    assert firsts(model) == firsts(model)


def test_sessions_are_spread_by_weight() -> None:
    model = Model("m", (target("a", weight=1), target("b", weight=3), target("never", weight=0)))
    drawn = Counter(firsts(model).values())
    assert drawn["never"] == 0
    assert 0.70 < drawn["b"] / drawn.total() < 0.80


def test_target_without_weight_is_the_last_resort() -> None:
    model = Model("m", (target("never", weight=0), target("b")))
    assert [name for name, _ in order(model, b"s")] == ["b", "never"]


def test_target_that_goes_takes_only_its_own_sessions_along() -> None:
    three = Model("m", (target("a"), target("b"), target("c")))
    two = Model("m", (target("a"), target("c")))
    before, after = firsts(three), firsts(two)
    moved = {each for each, name in before.items() if after[each] != name}
    assert moved == {each for each, name in before.items() if name == "b"}
    # They spread over all that is left.
    assert {after[each] for each in moved} == {"a", "c"}


def test_sessions_of_a_target_keep_their_order_of_the_others() -> None:
    model = Model("m", (target("a"), target("b"), target("c")))
    seconds = {tuple(name for name, _ in order(model, str(n).encode())) for n in range(200)}
    assert len(seconds) == 6


def test_without_a_session_the_order_is_drawn_anew() -> None:
    model = Model("m", (target("a"), target("b")))
    numbers = count()

    def spin() -> float:
        return 0.1 if next(numbers) % 2 else 0.9

    found = ways(model, lambda: None, spin)
    assert [way.target.upstream.name for way in found] == ["a", "b"]
    next(numbers)
    found = ways(model, lambda: None, spin)
    assert [way.target.upstream.name for way in found] == ["b", "a"]
