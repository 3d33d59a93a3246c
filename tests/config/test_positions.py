"""Every value of a TOML file is found where it stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from kurolproxy.config.positions import Path, Position, Positions, locate
from tests.config.toml_texts import toml_texts

TEXT = '''\
title = "x"

[server]
listen = [
  "a", # one
  "b",
]
 "quoted key".inner = 1
[a . b]
c = { d = [ { e = 1 }, 2 ], f.g = """
[not.a.header]
""" }

[[plans]]
name = 'one'
[[plans]]
  [[plans.limits]]
  n = 1
  [plans.extra]
  m = 2
'''

CASES: list[tuple[Path, Position]] = [
    (("title",), Position(1, 1)),
    (("server",), Position(3, 2)),
    (("server", "listen"), Position(4, 1)),
    (("server", "listen", 0), Position(5, 3)),
    (("server", "listen", 1), Position(6, 3)),
    (("server", "quoted key"), Position(8, 2)),
    (("server", "quoted key", "inner"), Position(8, 15)),
    (("a",), Position(9, 2)),
    (("a", "b"), Position(9, 6)),
    (("a", "b", "c", "d", 0), Position(10, 13)),
    (("a", "b", "c", "d", 0, "e"), Position(10, 15)),
    (("a", "b", "c", "d", 1), Position(10, 24)),
    (("a", "b", "c", "f", "g"), Position(10, 31)),
    (("plans",), Position(14, 3)),
    (("plans", 0), Position(14, 1)),
    (("plans", 0, "name"), Position(15, 1)),
    (("plans", 1), Position(16, 1)),
    (("plans", 1, "limits", 0, "n"), Position(18, 3)),
    (("plans", 1, "extra", "m"), Position(20, 3)),
]


@pytest.mark.parametrize(("path", "place"), CASES, ids=lambda value: str(value))
def test_value_is_found_where_it_stands(path: Path, place: Position) -> None:
    assert locate(TEXT).found[path] == place


def test_what_is_not_in_the_file_is_found_at_the_nearest_thing_around_it() -> None:
    positions = locate(TEXT)
    assert positions.at(("plans", 1, "name")) == Position(16, 1)
    assert positions.at(("server", "listen", 1, "deeper")) == Position(6, 3)
    assert positions.at(("nowhere",)) == Position(1, 1)


@pytest.mark.parametrize("text", ["a", "[a", "a = ", "a = [1", 'a = "x', "= 1", "a = {b = 1"])
def test_text_that_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="offset"):
        locate(text)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(toml_texts())
def test_every_path_of_any_file_points_at_its_text(text: str) -> None:
    value = tomllib.loads(text)
    positions = locate(text)
    assert set(positions.found) == set(_paths(value, ()))
    for path in positions.found:
        offset = _offset(text, positions, path)
        if isinstance(path[-1], str):
            assert _is_key(text, offset, path[-1])
        else:
            assert _is_element(text, offset, _get(value, path))
            assert path[-1] == 0 or _offset(text, positions, (*path[:-1], path[-1] - 1)) < offset


def _paths(value: Any, path: Path) -> Iterator[Path]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for step, each in items:
        yield (*path, step)
        yield from _paths(each, (*path, step))


def _get(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _offset(text: str, positions: Positions, path: Path) -> int:
    line, column = positions.found[path]
    return sum(len(each) + 1 for each in text.split("\n")[: line - 1]) + column - 1


def _is_key(text: str, offset: int, key: str) -> bool:
    """Whether a key of this name begins here, and no earlier."""
    if re.match(r"[A-Za-z0-9_-]", text[offset - 1 : offset] or " "):
        return False
    return any(
        _loads(f"{text[offset:end]} = 1") == {key: 1} for end in range(offset + 1, len(text))
    )


def _is_element(text: str, offset: int, element: Any) -> bool:
    """Whether an array's element of this value begins here, or the header of one."""
    ends = range(offset + 1, len(text) + 1)
    if any(_loads(f"x = {text[offset:end]}") == {"x": element} for end in ends):
        return True
    return isinstance(element, dict) and text.startswith("[[", offset)


def _loads(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
