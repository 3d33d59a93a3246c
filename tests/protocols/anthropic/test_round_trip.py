"""A conversation keeps its roles, words, ids and arguments through decode and encode."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.protocols import wire
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise
from tests.protocols.anthropic.support import target

# The vendor refuses blank texts: nobody has them in a history.
WORDS = st.text(min_size=1, max_size=12).filter(str.strip)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
INPUTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=3)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,16}", fullmatch=True)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Make a conversation as the vendor wants it: every call answered, roles in turn."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": [text(draw(WORDS))]}]
    for turn in range(draw(st.integers(0, 3))):
        calls = [
            {
                "type": "tool_use",
                "id": f"toolu_{turn}_{at}",
                "name": draw(NAMES),
                "input": draw(INPUTS),
            }
            for at in range(draw(st.integers(0, 2)))
        ]
        said = [text(draw(WORDS))] if draw(st.booleans()) or not calls else []
        results: list[dict[str, Any]] = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": draw(WORDS)}
            for call in calls
        ]
        words = [text(draw(WORDS))] if draw(st.booleans()) or not calls else []
        messages.append({"role": "assistant", "content": said + calls})
        messages.append({"role": "user", "content": results + words})
    return messages


def sent(messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    body = {"model": "m1", "max_tokens": 9, "messages": messages, **fields}
    reader = Reader(normalise(CODEC.decode_request(wire.loads(json.dumps(body)))))
    outgoing = CODEC.encode_request(reader, target(auto_cache=False))
    assert reader.losses() == []
    written: dict[str, Any] = wire.loads(wire.dumps(outgoing.body))
    return written


@given(conversations(), st.lists(WORDS, max_size=2))
def test_conversation_comes_out_as_it_went_in(
    messages: list[dict[str, Any]], system: list[str]
) -> None:
    blocks = [text(words) for words in system]
    written = sent(messages, system=blocks)
    assert written["messages"] == messages
    assert written.get("system", []) == blocks


@given(conversations())
def test_same_conversation_always_has_the_same_bytes(messages: list[dict[str, Any]]) -> None:
    assert wire.dumps(sent(messages)) == wire.dumps(sent(messages))


@given(conversations(), WORDS)
def test_more_conversation_keeps_the_bytes_before_it(
    messages: list[dict[str, Any]], words: str
) -> None:
    more = [*messages, {"role": "assistant", "content": [text("x")]}]
    more.append({"role": "user", "content": [text(words)]})
    before = wire.dumps(sent(messages)["messages"]).removesuffix(b"]")
    assert wire.dumps(sent(more)["messages"]).startswith(before)
