"""Errors of Responses: ours in its words, an upstream's read from any body or event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import UpstreamFault
from kurolproxy.protocols.fault_words import (
    plain_words,
    refuses_content,
    says_too_long,
    words,
)

# Canonical kind -> the code of a response that failed, a closed list in the vendor's types;
# Codex knows the codes of limits beside it.
_FAILED: Mapping[str, str] = {
    "bad_request": "invalid_prompt",
    "context_too_long": "context_length_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "concurrency_limited": "rate_limit_exceeded",
    "too_many_failures": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
}


def failed_code(error: GatewayError) -> bytes:
    """Return the code of a response that failed by an error, as a piece of JSON."""
    return wire.quote(_FAILED.get(error.kind, "server_error"))


# --- what an upstream says ----------------------------------------------------------------

_SIGNATURE = ("signature", "encrypted_content")


def decode_error(status: int, body: bytes) -> UpstreamFault:
    """Read an upstream's error body, whatever it is.

    Args:
        status: of the upstream's answer.
        body: any bytes; an HTML page says nothing to a caller.
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError:
        message, codes = plain_words(body), ""
    else:
        message, codes = words(value), " ".join(_codes(value))
    text = f"{message} {codes}".lower()
    refused = refuses_content(status)
    return UpstreamFault(
        message,
        too_long=refused and says_too_long(text),
        signature=refused and any(phrase in text for phrase in _SIGNATURE),
    )


def _codes(value: Any) -> list[str]:
    """Return the codes of an error object, the precise ones first."""
    error = value.get("error") if isinstance(value, dict) else None
    objects = [each for each in (error, value) if isinstance(each, dict)]
    names = ("code", "status_code", "status", "type")
    found = [each.get(name) for each in objects for name in names]
    return [str(each) for each in found if isinstance(each, str | int)]


# --- an error in the place of an answer -----------------------------------------------------

# Codes, types and statuses -> what the failure is for failover; the first known word counts.
_KINDS: Mapping[str, str] = {
    "server_error": "upstream_error",
    "invalid_api_key": "upstream_error",
    "model_not_found": "upstream_error",
    "insufficient_quota": "upstream_error",
    "usage_not_included": "upstream_error",
    "429": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "503": "overloaded",
    "529": "overloaded",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "service_unavailable": "overloaded",
    "400": "bad_request",
    "413": "bad_request",
    "422": "bad_request",
    "context_length_exceeded": "bad_request",
    "invalid_prompt": "bad_request",
    "invalid_request_error": "bad_request",
    "data_residency_mismatch": "bad_request",
    "bio_policy": "bad_request",
    "misalignment_policy_violation": "bad_request",
    "empty_image_file": "bad_request",
    "image_content_policy_violation": "bad_request",
    "image_file_not_found": "bad_request",
    "image_file_too_large": "bad_request",
    "image_parse_error": "bad_request",
    "image_too_large": "bad_request",
    "image_too_small": "bad_request",
    "invalid_base64_image": "bad_request",
    "invalid_image": "bad_request",
    "invalid_image_format": "bad_request",
    "invalid_image_mode": "bad_request",
    "invalid_image_url": "bad_request",
    "failed_to_download_image": "bad_request",
    "unsupported_image_media_type": "bad_request",
}


def read_failure(value: Mapping[str, Any]) -> Failure:
    """Read an error event, flat or nested, or the ``error`` of a response that failed."""
    kinds = (_KINDS.get(code) for code in _codes(value))
    return Failure(words(value), next(filter(None, kinds), "upstream_error"))
