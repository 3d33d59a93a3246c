"""What holds for every upstream with every client, whatever the upstream sends."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kurolproxy.errors import UpstreamError
from kurolproxy.ir import (
    Block,
    Failure,
    Finish,
    Message,
    ProtocolName,
    ReasoningWish,
    Request,
    Response,
    Start,
    StreamEvent,
    Text,
    Tool,
    ToolHead,
)
from kurolproxy.protocols import asked, wire
from kurolproxy.protocols.base import AnswerContext, Circumstances, TargetView
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.registry import CODECS
from kurolproxy.protocols.translator import Rewriter, Translation, translate
from kurolproxy.tokens import Usage
from tests.fakes.recordings import PROTOCOLS, Recording, select
from tests.protocols.streaming import cuts
from tests.unfolding import unfold

PAIRS = [(upstream, client) for upstream in CODECS for client in CODECS]
CROSSED = [(upstream, client) for upstream, client in PAIRS if upstream != client]
every_pair = pytest.mark.parametrize(("upstream", "client"), PAIRS)
every_cross = pytest.mark.parametrize(("upstream", "client"), CROSSED)

# Large ones say nothing new here, and take their time.
RECORDED: dict[str, list[Recording]] = {
    protocol: [
        each for each in select(protocol=name) if each.status == 200 and len(each.response) < 15_000
    ]
    for name, protocol in PROTOCOLS.items()
}
# Stands in every id that we make, and in none of a vendor.
MADE = "made-here-"
REQUEST = Request(
    "public",
    (Message("user", (Text("Hi"),)),),
    stream=True,
    max_tokens=50_000,
    tools=(Tool("get", schema={"type": "object", "properties": {}}),),
    reasoning=ReasoningWish(effort="high"),
    include_usage=True,
)


# --- one call ---------------------------------------------------------------------------


def translation(
    upstream: ProtocolName, client: ProtocolName, stops: tuple[str, ...] = ()
) -> Translation:
    """Return one call of a client of one protocol to an upstream of another.

    Its ids are counted, so that two of these give the same bytes.

    Args:
        stops: stop texts that we have to cut at ourselves.
    """
    speaks, rules = CODECS[client], CODECS[client].passing
    view = TargetView("public", "public", max_output_tokens=50_000)
    body = speaks.encode_request(Reader(normalise(REQUEST)), view).body
    name = None if rules.model_in_body else "public"
    read = asked.read(wire.dumps(body), rules, 100, model=name, stream=True)
    around = Circumstances(1_700_000_000, new_ids())
    call = translate(speaks, CODECS[upstream], read, replace(view, model="up"), around)
    if stops:
        assert call.outgoing is not None
        call.outgoing = replace(call.outgoing, local_stop=stops)
    return call


def sent(call: Translation, pieces: Sequence[bytes]) -> tuple[bytes, Rewriter]:
    """Return what the client gets for a stream, an error at its end included."""
    rewriter = call.rewriter()
    out = bytearray()
    for piece in (*filter(None, pieces), b""):
        out += rewriter.feed(piece) if piece else rewriter.close()
        if rewriter.failure is not None:
            out += rewriter.error(UpstreamError("broken"), "req_1")
            break
        if rewriter.finished:
            break
    return bytes(out), rewriter


def new_ids() -> Callable[[str], str]:
    """Return a maker of ids that counts each kind for itself.

    Whether a message or its first call gets its id first may hang on the cuts.
    """
    numbers: defaultdict[str, count[int]] = defaultdict(count)
    return lambda prefix: f"{prefix}{MADE}{next(numbers[prefix])}"


def context() -> AnswerContext:
    return AnswerContext("up", 1_700_000_000, new_ids(), REQUEST)


def read_back(client: ProtocolName, stream: bytes) -> list[StreamEvent]:
    """Return what a client of this protocol reads."""
    decoder = CODECS[client].decoder(context())
    return [*decoder.feed(stream), *decoder.close()]


def read_whole(client: ProtocolName, body: bytes) -> Response | Failure:
    """Return what a client of this protocol reads of an answer that is not streamed."""
    return fold(CODECS[client].decode_response(wire.load_exact(body), context()))


# --- what an upstream sends --------------------------------------------------------------

# What JSON can say: no halves of surrogate pairs.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ARGUMENTS = st.dictionaries(WORDS, st.integers(-9, 9) | WORDS, max_size=2).map(json.dumps)
BLOCKS = st.one_of(
    st.builds(Block, st.sampled_from(["text", "reasoning", "refusal"]), WORDS),
    st.builds(lambda args: Block("tool", args, ToolHead("call_1", "get")), ARGUMENTS),
)
FINISHES = st.sampled_from(["stop", "length", "content_filter"]).map(Finish)
USAGES = st.builds(
    lambda prompt, read, completion, thought: Usage(
        prompt + read, completion + thought, cache_read=read, reasoning=thought
    ),
    *[st.integers(0, 99)] * 4,
)


# A whole Chat answer has one place for each of them.
ORDER = ("reasoning", "text", "refusal", "tool")


@st.composite
def answers(draw: st.DrawFn, *, in_order: bool = False) -> Response:
    """Return any answer; its calls have ids of their own."""
    drawn = draw(st.lists(BLOCKS, max_size=4))
    if in_order:
        drawn.sort(key=lambda block: ORDER.index(block.kind))
    blocks = [
        replace(block, tool=replace(block.tool, id=f"call_{at}")) if block.tool else block
        for at, block in enumerate(drawn)
    ]
    finish = draw(FINISHES)
    if any(block.tool for block in blocks) and finish.reason == "stop":
        finish = Finish("tool_calls")
    return Response("r1", "up", tuple(blocks), draw(USAGES), finish)


def written(upstream: ProtocolName, answer: Response) -> bytes:
    """Return an answer as a vendor of this protocol streams it."""
    return CODECS[upstream].encoder(context()).encode(unfold(answer))


@st.composite
def streams(draw: st.DrawFn, upstream: ProtocolName) -> bytes:
    """Return a stream of this protocol: recorded, or made up."""
    recorded = [each.response for each in RECORDED[upstream] if each.stream]
    made = answers().map(lambda answer: written(upstream, answer))
    return draw(st.sampled_from(recorded) | made if recorded else made)


@st.composite
def bodies(draw: st.DrawFn, upstream: ProtocolName) -> bytes:
    """Return a whole answer of this protocol: recorded, or made up."""
    recorded = [each.response for each in RECORDED[upstream] if not each.stream]
    made = answers().map(lambda answer: CODECS[upstream].encode_response(answer, context()))
    return draw(st.sampled_from(recorded) | made if recorded else made)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Return bytes with some of them replaced, removed, repeated or swapped for others."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 40, len(data))))
        kept, gone = (data[:start], data[end:]), data[start:end]
        new = draw(st.sampled_from([b"", gone * 2, gone[::-1]]) | st.sampled_from(TROUBLE))
        data = new.join(kept)
    return data


TROUBLE = [
    *(bytes([value]) for value in (0, 0x22, 0x5C, 0x7B, 0x7D, 0x5B, 0x80, 0xFF)),
    *(b"null", b"-1", b"1e999", b"true", b"[]", b"{}", b'""', b'"x"', b"NaN", b"\\ud800"),
    *(b"\n\n", b"\r\n\r\n", b"data: ", b"event: error\n", b": ping\n\n", b"[DONE]"),
    *(b'"error":{"message":"no"},', b'"index":7,', b'"type":"x",', b'"usage":0,'),
]


# --- the properties ----------------------------------------------------------------------


@every_pair
@settings(max_examples=50)
@given(data=st.data())
def test_client_gets_the_same_bytes_however_the_upstream_cut_them(
    upstream: ProtocolName, client: ProtocolName, data: st.DataObject
) -> None:
    stream = data.draw(streams(upstream))
    whole, first = sent(translation(upstream, client), [stream])
    out, rewriter = sent(translation(upstream, client), data.draw(cuts(stream)))
    assert out == whole
    assert (rewriter.usage, rewriter.failure) == (first.usage, first.failure)
    assert (rewriter.finished, rewriter.content) == (first.finished, first.content)


@every_pair
@settings(max_examples=50)
@given(data=st.data())
def test_stream_of_any_bytes_ends_once_and_raises_nothing(
    upstream: ProtocolName, client: ProtocolName, data: st.DataObject
) -> None:
    stream = data.draw(mutated(data.draw(streams(upstream))))
    out, rewriter = sent(translation(upstream, client), data.draw(cuts(stream)))
    assert rewriter.finished is (rewriter.failure is None)
    if upstream == client:
        return
    events = read_back(client, out)
    assert isinstance(events[-1], Finish if rewriter.finished else Failure)


@every_pair
@settings(max_examples=50)
@given(data=st.data())
def test_answer_of_any_bytes_is_an_answer_or_a_failure(
    upstream: ProtocolName, client: ProtocolName, data: st.DataObject
) -> None:
    answer = translation(upstream, client).whole(data.draw(mutated(data.draw(bodies(upstream)))))
    if answer.failure is None and upstream != client:
        assert isinstance(read_whole(client, answer.body), Response)


@every_cross
@settings(max_examples=50)
@given(answer=answers(in_order=True))
def test_whole_answer_and_its_stream_say_the_same(
    upstream: ProtocolName, client: ProtocolName, answer: Response
) -> None:
    body = CODECS[upstream].encode_response(answer, context())
    out, _ = sent(translation(upstream, client), [written(upstream, answer)])
    whole = translation(upstream, client).whole(body)
    assert said(fold(read_back(client, out))) == said(read_whole(client, whole.body))


@every_cross
@settings(max_examples=50)
@given(data=st.data())
def test_stopped_stream_is_the_stopped_answer(
    upstream: ProtocolName, client: ProtocolName, data: st.DataObject
) -> None:
    stream = data.draw(streams(upstream))
    stops = tuple(data.draw(st.lists(some_stop(stream), min_size=1, max_size=3)))
    gathered = translation(upstream, client, stops).gather(stream)
    out, rewriter = sent(translation(upstream, client, stops), data.draw(cuts(stream)))
    assert (rewriter.failure is None) == (gathered.failure is None)
    if gathered.failure is None:
        assert said(fold(read_back(client, out))) == said(read_whole(client, gathered.body))


def some_stop(stream: bytes) -> st.SearchStrategy[str]:
    """Return stop texts, most of which occur: pieces of the stream itself."""
    text = stream.decode("utf-8", "replace")
    at = st.integers(0, max(len(text) - 1, 0))
    pieces = st.builds(lambda start, size: text[start : start + size], at, st.integers(1, 5))
    return pieces.filter(bool) | st.sampled_from(["a", "e", " ", ".", "the", "4"])


def said(answer: Response | Failure) -> Any:
    """Return what an answer says, its neighbouring blocks of one kind as one.

    An id of our making is like any other. A call without arguments in an answer that was
    cut may be one that was cut before its arguments: it says nothing.
    """
    assert isinstance(answer, Response)
    texts = {
        kind: "".join(block.text for block in answer.blocks if block.kind == kind)
        for kind in ("text", "reasoning", "refusal")
    }
    reason = answer.finish.reason
    calls = [(made(b.tool.id), b.tool.name, value(b.text)) for b in answer.blocks if b.tool]
    heard = [call for call in calls if call[2] != {} or reason != "length"]
    return texts, heard, reason, answer.finish.stop_sequence


def made(name: str) -> str:
    """Return an id without the number that we gave it."""
    return name.rstrip("0123456789") if MADE in name else name


def value(arguments: str) -> Any:
    """Return arguments as the value they are: none are an empty object, a cut text is itself."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def test_all_pairs_are_tried() -> None:
    assert len(PAIRS) == len(CODECS) ** 2
    assert isinstance(unfold(Response("r", "m", (), None, Finish("stop")))[0], Start)
