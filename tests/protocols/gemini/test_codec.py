"""The records: a call through the whole translation, both forms of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.errors import UpstreamError
from kurolproxy.protocols.anthropic.codec import CODEC as ANTHROPIC
from kurolproxy.protocols.asked import read
from kurolproxy.protocols.base import Circumstances, Codec, TargetView
from kurolproxy.protocols.gemini.codec import ARRAY_CODEC, CODEC
from kurolproxy.protocols.openai_chat.codec import CODEC as CHAT
from kurolproxy.protocols.translator import Translation, translate
from tests.protocols.gemini.answering import END, response, sdk_elements, sdk_stream, words
from tests.protocols.streaming import ids

BODY = json.dumps({"contents": [{"parts": [{"text": "Hello"}]}]}).encode()
CHAT_STREAM = (
    b"".join(
        b"data: %b\n\n" % json.dumps(chunk).encode()
        for chunk in (
            {"choices": [{"index": 0, "delta": {"content": "Hi"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}},
        )
    )
    + b"data: [DONE]\n\n"
)


def translation(client: Codec, upstream: Codec, body: bytes = BODY) -> Translation:
    asked = read(body, client.passing, 100, model="m1", stream=True)
    return translate(client, upstream, asked, TargetView("up", "m1"), Circumstances(1, ids()))


def written(found: Translation, *pieces: bytes) -> bytes:
    rewriter = found.rewriter()
    out = b"".join(map(rewriter.feed, pieces)) + rewriter.close()
    assert rewriter.finished
    assert rewriter.usage is not None
    assert (rewriter.usage.prompt, rewriter.usage.completion) == (5, 7)
    return out


def texts(answers: list[Any]) -> str:
    return "".join(answer.text or "" for answer in answers)


def test_upstream_is_always_asked_for_events() -> None:
    for codec in (CODEC, ARRAY_CODEC):
        assert codec.path == "/v1beta/models/{model}:generateContent"
        assert codec.stream_path == "/v1beta/models/{model}:streamGenerateContent?alt=sse"
        assert codec.auth == ("x-goog-api-key", "")
        assert codec.counting is not None


def test_events_of_another_protocol_become_this_one() -> None:
    found = sdk_stream(written(translation(CODEC, CHAT), CHAT_STREAM))
    assert texts(found) == "Hi"
    assert {each.model_version for each in found} == {"m1"}


def test_events_of_another_protocol_become_an_array() -> None:
    assert texts(sdk_elements(written(translation(ARRAY_CODEC, CHAT), CHAT_STREAM))) == "Hi"


def test_events_pass_as_an_array() -> None:
    out = written(translation(ARRAY_CODEC, CODEC), words("H") + words("i"), END)
    assert texts(sdk_elements(out)) == "Hi"
    assert {each["modelVersion"] for each in json.loads(out)} == {"m1"}


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC])
def test_events_of_this_protocol_become_another(client: Codec) -> None:
    messages = [{"role": "user", "content": "x"}]
    body = {"model": "m1", "messages": messages, "max_tokens": 9, "stream": True}
    asked = read(json.dumps(body).encode(), client.passing, 100)
    found = translate(client, CODEC, asked, TargetView("up", "m1"), Circumstances(1, ids()))
    out = written(found, words("H") + words("i"), END)
    assert b'"H"' in out
    assert b'"i"' in out


@pytest.mark.parametrize("client", [CODEC, ARRAY_CODEC])
def test_document_where_a_stream_was_asked_for_is_spread(client: Codec) -> None:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 7}
    pieces = [response({"text": "H"}), response({"text": "i"}, reason="STOP", usageMetadata=usage)]
    for document in (pieces, response({"text": "Hi"}, reason="STOP", usageMetadata=usage)):
        rewriter = translation(client, CODEC).spread(json.dumps(document).encode())
        out = rewriter.close()
        assert rewriter.finished
        assert texts(sdk_elements(out) if client is ARRAY_CODEC else sdk_stream(out)) == "Hi"


def test_stream_where_a_document_was_asked_for_is_gathered() -> None:
    whole = translation(CODEC, CODEC).gather(words("H") + words("i") + END)
    assert json.loads(whole.body)["candidates"][0]["content"]["parts"] == [{"text": "Hi"}]


def test_late_error_of_an_array_knows_what_went_out() -> None:
    late = ARRAY_CODEC.late_error
    assert late is not None
    error = UpstreamError("Gone.")
    for pieces in ([], [words("H")], [words("H"), words("i")]):
        rewriter = translation(ARRAY_CODEC, CODEC).rewriter()
        out = b"".join(map(rewriter.feed, pieces)) + rewriter.error(error, "r")
        assert [*json.loads(out)[-1]] == ["error"]
        assert len(json.loads(out)) == len(pieces) + 1
    rewriter = translation(ARRAY_CODEC, CODEC).rewriter()
    out = rewriter.feed(words("H")) + ARRAY_CODEC.ping + late(error, "r", begun=True)
    assert [*json.loads(out)[1]] == ["error"]
    assert [*json.loads(ARRAY_CODEC.ping_early + late(error, "r", begun=False))[0]] == ["error"]
    assert CODEC.late_error is None
