"""Errors, both ways."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from openai.types.shared import ErrorObject

from kurolproxy import errors
from kurolproxy.errors import GatewayError
from kurolproxy.protocols.openai_chat.codec import CODEC

INVALID = "invalid_request_error"
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.BadRequest("m"), INVALID, None),
        (errors.ContextTooLong("m"), INVALID, "context_length_exceeded"),
        (errors.Unauthenticated("m"), INVALID, "invalid_api_key"),
        (errors.PlanForbidden("m"), "permission_error", "model_not_allowed"),
        (errors.ModelNotFound("m"), INVALID, "model_not_found"),
        (errors.RouteNotFound("m"), INVALID, "unknown_url"),
        (errors.MethodNotAllowed("m", allow=("POST",)), INVALID, "method_not_allowed"),
        (errors.RequestTimeout("m"), INVALID, "request_timeout"),
        (errors.TooLarge("m"), INVALID, "request_too_large"),
        (errors.UnsupportedMedia("m"), INVALID, "unsupported_media_type"),
        (errors.RateLimited("m"), "rate_limit_error", "rate_limit_exceeded"),
        (errors.ConcurrencyLimited("m"), "rate_limit_error", "concurrency_limit_exceeded"),
        (errors.TooManyFailures("m"), "rate_limit_error", "too_many_failures"),
        (
            errors.QuotaExceeded("m", resets_at=MIDNIGHT),
            "insufficient_quota",
            "insufficient_quota",
        ),
        (errors.UpstreamError("m"), "server_error", "upstream_error"),
        (errors.UpstreamTimeout("m"), "server_error", "upstream_timeout"),
        (errors.Overloaded("m"), "server_error", "overloaded"),
        (errors.Internal("m"), "server_error", "internal_error"),
        (GatewayError("m"), "server_error", "internal_error"),
    ],
)
def test_error_is_written_by_the_table(error: GatewayError, kind: str, code: str | None) -> None:
    found = json.loads(CODEC.encode_error(error, "r1"))["error"]
    ErrorObject.model_validate(found)
    assert list(found) == ["message", "type", "param", "code"]
    assert (found["message"], found["type"], found["code"]) == ("m", kind, code)


def _kinds(error: type[GatewayError]) -> set[str]:
    return {error.kind}.union(*map(_kinds, error.__subclasses__()))


def test_every_kind_has_a_row() -> None:
    # A foreign host gets one line of plain text.
    for kind in sorted(_kinds(GatewayError) - {"internal", "misdirected"}):
        error = GatewayError("m")
        named = type("Named", (GatewayError,), {"kind": kind})
        error.__class__ = named
        assert b'"internal_error"' not in CODEC.encode_error(error, "r1"), kind


@pytest.mark.parametrize(
    ("error", "param"),
    [
        (errors.BadRequest("m", param="messages[0].role"), "messages[0].role"),
        (errors.BadRequest("m"), None),
        (errors.ModelNotFound("m"), "model"),
    ],
)
def test_param_names_the_field(error: GatewayError, param: str | None) -> None:
    assert json.loads(CODEC.encode_error(error, "r1"))["error"]["param"] == param


def test_message_that_is_no_unicode_is_written_all_the_same() -> None:
    found = json.loads(CODEC.encode_error(errors.BadRequest('\ud800"\n'), "r1"))
    assert found["error"]["message"] == '\ufffd"\n'


TOO_LONG = b'{"error":{"message":"maximum context length is 8","code":"x"}}'
PROOF = b'{"error":{"message":"Invalid signature in thinking block"}}'


@pytest.mark.parametrize(
    ("status", "body", "too_long", "signature"),
    [
        (400, TOO_LONG, True, False),
        (413, TOO_LONG, True, False),
        (422, TOO_LONG, True, False),
        (429, TOO_LONG, False, False),
        (500, TOO_LONG, False, False),
        (400, PROOF, False, True),
        (401, PROOF, False, False),
        (400, b'{"error":{"message":"encrypted_content could not be verified"}}', False, True),
        (400, b"prompt is too long: 9 > 8", True, False),
        (400, b'{"error":{"message":"bad temperature"}}', False, False),
    ],
)
def test_fault_of_the_prompt_is_told_from_others(
    status: int, body: bytes, too_long: bool, signature: bool
) -> None:
    fault = CODEC.decode_error(status, body)
    assert (fault.too_long, fault.signature) == (too_long, signature)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":{"detail":["a","b"]}}}', "a; b"),
        (b'["a"]', "a"),
        (b'"a"', "a"),
        (b"null", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b" \n{broken", "{broken"),
        (b'{"error":{"message":"' + b"x" * 5000 + b'"}}', "x" * 2000),
        (b"y" * 50_000, "y" * 2000),
        (b"oops <html>", ""),
        (b"[" * 500, "[" * 500),
    ],
)
def test_any_body_is_read(body: bytes, message: str) -> None:
    assert CODEC.decode_error(400, body).message == message
