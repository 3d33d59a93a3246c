"""What verbs print: a table for people, one JSON value for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from unicodedata import category

import click

_GAP = "  "
_NUMBERS = (int, float)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the flag ``--json``, as the argument ``as_json``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
    return option(function)


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    as_json: bool,
    empty: str = "Nothing there yet.",
) -> None:
    """Print facts about several things.

    Args:
        rows: every fact; JSON gets all of them.
        columns: the names of those that the table shows.
        empty: what people read when there is nothing.
    """
    if as_json:
        print_json(list(rows))
    elif rows:
        click.echo(table(rows, columns))
    else:
        click.echo(empty, err=True)


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print facts about one thing: a line each."""
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        click.echo(f"{_title(name):<{width}}{_GAP}{shown(value)}".rstrip())


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Lay rows out in columns; numbers stand at the right."""
    cells = [[row.get(column) for column in columns] for row in rows]
    texts = [[shown(cell) for cell in row] for row in cells]
    heads = [_title(column).upper() for column in columns]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    right = [
        any(_is_number(cell) for cell in column)
        and all(cell is None or _is_number(cell) for cell in column)
        for column in zip(*cells, strict=True)
    ]
    lines = []
    for row in [heads, *texts]:
        padded = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)


def shown(value: Any) -> str:
    """Return a value as people read it, on one line; nothing known is a dash."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_number(value):
        return f"{value:,}"
    text = ", ".join(map(shown, value)) if isinstance(value, list | tuple) else str(value)
    return printable(text, kept="")


def printable(text: str, kept: str = "\n\t") -> str:
    """Return a foreign text as a terminal may get it.

    A label or an answer must not move the cursor or change what was printed before.

    Args:
        kept: the control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join("?" if category(c) == "Cc" and c not in kept else c for c in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def _title(name: str) -> str:
    return name.replace("_", " ")
