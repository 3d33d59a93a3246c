"""The headers of our answers: ids, limits in the caller's dialect, hints to retry."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from kurolproxy.errors import GatewayError, MethodNotAllowed
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.admission import Standing
from kurolproxy.server.reply import Headers

_RETRY_LIMIT_S = 60
_RETRY_S = {502: 1, 503: 1, 504: 1}


def id_headers(protocol: ProtocolName | None, request_id: str) -> Headers:
    """Return the headers that name the request; Anthropic's clients look for a second one."""
    headers = [("x-request-id", request_id), ("cache-control", "no-cache")]
    if protocol == "anthropic":
        headers.append(("request-id", request_id))
    return headers


def error_headers(error: GatewayError) -> Headers:
    """Return what tells a client whether and when to repeat a failed request.

    A repetition that cannot help is said to be one (``x-should-retry: false``) and gets no
    ``retry-after``; some clients would sleep through it.
    """
    headers: Headers = []
    if isinstance(error, MethodNotAllowed):
        headers.append(("allow", ", ".join(error.allow)))
    wait = error.retry_after_s
    if not error.may_retry:
        headers.append(("x-should-retry", "false"))
        if error.kind != "too_many_failures":
            return headers
    if wait is None:
        wait = _RETRY_S.get(error.status)
    elif error.status in _RETRY_S:
        wait = min(wait, _RETRY_LIMIT_S)
    if wait is not None:
        headers.append(("retry-after", str(max(1, math.ceil(wait)))))
    return headers


def limit_headers(protocol: ProtocolName, standing: Standing, unix: float) -> Headers:
    """Return the rate-limit headers of the caller's own dialect.

    Args:
        unix: seconds since 1970, to turn durations into times of day.
    """
    if protocol in ("openai-chat", "openai-responses"):
        return _openai(standing, unix)
    if protocol == "anthropic":
        return _anthropic(standing, unix)
    return []


def _openai(standing: Standing, unix: float) -> Headers:
    headers: Headers = []
    if standing.requests_limit is not None and standing.requests_reset_s is not None:
        headers += [
            ("x-ratelimit-limit-requests", str(standing.requests_limit)),
            ("x-ratelimit-remaining-requests", str(standing.requests_remaining)),
            ("x-ratelimit-reset-requests", go_duration(standing.requests_reset_s)),
        ]
    if standing.tokens_limit is not None:
        left = standing.tokens_resets_at.timestamp() - unix
        headers += [
            ("x-ratelimit-limit-tokens", str(standing.tokens_limit)),
            ("x-ratelimit-remaining-tokens", str(standing.tokens_remaining)),
            ("x-ratelimit-reset-tokens", go_duration(left)),
        ]
    return headers


def _anthropic(standing: Standing, unix: float) -> Headers:
    headers: Headers = []
    if standing.requests_limit is not None and standing.requests_reset_s is not None:
        resets = datetime.fromtimestamp(unix, UTC) + timedelta(
            seconds=math.ceil(standing.requests_reset_s)
        )
        headers += [
            ("anthropic-ratelimit-requests-limit", str(standing.requests_limit)),
            ("anthropic-ratelimit-requests-remaining", str(standing.requests_remaining)),
            ("anthropic-ratelimit-requests-reset", _rfc3339(resets)),
        ]
    if standing.tokens_limit is not None:
        headers += [
            ("anthropic-ratelimit-tokens-limit", str(standing.tokens_limit)),
            ("anthropic-ratelimit-tokens-remaining", str(standing.tokens_remaining)),
            ("anthropic-ratelimit-tokens-reset", _rfc3339(standing.tokens_resets_at)),
        ]
    return headers


def go_duration(seconds: float) -> str:
    """Write a duration as Go does, which OpenAI's headers use: ``6s``, ``1m30s``, ``2h0m5s``."""
    whole = max(0, math.ceil(seconds))
    if whole < 60:
        return f"{whole}s"
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{secs}s"
    return f"{minutes}m{secs}s" if minutes else f"{secs}s"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
