"""Real Anthropic traffic, replayed in place through decoder, encoder and scanner."""

from __future__ import annotations

import json

import pytest

from kurolproxy.ir import Failure, Finish, Response
from kurolproxy.protocols import seal
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.anthropic.scan import MessagesScanner
from kurolproxy.protocols.base import PassFacts
from kurolproxy.protocols.folding import fold
from tests.fakes.recordings import Recording, expected, ids, needs_recordings, select
from tests.protocols.anthropic.support import context, decode, sdk_message
from tests.protocols.replaying import (
    check_passed_answer,
    check_said,
    estimate_of_silent,
    proofs_of,
    usage_of,
    words_written,
)
from tests.protocols.streaming import CUTS, check_guarantees, cut, whole_frames

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


def check(answer: Response, recorded: Recording) -> None:
    """Hold an answer against what an independent reader sees in the recording."""
    seen = expected(recorded)
    check_said(answer, recorded)
    assert proofs_of(answer) == seen.proofs
    assert answer.finish.reason == REASONS[seen.finish or ""]
    assert (answer.finish.detail or "") == seen.refusal
    assert answer.usage is not None
    assert answer.usage == usage_of(recorded)


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
        assert found.usage == usage_of(recorded)


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
    found = MessagesScanner(model, PassFacts())
    pieces = cut(recorded.response, size or len(recorded.response))
    return found, b"".join(map(found.feed, whole_frames(pieces, with_rest=True)))


@pytest.mark.parametrize("recorded", WHOLE, ids=ids(WHOLE))
def test_recorded_answer_passes_through(recorded: Recording) -> None:
    check_passed_answer(CODEC, recorded)


@pytest.mark.parametrize("recorded", WHOLE + STREAMS, ids=ids(WHOLE + STREAMS))
def test_estimate_of_a_recorded_answer_errs_high(recorded: Recording) -> None:
    wrote = words_written(recorded)
    if recorded.stream:
        if expected(recorded).error is None:
            assert passed(recorded, 0, "mine")[0].emitted_bytes >= wrote
    else:
        assert estimate_of_silent(CODEC, recorded) >= wrote
