"""Real Anthropic traffic, replayed in place through decoder, encoder and scanner."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import Block, Failure, Finish, Response, Usage
from kurolproxy.protocols import seal
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.anthropic.scan import MessagesScanner
from kurolproxy.protocols.base import PassFacts
from kurolproxy.protocols.folding import fold
from kurolproxy.sse import FrameSplitter
from tests.fakes.recordings import (
    Call,
    Recording,
    expected,
    ids,
    needs_recordings,
    normal_json,
    select,
)
from tests.protocols.anthropic.support import (
    CUTS,
    check_guarantees,
    context,
    cut,
    decode,
    sdk_message,
)

pytestmark = needs_recordings

ANSWERS = [each for each in select(protocol="messages") if each.status == 200]
STREAMS = [each for each in ANSWERS if each.stream]
WHOLE = [each for each in ANSWERS if not each.stream and "count-tokens" not in each.stem]

# What the vendor's word for the end is in ours, where no call of the client's was made.
REASONS = {
    "end_turn": "stop",
    "pause_turn": "stop",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "content_filter",
}


def text_of(answer: Response, kind: str) -> str:
    return "".join(block.text for block in answer.blocks if block.kind == kind)


def call_of(block: Block) -> Call:
    assert block.tool is not None
    return Call(block.tool.name, normal_json(block.text))


def check(answer: Response, recorded: Recording) -> None:
    """Hold an answer against what an independent reader sees in the recording."""
    seen = expected(recorded)
    assert text_of(answer, "text") == seen.text
    assert text_of(answer, "reasoning") == seen.reasoning
    assert tuple(call_of(each) for each in answer.blocks if each.kind == "tool") == seen.calls
    assert tuple(each.seal.proof for each in answer.blocks if each.seal) == seen.proofs
    assert answer.finish.reason == REASONS[seen.finish or ""]
    assert (answer.finish.detail or "") == seen.refusal
    assert seen.usage is not None
    assert answer.usage == Usage(*seen.usage)


@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_read(recorded: Recording) -> None:
    events = decode([recorded.response])
    check_guarantees(events)
    answer, seen = fold(events), expected(recorded)
    if seen.error is not None:
        assert answer == Failure(seen.error, "overloaded")
    elif seen.restarts:
        assert answer == Failure("a second message began inside the first")
    elif not seen.whole:
        assert answer == Failure("the stream ended before its message did")
    else:
        assert not isinstance(answer, Failure)
        check(answer, recorded)


@pytest.mark.parametrize("recorded", WHOLE, ids=ids(WHOLE))
def test_recorded_answer_is_read(recorded: Recording) -> None:
    answer = fold(CODEC.decode_response(json.loads(recorded.response), context()))
    assert not isinstance(answer, Failure)
    check(answer, recorded)


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_reads_the_same_however_it_is_cut(recorded: Recording, size: int) -> None:
    assert decode(cut(recorded.response, size)) == decode([recorded.response])


@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_written_as_the_sdk_reads_it(recorded: Recording) -> None:
    events = decode([recorded.response])
    if not isinstance(events[-1], Finish):
        return
    message = sdk_message(CODEC.encoder(context()).encode(events))
    seen = expected(recorded)
    found = {"text": "", "thinking": ""}
    for block in message.content:
        if block.type in found:
            found[block.type] += getattr(block, block.type)
    assert found == {"text": seen.text, "thinking": seen.reasoning}
    signed = [block.signature for block in message.content if block.type == "thinking"]
    proofs = [seal.decode(each) for each in signed]
    assert tuple(each.proof for each in proofs if each) == seen.proofs
    assert message.usage.output_tokens == (seen.usage.completion if seen.usage else 0)


@pytest.mark.parametrize("size", [*CUTS, 0])
@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_passes_through_unchanged(recorded: Recording, size: int) -> None:
    found, out = passed(recorded, size, model_of(recorded))
    seen = expected(recorded)
    if seen.error is not None:
        assert found.failure == seen.error
        assert recorded.response.startswith(out)
        assert b"event: error" not in out
        return
    assert found.failure is None
    assert out == recorded.response
    assert found.finished == seen.whole
    assert found.content
    if seen.whole and seen.usage is not None:
        assert found.usage == Usage(*seen.usage)


@pytest.mark.parametrize("size", [*CUTS, 0])
@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_only_the_model_of_a_recorded_stream_is_replaced(recorded: Recording, size: int) -> None:
    if expected(recorded).error is not None:
        return
    _, out = passed(recorded, size, "mine")
    old = f'"model":"{model_of(recorded)}"'.encode()
    spaced = old.replace(b":", b": ")
    count = recorded.response.count(b"event: message_start")
    wanted = recorded.response.replace(old, b'"model":"mine"', count)
    assert out == wanted.replace(spaced, b'"model": "mine"', count)
    assert out != recorded.response


def model_of(recorded: Recording) -> str:
    head = recorded.response.split(b"data: ", 1)[1].split(b"\n", 1)[0]
    model: str = json.loads(head)["message"]["model"]
    return model


def passed(recorded: Recording, size: int, model: str) -> tuple[MessagesScanner, bytes]:
    """Pass a recording through as the relay does; 0 means in one piece."""
    found, splitter = MessagesScanner(model, PassFacts()), FrameSplitter(1 << 24)
    out = b""
    for piece in cut(recorded.response, size or len(recorded.response)):
        whole = splitter.cut(piece)
        out += found.feed(whole) if whole else b""
    rest = splitter.rest()
    return found, out + (found.feed(rest) if rest else b"")


@pytest.mark.parametrize("recorded", WHOLE, ids=ids(WHOLE))
def test_recorded_answer_passes_through(recorded: Recording) -> None:
    body = json.loads(recorded.response)
    same = CODEC.passed_answer(recorded.response, body["model"])
    assert same.body is recorded.response
    assert same.failure is None
    other = CODEC.passed_answer(recorded.response, "mine")
    assert json.loads(other.body) == {**body, "model": "mine"}
    assert len(other.body) - len(recorded.response) == len("mine") - len(body["model"])
    seen = expected(recorded)
    assert seen.usage is not None
    assert same.usage == other.usage == Usage(*seen.usage)


@pytest.mark.parametrize("recorded", WHOLE + STREAMS, ids=ids(WHOLE + STREAMS))
def test_estimate_of_a_recorded_answer_errs_high(recorded: Recording) -> None:
    seen: Any = expected(recorded)
    wrote = len((seen.text + seen.reasoning).encode())
    if recorded.stream:
        if seen.error is None:
            assert passed(recorded, 0, "mine")[0].emitted_bytes >= wrote
    else:
        # Only an answer that does not tell its usage is weighed.
        silent = json.dumps({**json.loads(recorded.response), "usage": None}).encode()
        assert CODEC.passed_answer(silent, "mine").emitted_bytes >= wrote
