"""Real answers of Gemini, read in place: every oddity of the vendor's is survived."""

from __future__ import annotations

import json

import pytest

from kurolproxy.ir import Cited, Failure, Finish, Response, Sealed
from kurolproxy.protocols import wire
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.gemini.error import decode_error
from kurolproxy.protocols.gemini.response import decode_response, encode_response
from kurolproxy.protocols.gemini.scan import GeminiArrayScanner, passed_answer
from kurolproxy.protocols.gemini.stream_encode import GeminiArrayEncoder, GeminiEncoder
from kurolproxy.sse import FrameSplitter
from tests.fakes.recordings import Recording, expected, ids, needs_recordings, normal_json, select
from tests.protocols.gemini.answering import (
    context,
    decode,
    scan,
    sdk_answer,
    sdk_elements,
    sdk_parts,
    sdk_stream,
)
from tests.protocols.replaying import check_said, usage_of
from tests.protocols.streaming import CUTS, check_named, cut

pytestmark = needs_recordings

STREAMS = select(protocol="gemini", stream=True)
ANSWERS = [
    each
    for each in select(protocol="gemini", stream=False)
    if each.status == 200 and b'"totalTokens"' not in each.response
]
WHOLE = [each for each in ANSWERS if not each.response.startswith(b"[")]
ERRORS = [each for each in select(protocol="gemini") if each.status != 200]
BROKEN = ("UNEXPECTED_TOOL_CALL",)
LIMITS = {"MAX_TOKENS": "length", "MODEL_ARMOR": "content_filter"}


def test_there_are_recordings_of_every_kind() -> None:
    assert len(STREAMS) >= 9
    assert len(ANSWERS) >= 10
    assert len(ERRORS) >= 5


def check(found: Response | Failure, seen: Recording) -> None:
    """Assert that an answer says what the recording says."""
    wanted = expected(seen)
    if wanted.finish in BROKEN:
        assert isinstance(found, Failure)
        return
    assert isinstance(found, Response)
    check_said(found, seen)
    assert found.usage == usage_of(seen)
    usual = "tool_calls" if wanted.calls else "stop"
    assert found.finish.reason == LIMITS.get(wanted.finish or "", usual)
    assert (found.finish.detail or "") == wanted.refusal


@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_read(seen: Recording) -> None:
    events = decode([seen.response])
    check_named(events)
    check(fold(events), seen)


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_reads_the_same_however_it_is_cut(seen: Recording, size: int) -> None:
    assert decode(cut(seen.response, size)) == decode([seen.response])


@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_proofs_stand_directly_before_their_parts(seen: Recording) -> None:
    proofs = [each.seal.proof for each in decode([seen.response]) if isinstance(each, Sealed)]
    # A proof goes with the part of a tool that the vendor ran.
    unseen = seen.response.count(b'"executableCode"')
    assert proofs == list(expected(seen).proofs)[unseen:]


@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_written_as_the_sdk_reads_it(seen: Recording) -> None:
    events = decode([seen.response])
    written = GeminiEncoder(context()).encode(events)
    found, wanted = sdk_stream(written), expected(seen)
    parts = sdk_parts(found)
    assert "".join(part.get("text", "") for part in parts) == wanted.text
    calls = [part["function_call"] for part in parts if "function_call" in part]
    assert [(call["name"], normal_json(call["args"])) for call in calls] == [
        tuple(call) for call in wanted.calls
    ]
    assert sdk_elements(GeminiArrayEncoder(context()).encode(events)) == found


@pytest.mark.parametrize("size", [*CUTS, 1 << 20])
@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_passes_with_the_public_model_only(seen: Recording, size: int) -> None:
    out, scanner = scan(cut(seen.response, size), "public")
    named = seen.response.count(b'"modelVersion"')
    assert out.replace(b"public", b"").count(b'"modelVersion"') == named
    models = {json.loads(part[6:])["modelVersion"] for part in out.split(b"\r\n\r\n") if part}
    assert models == {"public"}
    assert scanner.finished
    assert scanner.usage == usage_of(seen)
    # The order of the events and what they say is as it was.
    again = decode([out])
    assert again[1:] == decode([seen.response])[1:]


@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_passes_untouched_under_its_own_name(seen: Recording) -> None:
    named = json.loads(seen.response.split(b"\r\n\r\n")[0][6:])["modelVersion"]
    out, scanner = scan([seen.response], named)
    assert out == seen.response
    assert scanner.finished


@pytest.mark.parametrize("size", [7, 64, 1 << 20])
@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_passes_as_an_array(seen: Recording, size: int) -> None:
    out, scanner = scan(cut(seen.response, size), "public", kind=GeminiArrayScanner)
    splitter = FrameSplitter(1 << 24)
    frames = [json.loads(frame[6:]) for frame in splitter.split(seen.response)]
    assert json.loads(out) == [{**each, "modelVersion": "public"} for each in frames]
    assert scanner.finished
    assert sdk_elements(out)


@pytest.mark.parametrize("seen", ANSWERS, ids=ids(ANSWERS))
def test_recorded_answer_is_read_and_written(seen: Recording) -> None:
    events = decode_response(wire.load_upstream(seen.response), context())
    check_named(events)
    found = fold(events)
    check(found, seen)
    if isinstance(found, Response):
        assert (sdk_answer(encode_response(found, context())).text or "") == expected(seen).text


@pytest.mark.parametrize("seen", WHOLE, ids=ids(WHOLE))
def test_recorded_answer_passes_with_the_public_model_only(seen: Recording) -> None:
    found = passed_answer(seen.response, "public")
    assert found.failure is None
    # Enums as numbers, which no SDK reads, are written once more as words.
    assert found.recode == ("enum-encoding" in seen.path)
    if found.recode:
        return
    assert found.usage == usage_of(seen)
    before, after = json.loads(seen.response), json.loads(found.body)
    assert after == {**before, "modelVersion": "public"}
    assert passed_answer(seen.response, before["modelVersion"]).body is seen.response


@pytest.mark.parametrize("seen", ERRORS, ids=ids(ERRORS))
def test_recorded_error_is_read(seen: Recording) -> None:
    fault = decode_error(seen.status, seen.response)
    assert fault.message == expected(seen).error
    assert not fault.too_long
    assert not fault.signature


def test_sources_of_a_store_are_not_cited() -> None:
    (seen,) = [each for each in STREAMS if "grounding" in each.stem]
    events = decode([seen.response])
    assert not any(isinstance(each, Cited) for each in events)
    assert isinstance(events[-1], Finish)
