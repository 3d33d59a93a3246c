"""Every kind of error knows its status, its name and whether a repetition can cure it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kurolproxy import errors

KINDS = [
    ("bad_request", 400, False),
    ("context_too_long", 400, False),
    ("unauthenticated", 401, False),
    ("plan_forbidden", 403, False),
    ("management_forbidden", 403, False),
    ("resource_not_found", 404, False),
    ("model_not_found", 404, False),
    ("route_not_found", 404, False),
    ("method_not_allowed", 405, False),
    ("request_timeout", 408, True),
    ("conflict", 409, False),
    ("unprocessable", 422, False),
    ("too_large", 413, False),
    ("unsupported_media", 415, False),
    ("misdirected", 421, False),
    ("rate_limited", 429, True),
    ("concurrency_limited", 429, True),
    ("too_many_failures", 429, False),
    ("quota_exceeded", 429, False),
    ("upstream_error", 502, True),
    ("upstream_timeout", 504, True),
    ("overloaded", 503, True),
    ("internal", 500, True),
]


def classes(root: type[errors.GatewayError]) -> list[type[errors.GatewayError]]:
    """Return the tree below a class, but for what other modules tell apart inside a kind."""
    below = [each for sub in root.__subclasses__() for each in (sub, *classes(sub))]
    return [each for each in below if each.__module__ == errors.__name__]


@pytest.mark.parametrize(("kind", "status", "may_retry"), KINDS)
def test_kind_has_its_status_and_its_answer_to_a_repetition(
    kind: str, status: int, may_retry: bool
) -> None:
    (found,) = [each for each in classes(errors.GatewayError) if each.kind == kind]
    assert (found.status, found.may_retry) == (status, may_retry)


def test_table_names_every_kind() -> None:
    names = [each.kind for each in classes(errors.GatewayError)]
    assert sorted(names) == sorted(kind for kind, _, _ in KINDS)


def test_error_carries_what_its_wire_forms_need() -> None:
    error = errors.BadRequest("n must be 1", param="n")
    assert (str(error), error.message, error.param) == ("n must be 1", "n must be 1", "n")
    assert errors.RateLimited("slow", retry_after_s=2.5).retry_after_s == 2.5
    assert errors.MethodNotAllowed("no", allow=("GET",)).allow == ("GET",)
    fields = errors.Unprocessable([("plan", "there is none"), ("name", "too long")])
    assert (fields.message, fields.param) == ("plan: there is none; name: too long", "plan")
    resets_at = datetime(2026, 1, 2, tzinfo=UTC)
    assert errors.QuotaExceeded("used up", resets_at=resets_at).resets_at == resets_at


def test_upstream_error_of_the_operators_key_cannot_be_cured() -> None:
    assert errors.UpstreamError("x").may_retry
    assert not errors.UpstreamError("x", may_retry=False).may_retry
