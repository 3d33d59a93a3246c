"""Real answers of vendors, read in place: every oddity of theirs is survived."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from kurolproxy.ir import Delta, Failure, Response, StreamEvent
from kurolproxy.protocols import wire
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.protocols.openai_chat.scan import passed_answer
from kurolproxy.tokens import Usage
from tests.fakes.recordings import (
    Expected,
    Recording,
    expected,
    ids,
    needs_recordings,
    normal_json,
    select,
)
from tests.protocols.openai_chat.support import (
    context,
    decode,
    encoded,
    scan,
    sdk_chunks,
    sdk_completion,
)
from tests.protocols.replaying import check_said, text_of
from tests.protocols.streaming import CUTS, check_named, cut

pytestmark = needs_recordings

STREAMS = select(protocol="chat", stream=True)
ANSWERS = [each for each in select(protocol="chat", stream=False) if each.status == 200]
ERRORS = [each for each in select(protocol="chat") if each.status != 200]
REQUESTS = [each for each in select(protocol="chat") if each.request is not None]


def tokens(seen: Recording) -> Usage | None:
    """Return the usage that must be read; xAI counts reasoning beside the completion."""
    figures = expected(seen).usage
    if figures is None:
        return None
    beside = figures.reasoning if seen.vendor == "xai" else 0
    return Usage(*figures._replace(completion=figures.completion + beside))


def check(found: Response, seen: Recording) -> None:
    """Assert that an answer says what the recording says."""
    wanted = expected(seen)
    check_said(found, seen)
    assert text_of(found, "refusal") == wanted.refusal
    assert found.usage == tokens(seen)
    assert (found.finish.reason == "tool_calls") == bool(wanted.calls)


def joined(events: list[StreamEvent]) -> list[Any]:
    """Return the events with neighbouring deltas as one."""
    out: list[Any] = []
    for event in events:
        if isinstance(event, Delta) and out and isinstance(out[-1], Delta):
            out[-1] = Delta(event.index, out[-1].text + event.text)
        else:
            out.append(event)
    return out


@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_read(seen: Recording) -> None:
    events = decode([seen.response])
    check_named(events)
    found, wanted = fold(events), expected(seen)
    if not wanted.whole:
        assert isinstance(found, Failure)
        assert found.message == (wanted.error or "the upstream ended its answer in the middle")
        return
    assert isinstance(found, Response)
    check(found, seen)


@pytest.mark.parametrize("size", CUTS)
@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_reads_the_same_however_it_is_cut(seen: Recording, size: int) -> None:
    assert decode(cut(seen.response, size)) == decode([seen.response])


@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_is_written_as_the_sdk_reads_it(seen: Recording) -> None:
    events = decode([seen.response])
    written = CODEC.encoder(context()).encode(events)
    assert sdk_chunks(written)
    if expected(seen).whole:
        message = sdk_completion(written).choices[0].message
        assert (message.content or "") == expected(seen).text
        calls = [call.function for call in message.tool_calls or () if call.type == "function"]
        found = [(call.name, normal_json(call.arguments)) for call in calls]
        assert found == [tuple(call) for call in expected(seen).calls]


@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_passes_untouched_under_its_own_name(seen: Recording) -> None:
    named = next(name for name in models(seen.response) if name)
    out, scanner = scan([seen.response], named)
    # Azure's first chunk has no name yet: it gets the client's.
    body = seen.response.replace(b'"model":""', f'"model":"{named}"'.encode())
    if expected(seen).error is not None:
        assert body.startswith(out)
        assert scanner.failure == expected(seen).error
        return
    assert scanner.failure is None
    assert scanner.finished == expected(seen).whole
    assert scanner.usage == tokens(seen)
    if b"data: [DONE]" in body:
        assert out.startswith(body.rstrip(b"\r\n"))


def models(stream: bytes) -> list[str]:
    """Return the model of every chunk."""
    datas = [part[6:] for part in stream.replace(b"\r", b"").split(b"\n\n")]
    chunks = [wire.loads(data) for data in datas if data.startswith(b"{") and data.endswith(b"}")]
    return [chunk["model"] for chunk in chunks]


@pytest.mark.parametrize("size", [*CUTS, 1 << 20])
@pytest.mark.parametrize("seen", STREAMS, ids=ids(STREAMS))
def test_recorded_stream_shows_the_public_model_however_it_is_cut(
    seen: Recording, size: int
) -> None:
    out, scanner = scan(cut(seen.response, size), "public", hide_usage=True)
    assert set(models(out)) <= {"public"}
    assert b'"choices":[],"usage":{' not in out
    again = decode([out], context())
    if scanner.failure is None:
        original = [event for event in joined(decode([seen.response])) if _content(event)]
        assert [event for event in joined(again) if _content(event)] == original


def _content(event: Any) -> bool:
    """Return whether an event is neither usage nor names the model."""
    return type(event).__name__ not in ("Start", "UsageSeen")


@pytest.mark.parametrize("seen", ANSWERS, ids=ids(ANSWERS))
def test_recorded_answer_is_read_and_written(seen: Recording) -> None:
    events = CODEC.decode_response(wire.load_upstream(seen.response), context())
    check_named(events)
    found = fold(events)
    assert isinstance(found, Response)
    check(found, seen)
    ChatCompletion.model_validate_json(CODEC.encode_response(found, context()))


@pytest.mark.parametrize("seen", ANSWERS, ids=ids(ANSWERS))
def test_recorded_answer_passes_with_the_public_model_only(seen: Recording) -> None:
    found = passed_answer(seen.response, "public")
    assert found.failure is None
    assert found.usage == tokens(seen)
    before, after = json.loads(seen.response), json.loads(found.body)
    assert after == {**before, "model": "public"}
    assert passed_answer(seen.response, before["model"]).body == seen.response


@pytest.mark.parametrize("seen", ERRORS, ids=ids(ERRORS))
def test_recorded_error_is_read(seen: Recording) -> None:
    fault = CODEC.decode_error(seen.status, seen.response)
    html = seen.response.lstrip().startswith(b"<")
    assert fault.message == ("" if html else expected(seen).error)
    assert fault.too_long == ("context_length" in seen.stem or b"context length" in seen.response)
    assert not fault.signature


@pytest.mark.parametrize("seen", REQUESTS, ids=ids(REQUESTS))
def test_recorded_request_is_read_and_written(seen: Recording) -> None:
    document = seen.request_json
    if not document["messages"]:
        return
    outgoing, _ = encoded(CODEC.decode_request(document))
    users = [message for message in document["messages"] if message["role"] == "user"]
    sent = [message for message in outgoing.body["messages"] if message["role"] == "user"]
    assert words(sent) == words(users)


def words(messages: list[Any]) -> str:
    """Return all text of messages."""
    parts = [part for message in messages for part in _parts(message["content"])]
    return "".join(part["text"] for part in parts if part["type"] == "text")


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def test_all_recordings_are_tried() -> None:
    assert len(STREAMS) > 20
    assert len(ANSWERS) > 15
    assert len(ERRORS) > 5
    assert isinstance(expected(ANSWERS[0]), Expected)
