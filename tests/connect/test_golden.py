"""The texts of every tool, for each shell, with a key and without: tests/golden/connect."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from kurolproxy.connect.tools import TOOLS, Tool
from kurolproxy.connect.wanted import ModelFacts, Shell, Step, Wanted

FOLDER = Path(__file__).parents[1] / "golden" / "connect"
KEY = "sk-kurol-golden-0123456789"
MODEL = ModelFacts("team-large", 131_072, 16_384, thinks=True)
SMALL = ModelFacts("vendor/team-small", 32_768, 4_096, sees=False)
CASES = [
    (tool, shell, key)
    for tool in TOOLS.values()
    for shell in get_args(Shell)
    for key in (None, KEY)
]


def written(steps: list[Step]) -> str:
    """Return steps as a golden file holds them."""
    parts = (
        f"=== {each.title} | {each.where} | {each.language}\n--- {each.note}".rstrip()
        + f"\n{each.text}\n"
        for each in steps
    )
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("tool", "shell", "key"),
    CASES,
    ids=[f"{tool.slug}.{shell}.{'key' if key else 'variable'}" for tool, shell, key in CASES],
)
def test_golden_settings_of_a_tool(tool: Tool, shell: Shell, key: str | None) -> None:
    wanted = Wanted("https://llm.example.org/", MODEL, SMALL, key, shell)
    path = FOLDER / f"{tool.slug}.{shell}.{'key' if key else 'variable'}.txt"
    text = written(tool.steps(wanted))
    if os.environ.get("KUROL_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")
    # A text with a key reads no variable, and one without holds no key.
    assert (KEY in text) == (key is not None)


@pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
def test_what_is_unknown_of_a_model_is_left_out(tool: Tool) -> None:
    bare = ModelFacts("bare")
    text = written(tool.steps(Wanted("http://127.0.0.1:8080", bare, bare)))
    assert "None" not in text
    assert "null" not in text
