"""What holds for any request and any stream."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Block,
    Delta,
    Failure,
    Finish,
    Message,
    Request,
    Response,
    StreamEvent,
    Text,
    Tool,
    ToolCall,
    ToolHead,
    ToolResult,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.names import sanitise
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.protocols.openai_chat.quick import Lesson
from kurolproxy.protocols.openai_chat.request import KNOWN
from kurolproxy.sse import read_frame
from kurolproxy.tokens import Usage
from tests.protocols.openai_chat.support import body, chunk, context, decode, encoded, frame, scan
from tests.protocols.streaming import check_named, cuts
from tests.unfolding import unfold

DONE = b"data: [DONE]\n\n"
# What JSON can say: no halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAME = st.text("abcdefgh_-", min_size=1, max_size=8)
ARGS = st.dictionaries(NAME, st.integers() | TEXT, max_size=3).map(json.dumps)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return the frames of a valid stream: words, then calls whose fragments may interleave."""
    words = st.tuples(st.sampled_from(["content", "reasoning_content", "reasoning"]), TEXT)
    out = [chunk({"role": "assistant", "content": ""})]
    out += [chunk({name: text}) for name, text in draw(st.lists(words, max_size=6))]
    out += [chunk(delta) for delta in draw(calls())]
    out.insert(draw(st.integers(0, len(out))), b": ping\n\n")
    out.append(chunk({}, draw(st.sampled_from(["stop", "length", "tool_calls"]))))
    if draw(st.booleans()):
        usage = {"prompt_tokens": draw(st.integers(0, 99)), "completion_tokens": 7}
        out.append(frame({"model": "up", "choices": [], "usage": usage}))
    return [*out, DONE]


@st.composite
def calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return the deltas of some calls, begun in order, their fragments in any mixture."""
    arguments = draw(st.lists(ARGS, max_size=3))
    left = []
    for index, text in enumerate(arguments):
        at = draw(st.integers(0, len(text)))
        left.append([(index, text[:at]), (index, text[at:])])
    begun = [
        {"index": index, "id": f"c{index}", "function": {"name": f"f{index}", "arguments": ""}}
        for index in range(len(arguments))
    ]
    more = []
    while any(left):
        index, text = draw(st.sampled_from([each for each in left if each])).pop(0)
        more.append({"index": index, "function": {"arguments": text}})
    return [{"tool_calls": [each]} for each in (*begun, *more)]


@given(st.data())
def test_any_split_of_a_stream_gives_the_same_events(data: st.DataObject) -> None:
    stream = b"".join(data.draw(streams()))
    pieces = data.draw(cuts(stream))
    events = decode(pieces)
    check_named(events)
    assert events == decode([stream])
    assert isinstance(events[-1], Finish)


@given(st.data())
def test_any_split_of_a_stream_passes_the_same(data: st.DataObject) -> None:
    stream = b"".join(data.draw(streams()))
    whole, first = scan([stream], "public", hide_usage=True)
    out, scanner = scan(data.draw(cuts(stream)), "public", hide_usage=True)
    assert out == whole
    assert (scanner.usage, scanner.content) == (first.usage, first.content)
    assert scanner.finished


@given(st.data())
def test_any_bytes_give_a_whole_event_list(data: st.DataObject) -> None:
    stream = bytearray(b"".join(data.draw(streams())))
    for _ in range(data.draw(st.integers(0, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    events = decode(data.draw(cuts(bytes(stream))))
    check_named(events)
    scan([bytes(stream)], "public", hide_usage=True)


_SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | _SHORT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_SHORT, inner),
    max_leaves=6,
)
WORDS = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "index",
        "function",
        "error",
        "usage",
        "arguments",
        "name",
        "id",
        "text",
        "type",
        "finish_reason",
        "reasoning",
        "custom",
        "annotations",
        "model",
        "role",
        "parameters",
    ]
)
SHAPES = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner), max_leaves=12
)


@given(SHAPES)
def test_any_document_is_an_answer_or_a_failure(value: Any) -> None:
    check_named(CODEC.decode_response(value, context()))
    check_named(decode([frame(value), DONE]))


@given(st.lists(st.tuples(st.sampled_from(["content", "reasoning"]), TEXT, TEXT), max_size=8))
def test_quick_reading_is_the_full_reading(said: list[tuple[str, str, str]]) -> None:
    lesson = Lesson()
    for name, text, pad in said:
        data = chunk({name: text}, obfuscation=pad if pad.isalnum() else "a")
        quick = lesson.read(data)
        full = wire.loads(read_frame(data)[1])
        if quick:
            assert (lesson.kind, quick) == ("text" if name == "content" else "reasoning", text)
        lesson.learn(data, full)
        # Learned or not: what was just learned can be read, or needs unescaping.
        assert lesson.read(data) in (text, "")


def test_quick_reading_is_used() -> None:
    lesson = Lesson()
    for text, pad, expected in (("a", "x1", ""), ("b", "", "b"), ("c", "yy", "c"), ('"', "", "")):
        data = chunk({"content": text}, obfuscation=pad)
        assert lesson.read(data) == expected
        lesson.learn(data, wire.loads(read_frame(data)[1]))


BLOCKS = st.lists(
    st.one_of(
        st.builds(Block, st.sampled_from(["text", "reasoning", "refusal"]), TEXT),
        st.builds(lambda name, args: Block("tool", args, ToolHead("c", name)), NAME, ARGS),
    ),
    max_size=5,
)


def _neat(blocks: list[Block]) -> tuple[Block, ...]:
    """Return blocks with different neighbours, calls with ids of their own."""
    out: list[Block] = []
    for at, block in enumerate(blocks):
        if block.tool is not None:
            out.append(Block("tool", block.text, ToolHead(f"c{at}", block.tool.name)))
        elif not out or out[-1].kind != block.kind:
            out.append(block)
    return tuple(out)


@given(BLOCKS)
def test_what_is_streamed_is_read_again(blocks: list[Block]) -> None:
    neat = _neat(blocks)
    reason = "tool_calls" if any(block.tool for block in neat) else "length"
    response = Response("", "m1", neat, Usage(5, 7, 1, 2, 3), Finish(reason))  # type: ignore[arg-type]
    events: list[StreamEvent] = unfold(response)
    found = fold(decode([CODEC.encoder(context()).encode(events)]))
    assert isinstance(found, Response)
    assert (found.blocks, found.usage, found.finish) == (neat, response.usage, response.finish)


@given(BLOCKS)
def test_what_is_answered_whole_is_read_again(blocks: list[Block]) -> None:
    neat = _neat(blocks)
    response = Response("", "m1", neat, Usage(5, 7), Finish("length"))
    document = json.loads(CODEC.encode_response(response, context()))
    found = fold(CODEC.decode_response(document, context()))
    assert not isinstance(found, Failure)
    for kind in ("text", "reasoning", "refusal"):
        assert _said(found, kind) == _said(response, kind)
    tools = [(block.tool, block.text) for block in found.blocks if block.tool]
    assert tools == [(block.tool, block.text) for block in neat if block.tool]


def _said(response: Response, kind: str) -> str:
    return "".join(block.text for block in response.blocks if block.kind == kind)


CALL_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
USERS = st.builds(
    lambda texts: Message("user", tuple(map(Text, texts))), st.lists(TEXT, min_size=1, max_size=3)
)


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """Return an assistant's message with calls, and their results."""
    ids = draw(st.lists(CALL_IDS, max_size=3, unique=True))
    made = [ToolCall(each, draw(NAME), draw(ARGS)) for each in ids]
    said = Message("assistant", (Text(draw(TEXT)), *made))
    results = tuple(ToolResult(each.id, (Text(draw(TEXT)),)) for each in made)
    return [said, Message("tool", results)] if results else [said]


@given(USERS, st.lists(st.tuples(turns(), USERS), max_size=3))
def test_what_is_asked_upstream_is_read_again(
    first: Message, rest: list[tuple[list[Message], Message]]
) -> None:
    messages = [first, *(each for turn, user in rest for each in (*turn, user))]
    asking = normalise(
        Request("m1", tuple(messages), system=(Text("S"),), tools=(Tool("f", schema={}),))
    )
    again = normalise(CODEC.decode_request(body(asking)))
    assert [each.text for each in again.system] == ["S"]
    assert [_plain(each) for each in again.messages] == [_plain(each) for each in asking.messages]


def _plain(message: Message) -> tuple[Any, ...]:
    """Return role, text, call ids and arguments of a message."""
    said: list[Any] = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            said.append((sanitise(part.id, 40), part.name, part.args))
        elif isinstance(part, ToolResult):
            texts = [each.text for each in part.parts if isinstance(each, Text)]
            said.append((sanitise(part.call_id, 40), texts))
        elif isinstance(part, Text):
            said.append(part.text)
    return message.role, *said


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), SHAPES), st.lists(SHAPES, max_size=3))
def test_any_request_is_read_or_refused(fields: dict[str, Any], messages: list[Any]) -> None:
    document = {**fields, "model": "m1", "messages": messages}
    try:
        found = encoded(CODEC.decode_request(document))
    except BadRequest:
        return
    assert found[0].body["messages"]


def test_deltas_are_never_empty() -> None:
    events = decode([chunk({"content": ""}), chunk({"reasoning": ""}), DONE])
    assert not any(isinstance(event, Delta) for event in events)
