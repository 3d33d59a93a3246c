"""Errors in this protocol's words, and an upstream's in ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIStatusError, OpenAI

from kurolproxy.errors import (
    BadRequest,
    ConcurrencyLimited,
    ContextTooLong,
    GatewayError,
    Internal,
    MethodNotAllowed,
    ModelNotFound,
    Overloaded,
    PlanForbidden,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    RouteNotFound,
    TooLarge,
    TooManyFailures,
    Unauthenticated,
    UnsupportedMedia,
    UpstreamError,
    UpstreamTimeout,
)
from kurolproxy.protocols.base import UpstreamFault
from kurolproxy.protocols.openai_responses.codec import CODEC

RESET = datetime(2026, 1, 2, tzinfo=UTC)
INVALID, LIMIT, SERVER = "invalid_request_error", "rate_limit_error", "server_error"

# The table of errors.md, column OpenAI.
TABLE: list[tuple[GatewayError, str, str | None, str | None]] = [
    (BadRequest("m"), INVALID, None, None),
    (BadRequest("m", param="input[0]"), INVALID, None, "input[0]"),
    (ContextTooLong("m"), INVALID, "context_length_exceeded", None),
    (Unauthenticated("m"), INVALID, "invalid_api_key", None),
    (PlanForbidden("m"), "permission_error", "model_not_allowed", None),
    (ModelNotFound("m"), INVALID, "model_not_found", "model"),
    (RouteNotFound("m"), INVALID, "unknown_url", None),
    (MethodNotAllowed("m", allow=("POST",)), INVALID, "method_not_allowed", None),
    (RequestTimeout("m"), INVALID, "request_timeout", None),
    (TooLarge("m"), INVALID, "request_too_large", None),
    (UnsupportedMedia("m"), INVALID, "unsupported_media_type", None),
    (RateLimited("m"), LIMIT, "rate_limit_exceeded", None),
    (ConcurrencyLimited("m"), LIMIT, "concurrency_limit_exceeded", None),
    (TooManyFailures("m"), LIMIT, "too_many_failures", None),
    (QuotaExceeded("m", resets_at=RESET), "insufficient_quota", "insufficient_quota", None),
    (UpstreamError("m"), SERVER, "upstream_error", None),
    (UpstreamTimeout("m"), SERVER, "upstream_timeout", None),
    (Overloaded("m"), SERVER, "overloaded", None),
    (Internal("m"), SERVER, "internal_error", None),
]


@pytest.mark.parametrize(
    ("error", "type_", "code", "param"), TABLE, ids=[type(row[0]).__name__ for row in TABLE]
)
def test_error_is_read_by_the_sdk(
    error: GatewayError, type_: str, code: str | None, param: str | None
) -> None:
    body = CODEC.encode_error(error, "req_1")
    reply = httpx2.Response(
        error.status, headers={"content-type": "application/json"}, content=body
    )
    transport = httpx2.MockTransport(lambda _request: reply)
    with (
        httpx2.Client(transport=transport) as http,
        OpenAI(
            api_key="x", base_url="http://sdk.invalid/v1", http_client=http, max_retries=0
        ) as client,
        pytest.raises(APIStatusError) as caught,
    ):
        client.responses.create(model="m1", input="Hi")
    found = caught.value
    assert (found.type, found.code, found.param) == (type_, code, param)
    assert "m" in found.message


def test_message_that_no_json_can_hold_still_goes_out() -> None:
    body = json.loads(CODEC.encode_error(BadRequest("a\ud800b"), "req_1"))
    assert body["error"]["message"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "w", "code": "context_length_exceeded"}, UpstreamFault("w", True)),
        (413, {"message": "The prompt is too long"}, UpstreamFault("The prompt is too long", True)),
        (429, {"message": "w", "code": "context_length_exceeded"}, UpstreamFault("w")),
        (
            400,
            {"message": "w", "code": "invalid_encrypted_content"},
            UpstreamFault("w", signature=True),
        ),
        (500, {"message": "no encrypted_content"}, UpstreamFault("no encrypted_content")),
        (400, {"message": "x" * 3000}, UpstreamFault("x" * 2000)),
    ],
)
def test_fault_of_an_upstream_is_read(status: int, error: Any, expected: UpstreamFault) -> None:
    assert CODEC.decode_error(status, json.dumps({"error": error}).encode()) == expected


@given(st.integers(400, 599), st.binary(max_size=60))
def test_any_body_is_a_fault(status: int, body: bytes) -> None:
    assert isinstance(CODEC.decode_error(status, body), UpstreamFault)
