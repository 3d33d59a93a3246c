"""Real Responses traffic, replayed in place through decoder, encoder and scanner."""

from __future__ import annotations

import json

import pytest

from kurolproxy.ir import Failure, Finish, Response
from kurolproxy.protocols import seal
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_responses.codec import CODEC
from tests.fakes.recordings import Recording, expected, ids, needs_recordings, select
from tests.protocols.openai_responses.answer_support import (
    context,
    decode,
    scan,
    sdk_streamed,
    write,
)
from tests.protocols.replaying import (
    check_passed_answer,
    check_said,
    estimate_of_silent,
    proofs_of,
    usage_of,
    words_written,
)
from tests.protocols.streaming import CUTS, check_guarantees, cut

pytestmark = needs_recordings

RECORDED = select(protocol="responses")
STREAMS = [each for each in RECORDED if each.stream]
WHOLE = [each for each in RECORDED if not each.stream and each.status == 200]
ERRORS = [each for each in RECORDED if each.status != 200]

REASONS = {"completed": "stop", "complete": "other", "incomplete/max_output_tokens": "length"}


def check(answer: Response, recorded: Recording) -> None:
    """Hold an answer against what an independent reader sees in the recording."""
    seen = expected(recorded)
    check_said(answer, recorded)
    assert proofs_of(answer) == seen.proofs
    reason = "tool_calls" if seen.calls else REASONS[seen.finish or ""]
    assert answer.finish == Finish(reason)  # type: ignore[arg-type]  # the table has its words
    assert answer.usage is not None
    assert answer.usage == usage_of(recorded)


@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_read(recorded: Recording) -> None:
    events = decode([recorded.response])
    check_guarantees(events)
    answer, seen = fold(events), expected(recorded)
    if seen.error is not None:
        assert answer == Failure(seen.error)
    elif not seen.whole:
        assert answer == Failure("the upstream ended its answer in the middle")
    else:
        assert isinstance(answer, Response)
        check(answer, recorded)


@pytest.mark.parametrize("recorded", WHOLE, ids=ids(WHOLE))
def test_recorded_answer_is_read(recorded: Recording) -> None:
    answer = fold(CODEC.decode_response(json.loads(recorded.response), context()))
    assert isinstance(answer, Response)
    check(answer, recorded)


@pytest.mark.parametrize("recorded", ERRORS, ids=ids(ERRORS))
def test_recorded_error_is_read(recorded: Recording) -> None:
    fault = CODEC.decode_error(recorded.status, recorded.response)
    assert fault.message == expected(recorded).error


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_reads_the_same_however_it_is_cut(recorded: Recording, size: int) -> None:
    assert decode(cut(recorded.response, size)) == decode([recorded.response])


@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_written_as_the_sdk_reads_it(recorded: Recording) -> None:
    events = decode([recorded.response])
    if not isinstance(events[-1], Finish):
        return
    response, words = sdk_streamed(write(events))
    seen = expected(recorded)
    assert (words, response.output_text) == (seen.text, seen.text)
    thoughts = [item for item in response.output if item.type == "reasoning"]
    assert "".join(part.text for item in thoughts for part in item.summary) == seen.reasoning
    proofs = [seal.decode(item.encrypted_content or "") for item in thoughts]
    assert tuple(each.proof for each in proofs if each) == seen.proofs
    assert response.usage.output_tokens == (seen.usage.completion if seen.usage else 0)


def end_of(recorded: Recording) -> bytes:
    """Return the stream up to its terminal event; some vendors write ``[DONE]`` behind it."""
    return recorded.response.removesuffix(b"data: [DONE]\n\n")


@pytest.mark.parametrize("size", [*CUTS, 0])
@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_passes_through_unchanged(recorded: Recording, size: int) -> None:
    pieces = cut(recorded.response, size or len(recorded.response))
    out, found = scan(pieces, model_of(recorded))
    seen = expected(recorded)
    if seen.error is not None:
        assert found.failure == seen.error
        assert recorded.response.startswith(out)
        assert b"event: error" not in out
        return
    assert found.failure is None
    assert out == end_of(recorded)
    assert found.finished == seen.whole
    assert found.content
    if seen.whole and seen.usage is not None:
        assert found.usage == usage_of(recorded)


@pytest.mark.parametrize("size", [*CUTS, 0])
@pytest.mark.parametrize("recorded", STREAMS, ids=ids(STREAMS))
def test_only_the_model_of_a_recorded_stream_is_replaced(recorded: Recording, size: int) -> None:
    if expected(recorded).error is not None:
        return
    out, _ = scan(cut(recorded.response, size or len(recorded.response)), "mine")
    old = f'"model":"{model_of(recorded)}"'.encode()
    assert out == end_of(recorded).replace(old, b'"model":"mine"')
    assert out != end_of(recorded)


def model_of(recorded: Recording) -> str:
    head = recorded.response.split(b"data: ", 1)[1].split(b"\n", 1)[0]
    model: str = json.loads(head)["response"]["model"]
    return model


@pytest.mark.parametrize("recorded", WHOLE, ids=ids(WHOLE))
def test_recorded_answer_passes_through(recorded: Recording) -> None:
    check_passed_answer(CODEC, recorded)


@pytest.mark.parametrize("recorded", WHOLE + STREAMS, ids=ids(WHOLE + STREAMS))
def test_estimate_of_a_recorded_answer_errs_high(recorded: Recording) -> None:
    wrote = words_written(recorded)
    if recorded.stream:
        if expected(recorded).error is None:
            said = scan([recorded.response])[1].emitted_bytes
            assert wrote <= said <= 2 * wrote + 200
    else:
        assert estimate_of_silent(CODEC, recorded) >= wrote
