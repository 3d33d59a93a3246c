"""The end of a value and its depth are found as a parser would find them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.protocols import nesting

# Texts full of what a scanner of bytes could trip over.
TEXTS = st.text(st.sampled_from('\\"[]{}:,a\n\ud7ffé'), max_size=12)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=40,
)
CONTAINERS = VALUES.filter(lambda value: isinstance(value, list | dict))


def end_of(data: bytes, at: int = 0, room: int = 100) -> int:
    """Walk to the end of a value."""
    steps = nesting.walk(data, at, room)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return int(done.value)


def pauses(data: bytes) -> int:
    """Count the pauses of a walk."""
    return sum(1 for _ in nesting.walk(data, 0, 100))


def depth(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth, value if isinstance(value, list) else value.values()), default=0)


@given(CONTAINERS, st.booleans(), st.binary(max_size=5), st.binary(max_size=5))
def test_value_ends_where_it_was_written_to_end(
    value: Any, ascii_only: bool, before: bytes, behind: bytes
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert end_of(before + text + behind, len(before)) == len(before) + len(text)


@given(CONTAINERS, st.integers(0, 8))
def test_value_deeper_than_its_room_is_refused(value: Any, room: int) -> None:
    text = json.dumps(value).encode()
    if depth(value) <= room:
        assert end_of(text, 0, room) == len(text)
    else:
        with pytest.raises(nesting.TooDeep):
            end_of(text, 0, room)


@pytest.mark.parametrize("levels", [1, 14, 15, 16, 17, 40, 99, 100])
def test_patterns_for_more_levels_are_made_when_needed(levels: int) -> None:
    text = b'{"a":' * (levels - 1) + b"[1]" + b"}" * (levels - 1)
    assert end_of(text, 0, 100) == len(text)
    assert nesting.deeper(b"[" + text + b"]", 100) is (levels == 100)


@pytest.mark.parametrize("levels", [101, 130, 250, 299, 300, 301])
def test_more_levels_than_a_pattern_has_are_walked(levels: int) -> None:
    text = b'["x",' * (levels - 1) + b"[1]" + b"]" * (levels - 1)
    if levels <= 300:
        assert end_of(text, 0, 300) == len(text)
    else:
        with pytest.raises(nesting.TooDeep):
            end_of(text, 0, 300)


@given(VALUES, st.integers(0, 200))
def test_truncated_value_is_broken(value: Any, cut: int) -> None:
    text = json.dumps([value, "end"]).encode()
    with pytest.raises(nesting.Broken):
        end_of(text[: cut % (len(text) - 1) + 1])


@given(st.text(st.sampled_from('[]{}",:\\ 1'), max_size=30))
def test_walk_ends_whatever_it_is_given(text: str) -> None:
    data = ("[" + text).encode()
    try:
        end = end_of(data, 0, 5)
    except (nesting.Broken, nesting.TooDeep):
        return
    assert data[end - 1 : end] in (b"]", b"}")


@pytest.mark.parametrize("run", range(14))
def test_backslashes_before_a_quote_are_paired(run: int) -> None:
    slashes = "\\" * run
    text = f'["{slashes}"'.encode()
    closed = run % 2 == 0
    # An odd run escapes the quote: the string goes on to the next one.
    data = text + (b"]" if closed else b']"]')
    assert end_of(data) == len(data)


def test_long_walk_pauses() -> None:
    message = json.dumps({"role": "user", "content": "x" * 3_000}).encode()
    body = b"[" + b",".join([message] * 400) + b"]"
    assert 3 <= pauses(body) <= len(body) // nesting.STEP
    assert pauses(body[: len(message) + 1] + b"]") == 0


@pytest.mark.parametrize("levels", [3, 16, 100])
def test_value_larger_than_a_step_ends_at_its_end(levels: int) -> None:
    long = json.dumps("code \"with\\' [quotes}\n" * 30_000).encode()
    inner = b'[1,{"a":%b},[]]' % long
    text = b"[" * levels + inner + b',"x"' + b"]" * levels
    assert end_of(text + b"]]", 0, levels + 2) == len(text)
    with pytest.raises(nesting.TooDeep):
        end_of(text, 0, levels + 1)
    with pytest.raises(nesting.Broken):
        end_of(text[:-1], 0, levels + 2)
    assert pauses(text) >= 2 if levels < 99 else True


@pytest.mark.parametrize("piece", [b"x", b"\\\\", b'\\"', b"\\u0416"])
def test_long_string_is_walked_in_steps(piece: bytes) -> None:
    data = b'"' + piece * (3 * nesting.STEP // len(piece)) + b'",1'
    steps = nesting.text(data, 0)
    taken = sum(1 for _ in steps)
    assert 2 <= taken <= 4
    assert nesting.finished(nesting.text(data, 0)) == len(data) - 2
    with pytest.raises(nesting.Broken):
        nesting.finished(nesting.text(data[:-3], 0))


@pytest.mark.parametrize(
    ("data", "deep"),
    [
        (b"[" * 400_000, True),
        (b"[" + b"[]," * 400_000 + b"[]]", False),
        (b"[" * 15 + b"[[]]," * 200_000 + b"[]" + b"]" * 15, False),
        (b"[" * 15 + b"[[[[]]]]," * 100_000 + b"[]" + b"]" * 15, True),
        (b'["' + b"[" * 400_000 + b'"]', False),
        (b"[" * 15 + b"[]," * 100_000, False),
    ],
    ids=["open", "flat", "fits", "deeper", "in a string", "broken"],
)
def test_depth_of_a_large_document_is_found_in_steps(data: bytes, deep: bool) -> None:
    assert nesting.deeper(data, 18) is deep
    assert nesting.finished(nesting.deeper_in_steps(data, 18)) is deep
