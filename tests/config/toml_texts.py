"""Random TOML texts in every way of writing a value: headers, dotted keys, inline, multi-line.

Only ``tomllib`` says what a text means; nothing here is shared with the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[..., Any]

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_KEYS = st.one_of(
    st.sampled_from(["a", "b", "c-1", "9", "x_y"]),
    st.text(st.characters(codec="utf-8"), max_size=4),
)
_TEXTS = st.one_of(
    st.text(st.sampled_from("ab'\"\\\n\t #=[]{},."), max_size=12),
    st.text(st.characters(codec="utf-8"), max_size=6),
)
_RAW_SCALARS = st.sampled_from(
    [
        "0",
        "-17",
        "1_000",
        "0xff",
        "1e3",
        "-0.5",
        "inf",
        "true",
        "false",
        "1979-05-27",
        "07:32:00",
        "1979-05-27T07:32:00.5Z",
    ]
)


class Raw(str):
    """A scalar as TOML writes it."""

    __slots__ = ()


_SCALARS = st.one_of(_TEXTS, _RAW_SCALARS.map(Raw), st.just(Raw("1979-05-27 07:32:00")))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=3)),
    max_leaves=8,
)


@st.composite
def toml_texts(draw: Draw) -> str:
    """Draw a valid TOML text."""
    tree = draw(st.dictionaries(_KEYS, _VALUES, max_size=4))
    text = "\n".join(_table(draw, (), tree)) + draw(st.sampled_from(["", "\n", " # end"]))
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


def _table(draw: Draw, path: tuple[str, ...], table: dict[str, Any]) -> list[str]:
    """Return the lines of a table: its pairs first, then those that get a header."""
    pairs: list[str] = []
    later: list[str] = []
    for key, value in draw(st.permutations(list(table.items()))):
        inner = (*path, key)
        if isinstance(value, dict) and draw(st.booleans()):
            later += _headed(draw, inner, value)
        elif _is_tables(value) and draw(st.booleans()):
            for each in value:
                later += [_line(draw, f"[[{_dotted(draw, inner)}]]"), *_table(draw, inner, each)]
        else:
            pairs += [_line(draw, pair) for pair in _pairs(draw, key, value)]
    return pairs + later


def _headed(draw: Draw, path: tuple[str, ...], table: dict[str, Any]) -> list[str]:
    lines = _table(draw, path, table)
    has_header = bool(lines) and re.match(r"\s*\[", lines[0])
    if has_header and draw(st.booleans()):
        return lines  # only its sub-tables are written
    return [_line(draw, f"[{_dotted(draw, path)}]"), *lines]


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _pairs(draw: Draw, key: str, value: Any) -> list[str]:
    """Return ``key = value``, or dotted keys for each value of a table."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        dot = draw(st.sampled_from([".", " . "]))
        inner = [pair for name, each in value.items() for pair in _pairs(draw, name, each)]
        return [f"{_key(draw, key)}{dot}{pair}" for pair in inner]
    return [f"{_key(draw, key)}{draw(st.sampled_from(['=', ' = ']))}{_value(draw, value)}"]


def _value(draw: Draw, value: Any) -> str:
    if isinstance(value, dict):
        pairs = [pair for key, each in value.items() for pair in _pairs(draw, key, each)]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        blank = draw(st.sampled_from(["", " ", "\n  ", " # ],\n"]))
        items = [f"{blank}{_value(draw, each)}{blank}" for each in value]
        comma = "," if items and draw(st.booleans()) else ""
        return "[" + ",".join(items) + comma + blank + "]"
    return str(value) if isinstance(value, Raw) else _string(draw, value)


def _string(draw: Draw, text: str) -> str:
    forms = [_basic(text), _multi_line(text)]
    if not re.search(r"['\x00-\x08\x0a-\x1f\x7f]", text):
        forms.append(f"'{text}'")
    if "'''" not in text and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        forms.append(f"'''\n{text}'''")
    return str(draw(st.sampled_from(forms)))


def _basic(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _multi_line(text: str) -> str:
    inner = "".join(each if each in '"\n\t' else _escaped(each) for each in text)
    return '"""\n' + inner.replace('"""', '""\\"') + '"""'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char


def _key(draw: Draw, key: str) -> str:
    forms = [_basic(key)]
    if re.fullmatch(r"[A-Za-z0-9_-]+", key):
        forms.append(key)
    if not re.search(r"['\x00-\x08\x0a-\x1f\x7f]", key):
        forms.append(f"'{key}'")
    return str(draw(st.sampled_from(forms)))


def _dotted(draw: Draw, path: tuple[str, ...]) -> str:
    dot = draw(st.sampled_from([".", " . "]))
    return str(dot.join(_key(draw, key) for key in path))


def _line(draw: Draw, text: str) -> str:
    before = draw(st.sampled_from(["", "  ", "\n", "# [comment]\n\t"]))
    return f"{before}{text}{draw(st.sampled_from(['', ' ', ' # = [x]']))}"
