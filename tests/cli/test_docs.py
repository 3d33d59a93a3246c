"""docs/cli.md names every verb and every option."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kurolproxy.cli.main import VERBS, main

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every verb with its full name."""
    context = click.Context(main)
    for name in VERBS:
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {each}", inner) for each, inner in command.commands.items())
        else:
            yield name, command


COMMANDS = list(commands())


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_verb_is_documented_with_all_its_options(name: str, command: click.Command) -> None:
    text = PAGE.read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and f"`{name}" in line]
    assert lines, f"{name} is not in the table of {PAGE.name}"
    options = {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    missing = [each for each in options - {"--json"} if each not in lines[0]]
    assert missing == []


@pytest.mark.parametrize("code", [0, 1, 2, 3, 78])
def test_exit_code_is_documented(code: int) -> None:
    assert f"\n| {code} |" in PAGE.read_text("utf-8")
