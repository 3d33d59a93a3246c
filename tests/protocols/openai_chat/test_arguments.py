"""The end of a call's arguments, found while they come in fragments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.protocols import wire
from kurolproxy.protocols.openai_chat.arguments import ArgumentsEnd

# What brackets, strings and escapes are made of, and a few words.
PIECES = st.sampled_from(
    ["{", "}", "[", "]", '"', "\\", '\\"', ":", ",", " ", "\n", "1", "x", "true", "null", '"a":']
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text('ab"\\{}[]é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\{', max_size=3), inner)
    ),
    max_leaves=8,
)


class Counted(Iterable[str]):
    """Fragments that count how often they are read from the beginning."""

    def __init__(self, fragments: list[str]) -> None:
        self.fragments = fragments
        self.reads = 0

    def __iter__(self) -> Iterator[str]:
        self.reads += 1
        return iter(self.fragments)


def parses(text: str) -> bool:
    try:
        value = wire.loads(text)
    except wire.WireError:
        return False
    # A number may go on.
    return isinstance(value, bool) or not isinstance(value, int | float)


def verdict(fragments: list[str]) -> bool:
    end = ArgumentsEnd()
    for fragment in fragments:
        end.feed(fragment)
    return end.whole(fragments)


@given(st.lists(PIECES, min_size=1, max_size=14))
def test_only_a_text_that_parses_is_whole(fragments: list[str]) -> None:
    assert verdict(fragments) is parses("".join(fragments))


@given(JSON, st.data())
def test_a_value_is_whole_at_its_last_character(value: object, data: st.DataObject) -> None:
    text = json.dumps([value], ensure_ascii=False)
    end, fed = ArgumentsEnd(), []
    while text:
        cut = data.draw(st.integers(1, len(text)))
        fed.append(text[:cut])
        text = text[cut:]
        end.feed(fed[-1])
        assert end.whole(fed) is (not text)


@pytest.mark.parametrize("literal", ["true", "false", "null", ' "x" ', " null\n"])
def test_literals_and_strings_are_whole_values(literal: str) -> None:
    assert verdict(list(literal))


def test_white_space_behind_a_value_changes_nothing_and_more_text_does() -> None:
    end, fed = ArgumentsEnd(), ["{}"]
    end.feed("{}")
    assert end.whole(fed)
    end.feed("\n")
    assert end.whole([*fed, "\n"])
    end.feed("x")
    assert not end.whole([*fed, "\n", "x"])


CODE = ['{"code":"', *["x = {1}; y = {2} }"] * 500]
BROKEN = ["{1}", *[" {2}"] * 500]
WORDS = ["never a value "] * 500


@pytest.mark.parametrize("fragments", [CODE, BROKEN, WORDS], ids=["string", "broken", "words"])
def test_earlier_fragments_are_not_read_again_for_each_new_one(fragments: list[str]) -> None:
    end, counted = ArgumentsEnd(), Counted([])
    for fragment in fragments:
        counted.fragments.append(fragment)
        end.feed(fragment)
        assert not end.whole(counted)
    assert counted.reads <= 1
