"""What holds for any answer and any stream."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import Block, Failure, Finish, Response, Seal, StreamEvent, ToolHead
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols import wire
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.gemini.quick import Lesson
from kurolproxy.protocols.gemini.response import decode_response, encode_response
from kurolproxy.protocols.gemini.scan import GeminiArrayScanner, GeminiScanner
from kurolproxy.protocols.gemini.stream_decode import GeminiDecoder
from kurolproxy.protocols.gemini.stream_encode import GeminiArrayEncoder, GeminiEncoder
from kurolproxy.tokens import Usage
from tests.protocols.gemini.answering import context, decode, frame, response, scan
from tests.protocols.streaming import check_named, cuts
from tests.unfolding import unfold

# What JSON can say: no halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAME = st.text("abcdefgh_-", min_size=1, max_size=8)
ARGS = st.dictionaries(NAME, st.integers() | TEXT, max_size=3)
USAGE = st.fixed_dictionaries(
    {},
    optional={"promptTokenCount": st.integers(0, 99), "candidatesTokenCount": st.integers(0, 99)},
)
PROOF = st.binary(min_size=1, max_size=9).map(lambda raw: wire.compact(raw.hex())[1:-1])

PARTS = st.one_of(
    st.builds(lambda text: {"text": text}, TEXT | st.just("")),
    st.builds(lambda text: {"text": text}, TEXT),
    st.builds(lambda text: {"text": text, "thought": True}, TEXT),
    st.builds(
        lambda text, proof: {"text": text, "thoughtSignature": proof}, TEXT | st.just(""), PROOF
    ),
    st.builds(lambda name, args: {"functionCall": {"name": name, "args": args}}, NAME, ARGS),
    st.builds(
        lambda name, proof: {"functionCall": {"name": name}, "thoughtSignature": proof}, NAME, PROOF
    ),
    st.just({"executableCode": {"language": "PYTHON", "code": "1"}}),
)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return the frames of a valid stream; most have one part, as the vendor's."""
    out = [
        frame(response(*draw(st.lists(PARTS, min_size=1, max_size=2)), usageMetadata=draw(USAGE)))
        for _ in range(draw(st.integers(0, 8)))
    ]
    out.insert(draw(st.integers(0, len(out))), b"data: {}\n\n")
    reason = draw(st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "NEW"]))
    return [*out, frame(response({"text": ""}, reason=reason, usageMetadata=draw(USAGE)))]


@given(st.data())
def test_any_split_of_a_stream_gives_the_same_events(data: st.DataObject) -> None:
    stream = b"".join(data.draw(streams()))
    events = decode(data.draw(cuts(stream)))
    check_named(events)
    assert events == decode([stream])
    assert isinstance(events[-1], Finish)


@given(st.data())
def test_any_split_of_a_stream_passes_the_same(data: st.DataObject) -> None:
    stream = b"".join(data.draw(streams()))
    for kind in (GeminiScanner, GeminiArrayScanner):
        whole, first = scan([stream], "public", kind=kind)
        out, scanner = scan(data.draw(cuts(stream)), "public", kind=kind)
        assert out == whole
        assert (scanner.usage, scanner.content) == (first.usage, first.content)
        assert scanner.finished


@given(st.data())
def test_what_passes_is_what_the_decoder_reads(data: st.DataObject) -> None:
    stream = b"".join(data.draw(streams()))
    out, scanner = scan(data.draw(cuts(stream)), "public")
    events, before = decode([out]), decode([stream])
    assert events[1:] == before[1:]
    folded = fold(before)
    assert isinstance(folded, Response)
    assert scanner.usage == folded.usage
    array, _ = scan(data.draw(cuts(stream)), "public", kind=GeminiArrayScanner)
    assert decode_response(json.loads(array), context()) == events


@given(st.data())
def test_any_bytes_give_a_whole_event_list(data: st.DataObject) -> None:
    stream = bytearray(b"".join(data.draw(streams())))
    for _ in range(data.draw(st.integers(0, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    pieces = data.draw(cuts(bytes(stream)))
    check_named(decode(pieces))
    for kind in (GeminiScanner, GeminiArrayScanner):
        scan(pieces, "public", kind=kind)


_SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _SHORT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_SHORT, inner),
    max_leaves=6,
)
_WORDS = """candidates content parts text thought thoughtSignature functionCall name args id error
    partialArgs jsonPath stringValue numberValue nullValue willContinue finishReason finishMessage
    usageMetadata promptTokenCount promptFeedback blockReason groundingMetadata groundingChunks
    groundingSupports segment startIndex endIndex partIndex groundingChunkIndices web uri title
    citationMetadata citationSources inlineData index modelVersion responseId status code details
    message"""
SHAPES = st.recursive(
    JSON | st.sampled_from(["$.a[0]", "STOP", "MAX_TOKENS"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_WORDS.split()), inner)
    ),
    max_leaves=12,
)


@st.composite
def responses(draw: st.DrawFn) -> Any:
    """Return something that looks like a response, with anything in its places."""
    part = st.dictionaries(st.sampled_from(_WORDS.split()), SHAPES, max_size=4)
    candidate = {"content": {"parts": draw(st.lists(part | SHAPES, max_size=3))}}
    more = draw(st.dictionaries(st.sampled_from(_WORDS.split()), SHAPES, max_size=2))
    return {"candidates": [{**candidate, **more}], **more}


@given(SHAPES | responses())
def test_any_document_is_an_answer_or_a_failure(value: Any) -> None:
    check_named(decode_response(value, context()))
    check_named(decode_response([value], context()))
    check_named(decode([frame(value), frame(value)]))
    for kind in (GeminiScanner, GeminiArrayScanner):
        scan([frame(value), frame(value)], "public", kind=kind)


PLAIN = st.builds(
    lambda text, thought, usage: response(
        {"text": text, **({"thought": True} if thought else {})}, usageMetadata=usage
    ),
    TEXT,
    st.booleans(),
    USAGE,
)


class Forgetful(Lesson):
    """Never reads quickly."""

    __slots__ = ()

    def read(self, frame: bytes) -> str:
        return ""


@given(st.lists(PLAIN | st.just({}) | SHAPES, max_size=12), st.booleans(), st.data())
def test_quick_reading_is_the_full_reading(
    values: list[Any], ascii_only: bool, data: st.DataObject
) -> None:
    texts = (json.dumps(value, ensure_ascii=ascii_only) for value in values)
    stream = bytearray(b"".join(f"data: {text}\r\n\r\n".encode() for text in texts))
    for _ in range(data.draw(st.integers(0, 2)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    slow = GeminiDecoder(context())
    slow._lesson = Forgetful()
    events = slow.feed(bytes(stream))
    assert decode([bytes(stream)]) == events + slow.close()


SEALS = st.none() | st.builds(Seal, st.just("g"), st.just("gemini"), PROOF)
BLOCKS = st.lists(
    st.one_of(
        st.builds(Block, st.sampled_from(["text", "reasoning"]), TEXT),
        st.builds(lambda text, seal: Block("reasoning", text, seal=seal), TEXT, SEALS),
        st.builds(
            lambda name, args: Block("tool", json.dumps(args), ToolHead("c", name)), NAME, ARGS
        ),
    ),
    max_size=5,
)


def _neat(blocks: list[Block]) -> tuple[Block, ...]:
    """Return blocks with different neighbours, calls with ids of their own."""
    out: list[Block] = []
    for at, block in enumerate(blocks):
        if block.tool is not None:
            out.append(Block("tool", block.text, ToolHead(f"c{at}", block.tool.name)))
        elif not out or out[-1].kind != block.kind or out[-1].seal is not None:
            out.append(block)
    return tuple(out)


def _said(response: Response) -> list[Any]:
    """Return what an answer says: a proof as it was before its travel."""
    return [
        (block.kind, block.tool, _proof(block.seal), _words(block)) for block in response.blocks
    ]


def _words(block: Block) -> Any:
    return json.loads(block.text) if block.tool is not None else block.text


def _proof(seal: Seal | None) -> str:
    found = seals.decode(seal.proof) if seal is not None else None
    return found.proof if found is not None else (seal.proof if seal is not None else "")


@given(BLOCKS)
def test_what_is_written_is_read_again(blocks: list[Block]) -> None:
    neat = _neat(blocks)
    reason = "tool_calls" if any(block.tool for block in neat) else "length"
    answer = Response("", "m1", neat, Usage(5, 7, 1, 0, 3), Finish(reason))  # type: ignore[arg-type]
    events: list[StreamEvent] = unfold(answer)
    streamed = fold(decode([GeminiEncoder(context()).encode(events)]))
    array = json.loads(GeminiArrayEncoder(context()).encode(events))
    whole = fold(decode_response(json.loads(encode_response(answer, context())), context()))
    for found in (streamed, fold(decode_response(array, context())), whole):
        assert not isinstance(found, Failure)
        assert (found.usage, found.finish) == (answer.usage, answer.finish)
        assert _said(found) == _said(answer)
