"""Names of models, and which of them are in a plan."""

from __future__ import annotations

import pytest

from kurolproxy.policy.catalog import Catalog, Model, Plan, Target, Upstream

LAB = Upstream("lab", ("anthropic", "openai-chat"), "http://127.0.0.1:1")
TEAM = Plan("team", ("gpt-*", "org/model:7b"))
CATALOG = Catalog(
    [LAB],
    [
        Model("gpt-4o", (), aliases=("fast", "claude-gpt-4o")),
        Model("org/model:7b", ()),
        Model("gpt-old", (), aliases=("old",), active=False),
        Model("claude-opus", ()),
    ],
    [TEAM],
)


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("gpt-4o", "gpt-4o"),
        ("fast", "gpt-4o"),
        ("claude-gpt-4o", "gpt-4o"),
        ("org/model:7b", "org/model:7b"),
        ("gpt-old", None),
        ("old", None),
        ("", None),
        ("GPT-4o", None),
        ("gpt-4o ", None),
        (" gpt-4o", None),
        ("gpt-4о", None),  # a Cyrillic o
        ("ｇpt-4o", None),  # a full-width g
        ("gpt-4o\n", None),
        ("gpt-*", None),
    ],
)
def test_model_is_found_exactly_as_written(name: str, id_: str | None) -> None:
    model = CATALOG.find(name)
    assert (model and model.id) == id_


@pytest.mark.parametrize(
    ("patterns", "id_", "allowed"),
    [
        (("gpt-*",), "gpt-4o", True),
        (("gpt-*",), "GPT-4o", False),
        (("gpt-*",), "my-gpt-4o", False),
        (("*",), "org/model:7b", True),
        (("org/*",), "org/a/b", True),
        (("a", "b"), "b", True),
        (("gpt-[45]",), "gpt-5", True),
        (("gpt-?",), "gpt-45", False),
        ((), "gpt-4o", False),
    ],
)
def test_plan_allows_by_pattern(patterns: tuple[str, ...], id_: str, allowed: bool) -> None:
    assert Plan("p", patterns).allows(id_) is allowed


def test_active_models_of_a_plan_keep_the_order_of_the_file() -> None:
    assert [model.id for model in CATALOG.active(TEAM)] == ["gpt-4o", "org/model:7b"]


def test_client_protocol_is_spoken_when_it_is_offered() -> None:
    target = Target(LAB, "m", LAB.protocols)
    assert target.protocol_for("openai-chat") == "openai-chat"
    assert target.protocol_for("gemini") == "anthropic"
