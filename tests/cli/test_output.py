"""Tables for people: alignment, what is not known, what a terminal must not get."""

from __future__ import annotations

from typing import Any

import pytest

from kurolproxy.cli.output import printable, shown, table


def test_words_stand_left_and_numbers_right() -> None:
    rows = [{"name": "a", "tokens": 1_234}, {"name": "longer", "tokens": 5}]
    assert table(rows, ["name", "tokens"]) == ("NAME    TOKENS\na        1,234\nlonger       5")


def test_column_with_a_word_in_it_is_no_column_of_numbers() -> None:
    rows = [{"limit": 60}, {"limit": "unlimited"}]
    assert table(rows, ["limit"]).splitlines()[1] == "60"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        (0, "0"),
        (1_000, "1,000"),
        (True, "yes"),
        (False, "no"),
        (["a", "b"], "a, b"),
        ("two\nlines", "two?lines"),
        ("\x1b[2J", "?[2J"),
        ("Größe 👩‍💻", "Größe 👩‍💻"),
    ],
)
def test_shown(value: Any, text: str) -> None:
    assert shown(value) == text


def test_answer_keeps_its_lines_and_loses_its_escapes() -> None:
    assert printable("one\n\ttwo\x1b]0;title\x07\r\x9b") == "one\n\ttwo?]0;title???"
