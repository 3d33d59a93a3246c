"""Real Responses traffic, replayed in place through decoder, encoder and scanner."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.ir import Block, Failure, Finish, Response, Usage
from kurolproxy.protocols import seal
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_responses.codec import CODEC
from tests.fakes.recordings import (
    Call,
    Recording,
    expected,
    ids,
    needs_recordings,
    normal_json,
    select,
)
from tests.protocols.openai_responses.answer_support import (
    CUTS,
    check_guarantees,
    context,
    cut,
    decode,
    scan,
    sdk_streamed,
    write,
)

pytestmark = needs_recordings

RECORDED = select(protocol="responses")
STREAMS = [each for each in RECORDED if each.stream]
WHOLE = [each for each in RECORDED if not each.stream and each.status == 200]
ERRORS = [each for each in RECORDED if each.status != 200]

REASONS = {"completed": "stop", "complete": "other", "incomplete/max_output_tokens": "length"}


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
    reason = "tool_calls" if seen.calls else REASONS[seen.finish or ""]
    assert answer.finish == Finish(reason)  # type: ignore[arg-type]  # the table has its words
    assert seen.usage is not None
    assert answer.usage == Usage(*seen.usage)


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
        assert found.usage == Usage(*seen.usage)


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
            said = scan([recorded.response])[1].emitted_bytes
            assert wrote <= said <= 2 * wrote + 200
    else:
        # Only an answer that does not tell its usage is weighed.
        silent = json.dumps({**json.loads(recorded.response), "usage": None}).encode()
        assert CODEC.passed_answer(silent, "mine").emitted_bytes >= wrote
