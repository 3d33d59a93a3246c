"""Gemini's errors: our kinds in Google's words, an upstream's read from any body."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import UpstreamFault
from kurolproxy.protocols.fault_words import (
    MAX_WORDS,
    plain_words,
    refuses_content,
    says_too_long,
)

STATUS = {
    "unauthenticated": "UNAUTHENTICATED",
    "plan_forbidden": "PERMISSION_DENIED",
    "management_forbidden": "PERMISSION_DENIED",
    "resource_not_found": "NOT_FOUND",
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
    del request_id
    # By pieces: a message may hold what the serialiser refuses, and an error must go out.
    message = wire.quote(error.message)
    status = wire.quote(STATUS.get(error.kind, "INVALID_ARGUMENT"))
    details = _DAY % message if error.kind == "quota_exceeded" else b""
    return b'{"error":{"code":%d,"message":%b,"status":%b%b}}' % (
        error.status,
        message,
        status,
        details,
    )


_DAY = (
    b',"details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure",'
    b'"violations":[{"quotaId":"TokensPerDay","description":%b}]}]'
)

# --- what an upstream says ----------------------------------------------------------------

_MAX_LEVELS = 4
_SIGNATURE = re.compile(r"signature", re.IGNORECASE)

# Google's status or code -> what the failure is for failover.
_KINDS: Mapping[str, str] = {
    "RESOURCE_EXHAUSTED": "rate_limited",
    "429": "rate_limited",
    "UNAVAILABLE": "overloaded",
    "503": "overloaded",
    "529": "overloaded",
    "INVALID_ARGUMENT": "bad_request",
    "FAILED_PRECONDITION": "bad_request",
    "OUT_OF_RANGE": "bad_request",
    "400": "bad_request",
    "413": "bad_request",
    "422": "bad_request",
}
# Google answers 400 to a wrong key; it is the operator's, not the caller's.
_BAD_KEY = "API_KEY_INVALID"


def decode_error(status: int, body: bytes) -> UpstreamFault:
    """Read an upstream's error body, whatever it is.

    A streaming call that failed is answered with an array that holds the error.

    Args:
        status: of the upstream's answer.
        body: any bytes; an HTML page says nothing to a caller.
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError:
        value = plain_words(body)
    message = error_words(value)
    refused = refuses_content(status)
    return UpstreamFault(
        message,
        too_long=refused and says_too_long(message),
        signature=refused and _SIGNATURE.search(message) is not None,
        credential=_is_bad_key(_error_of(value)),
    )


def _error_of(value: Any) -> Mapping[str, Any]:
    """Return the error object of a body, which a streaming call has in an array."""
    if isinstance(value, list):
        value = value[0] if value else None
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {}


def error_words(value: Any) -> str:
    """Return what an error says in words; "" when it says nothing."""
    found = (words for words in _words(value, _MAX_LEVELS) if words)
    return next(found, "").strip()[:MAX_WORDS]


def _words(value: Any, levels: int) -> Iterator[str]:
    """Yield what may be the message, best first."""
    if isinstance(value, str):
        yield value
    elif levels and isinstance(value, list):
        for each in value[:1]:
            yield from _words(each, levels - 1)
    elif levels and isinstance(value, dict):
        for name in ("error", "message", "detail", "status"):
            yield from _words(value.get(name), levels - 1)


def read_error(value: Any) -> Failure | None:
    """Return the error that stands where a partial response should be.

    Returns:
        None when it is no error.
    """
    if isinstance(value, list):
        return read_error(value[0]) if len(value) == 1 and isinstance(value[0], dict) else None
    error = value.get("error") if isinstance(value, dict) else None
    if not error:
        return None
    said = error if isinstance(error, dict) else {}
    kinds = (_KINDS.get(str(said.get(name))) for name in ("status", "code"))
    kind = next(filter(None, kinds), "upstream_error")
    return Failure(error_words(error), "upstream_error" if _is_bad_key(said) else kind)


def _is_bad_key(error: Mapping[str, Any]) -> bool:
    details = error.get("details")
    return isinstance(details, list) and any(
        isinstance(each, dict) and each.get("reason") == _BAD_KEY for each in details
    )
