"""Errors, both ways."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.genai.errors import APIError, ClientError, ServerError

from kurolproxy import errors
from kurolproxy.errors import GatewayError
from kurolproxy.protocols.gemini.error import (
    decode_error,
    encode_error,
    error_words,
    read_error,
)

KINDS: list[tuple[GatewayError, int, str]] = [
    (errors.BadRequest("x"), 400, "INVALID_ARGUMENT"),
    (errors.ContextTooLong("x"), 400, "INVALID_ARGUMENT"),
    (errors.Unauthenticated("x"), 401, "UNAUTHENTICATED"),
    (errors.PlanForbidden("x"), 403, "PERMISSION_DENIED"),
    (errors.ManagementForbidden("x"), 403, "PERMISSION_DENIED"),
    (errors.ResourceNotFound("x"), 404, "NOT_FOUND"),
    (errors.ModelNotFound("x"), 404, "NOT_FOUND"),
    (errors.RouteNotFound("x"), 404, "NOT_FOUND"),
    (errors.MethodNotAllowed("x", allow=("GET",)), 405, "INVALID_ARGUMENT"),
    (errors.RequestTimeout("x"), 408, "INVALID_ARGUMENT"),
    (errors.Conflicting("x"), 409, "INVALID_ARGUMENT"),
    (errors.Unprocessable([("", "x")]), 422, "INVALID_ARGUMENT"),
    (errors.TooLarge("x"), 413, "INVALID_ARGUMENT"),
    (errors.UnsupportedMedia("x"), 415, "INVALID_ARGUMENT"),
    (errors.RateLimited("x"), 429, "RESOURCE_EXHAUSTED"),
    (errors.ConcurrencyLimited("x"), 429, "RESOURCE_EXHAUSTED"),
    (errors.TooManyFailures("x"), 429, "RESOURCE_EXHAUSTED"),
    (
        errors.QuotaExceeded("x", resets_at=datetime(2026, 1, 1, tzinfo=UTC)),
        429,
        "RESOURCE_EXHAUSTED",
    ),
    (errors.Internal("x"), 500, "INTERNAL"),
    (errors.UpstreamError("x"), 502, "UNAVAILABLE"),
    (errors.Overloaded("x"), 503, "UNAVAILABLE"),
    (errors.UpstreamTimeout("x"), 504, "DEADLINE_EXCEEDED"),
]


@pytest.mark.parametrize(("error", "code", "status"), KINDS, ids=[each[0].kind for each in KINDS])
def test_kind_has_a_code_and_a_status(error: GatewayError, code: int, status: str) -> None:
    body = json.loads(encode_error(error, "req_1"))
    assert {name: body["error"][name] for name in ("code", "message", "status")} == {
        "code": code,
        "message": "x",
        "status": status,
    }
    with pytest.raises(ClientError if code < 500 else ServerError) as raised:
        APIError.raise_error(code, body, None)
    assert (raised.value.code, raised.value.status) == (code, status)


def test_every_kind_is_tried() -> None:
    kinds = {
        each.kind
        for each in vars(errors).values()
        if isinstance(each, type) and "kind" in vars(each)
    }
    assert kinds - {error.kind for error, _, _ in KINDS} <= {"misdirected", "headers_too_large"}


def test_used_up_day_is_told_as_gemini_cli_understands_it() -> None:
    error = errors.QuotaExceeded("Used up.", resets_at=datetime(2026, 1, 1, tzinfo=UTC))
    (detail,) = json.loads(encode_error(error, "r"))["error"]["details"]
    assert detail["@type"].endswith("google.rpc.QuotaFailure")
    assert "PerDay" in detail["violations"][0]["quotaId"]
    assert "details" not in json.loads(encode_error(errors.RateLimited("x"), "r"))["error"]


def test_any_message_can_be_written() -> None:
    message = json.loads(encode_error(errors.UpstreamError('\ud800 "\n'), "r"))["error"]["message"]
    assert message == '\ufffd "\n'


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"status": "RESOURCE_EXHAUSTED"}, "rate_limited"),
        ({"code": 429}, "rate_limited"),
        ({"status": "UNAVAILABLE"}, "overloaded"),
        ({"code": 503, "status": "WHAT"}, "overloaded"),
        ({"code": 400, "status": "INVALID_ARGUMENT"}, "bad_request"),
        ({"status": "FAILED_PRECONDITION"}, "bad_request"),
        ({"code": "413"}, "bad_request"),
        ({"status": "INTERNAL", "code": 500}, "upstream_error"),
        ({"status": "PERMISSION_DENIED", "code": 403}, "upstream_error"),
        ({"code": 400, "details": [5, {"reason": "API_KEY_INVALID"}]}, "upstream_error"),
        ({"code": [], "status": {}}, "upstream_error"),
        ("gone", "upstream_error"),
        (["gone"], "upstream_error"),
    ],
)
def test_error_in_an_answer_says_what_it_is_for_failover(error: Any, kind: str) -> None:
    found = read_error({"error": error})
    assert found is not None
    assert found.kind == kind
    assert read_error([{"error": error}]) == found


@pytest.mark.parametrize("value", [None, {}, {"error": None}, {"error": {}}, [], [{}], [5], 5, "x"])
def test_what_is_no_error_is_none(value: Any) -> None:
    assert read_error(value) is None


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_hints_count_only_where_the_content_was_refused(status: int) -> None:
    body = b'{"error":{"message":"thought_signature; the input token count exceeds"}}'
    refused = decode_error(400, body)
    assert refused.too_long
    assert refused.signature
    other = decode_error(status, body)
    assert other.message == refused.message
    assert not other.too_long
    assert not other.signature


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"error": {"message": " a "}}, "a"),
        ({"message": "a"}, "a"),
        ("a", "a"),
        ([[[[[["a"]]]]]], ""),
        ({"error": {"message": "x" * 5000}}, "x" * 2000),
        (7, ""),
    ],
)
def test_words_of_an_error(value: Any, words: str) -> None:
    assert error_words(value) == words
