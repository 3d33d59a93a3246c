"""Gemini's errors: our kinds in Google's words."""

from __future__ import annotations

from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.protocols import wire

STATUS = {
    "unauthenticated": "UNAUTHENTICATED",
    "plan_forbidden": "PERMISSION_DENIED",
    "model_not_found": "NOT_FOUND",
    "route_not_found": "NOT_FOUND",
    "rate_limited": "RESOURCE_EXHAUSTED",
    "concurrency_limited": "RESOURCE_EXHAUSTED",
    "too_many_failures": "RESOURCE_EXHAUSTED",
    "quota_exceeded": "RESOURCE_EXHAUSTED",
    "upstream_error": "UNAVAILABLE",
    "upstream_timeout": "DEADLINE_EXCEEDED",
    "overloaded": "UNAVAILABLE",
    "internal": "INTERNAL",
}
"""Canonical kind -> Google's status; every other kind is ``INVALID_ARGUMENT``."""


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """Write an error; Google's form has no place for the request id.

    A used-up day carries a ``QuotaFailure`` whose id contains ``PerDay``: gemini-cli stops
    at once on it instead of repeating the request.
    """
    body: dict[str, Any] = {
        "code": error.status,
        "message": error.message,
        "status": STATUS.get(error.kind, "INVALID_ARGUMENT"),
    }
    if error.kind == "quota_exceeded":
        body["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "TokensPerDay", "description": error.message}],
            }
        ]
    return wire.dumps({"error": body})
