"""Errors in the vendor's words, and the vendor's errors in ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kurolproxy import errors
from kurolproxy.protocols.anthropic.codec import CODEC
from tests.fakes.recordings import expected, ids, needs_recordings, select

KINDS = [
    (errors.BadRequest("x"), "invalid_request_error"),
    (errors.Unauthenticated("x"), "authentication_error"),
    (errors.PlanForbidden("x"), "permission_error"),
    (errors.ManagementForbidden("x"), "permission_error"),
    (errors.ResourceNotFound("x"), "not_found_error"),
    (errors.ModelNotFound("x"), "not_found_error"),
    (errors.RouteNotFound("x"), "not_found_error"),
    (errors.MethodNotAllowed("x", allow=("POST",)), "invalid_request_error"),
    (errors.RequestTimeout("x"), "invalid_request_error"),
    (errors.Conflicting("x"), "invalid_request_error"),
    (errors.Unprocessable([("", "x")]), "invalid_request_error"),
    (errors.TooLarge("x"), "request_too_large"),
    (errors.UnsupportedMedia("x"), "invalid_request_error"),
    (errors.RateLimited("x"), "rate_limit_error"),
    (errors.ConcurrencyLimited("x"), "rate_limit_error"),
    (errors.TooManyFailures("x"), "rate_limit_error"),
    (
        errors.QuotaExceeded("x", resets_at=datetime(2026, 1, 1, tzinfo=UTC)),
        "rate_limit_error",
    ),
    (errors.UpstreamError("x"), "api_error"),
    (errors.UpstreamTimeout("x"), "timeout_error"),
    (errors.Overloaded("x"), "overloaded_error"),
    (errors.Internal("x"), "api_error"),
]


@pytest.mark.parametrize(("error", "kind"), KINDS, ids=[each[0].kind for each in KINDS])
def test_error_has_the_type_of_its_kind(error: errors.GatewayError, kind: str) -> None:
    assert json.loads(CODEC.encode_error(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "req_1",
    }


def test_every_kind_of_error_is_in_the_table() -> None:
    kinds = {each.kind for each in vars(errors).values() if _is_error(each)}
    # A foreign host gets one line of plain text.
    assert kinds == {each[0].kind for each in KINDS} | {"context_too_long", "misdirected"}


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, errors.GatewayError)


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("The context is full.", "prompt is too long: The context is full."),
        ("prompt is too long: 9 > 8", "prompt is too long: 9 > 8"),
    ],
)
def test_prompt_that_is_too_long_is_told_in_the_words_that_claude_code_knows(
    message: str, written: str
) -> None:
    body = json.loads(CODEC.encode_error(errors.ContextTooLong(message), "req_1"))
    assert body["error"] == {"type": "invalid_request_error", "message": written}


def test_thread_that_is_not_kept_is_told_as_the_sdks_look_for_it() -> None:
    error = errors.BadRequest("Send all messages.", param="thread")
    body = json.loads(CODEC.encode_error(error, "req_1"))
    assert body["error"]["details"] == {"error_code": "thread_not_found"}


def test_message_with_quotes_and_lone_surrogates_is_json() -> None:
    body = json.loads(CODEC.encode_error(errors.BadRequest('a "b"\n\ud800'), 'r"1'))
    assert body["error"]["message"].startswith('a "b"\n')
    assert body["request_id"] == 'r"1'


WORDS = [
    (400, "prompt is too long: 3 tokens > 2 maximum", True, False),
    (400, "This model's maximum context length is 8 tokens.", True, False),
    (413, "Your input exceeds the context window of this model.", True, False),
    (400, "input length and `max_tokens` exceed context limit", True, False),
    (500, "prompt is too long", False, False),
    (413, "Request exceeds the maximum size", False, False),
    (400, "Invalid `signature` in `thinking` block", False, True),
    (400, "thought_signature is not valid", False, True),
    (400, "the encrypted_content could not be verified", False, True),
    (401, "Request signature expired", False, False),
    (400, "`thinking` blocks in the latest\nassistant message cannot be modified", False, True),
    (400, "thinking is not supported by this model", False, False),
]


@pytest.mark.parametrize(("status", "message", "too_long", "proof"), WORDS, ids=str)
def test_words_of_a_refusal_are_understood(
    status: int, message: str, too_long: bool, proof: bool
) -> None:
    body = json.dumps({"type": "error", "error": {"type": "x", "message": message}}).encode()
    fault = CODEC.decode_error(status, body)
    assert (fault.message, fault.too_long, fault.signature) == (message, too_long, proof)


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"[]", b"null", b"5", b"{}", b'{"error":{}}', b'{"error":[1]}'], ids=repr
)
def test_body_that_says_nothing_has_no_words_or_its_own(body: bytes) -> None:
    fault = CODEC.decode_error(500, body)
    assert fault.message in ("", "\ufffd\ufffd")


RECORDED = [each for each in select(protocol="messages") if each.status != 200]


@needs_recordings
@pytest.mark.parametrize("recorded", RECORDED, ids=ids(RECORDED))
def test_recorded_error_is_understood(recorded: Any) -> None:
    fault = CODEC.decode_error(recorded.status, recorded.response)
    told = expected(recorded).error
    assert told
    assert told in fault.message
    assert fault.too_long == told.startswith("prompt is too long")
