"""The errors a caller can see: one class for each canonical kind, without any wire form.

The names, statuses and codes are those of the table in the protocol notes: a
codec's ``error.py`` maps ``kind`` to its own vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Literal

Blame = Literal["credential", "access", "limited", "busy", "failing"]
"""What an attempt that failed says about the way to the model.

``credential``: the vendor refuses it (401, 402); ``access``: it may not call this model (403,
404); ``limited``: it has called this model too often (429); ``busy``: the target asks
everybody for a pause (503); ``failing``: anything else.
"""


class GatewayError(Exception):
    """What went wrong with one request, in words for its caller.

    Args:
        message: what was wrong and what to do; never a key, a prompt, an upstream's
            credential or a model outside the caller's plan.
        param: the request field at fault, in the caller's spelling.
        retry_after_s: seconds until a repetition can succeed, when that is known.

    Attributes:
        kind: the canonical name, also the metric label.
        status: the HTTP status while the head is still ours to write.
        may_retry: False when no repetition can cure it (``x-should-retry: false``).
        foreign: the message holds an upstream's words, which may quote a prompt: the
            caller reads them, the log does not.
    """

    kind: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    may_retry: bool = True
    foreign: bool = False

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class BadRequest(GatewayError):
    """400: malformed JSON, an unsupported feature, a missing field."""

    kind = "bad_request"
    status = 400
    may_retry = False


class ContextTooLong(BadRequest):
    """400: the upstream says that the prompt does not fit the model."""

    kind = "context_too_long"


class Unauthenticated(GatewayError):
    """401: the key is missing, unknown, revoked or expired."""

    kind = "unauthenticated"
    status = 401
    may_retry = False


class PlanForbidden(GatewayError):
    """403: the model is outside the caller's plan or key."""

    kind = "plan_forbidden"
    status = 403
    may_retry = False


class ManagementForbidden(GatewayError):
    """403: the key is valid, but it is no management key."""

    kind = "management_forbidden"
    status = 403
    may_retry = False


class ResourceNotFound(GatewayError):
    """404: the management API knows no such account, key, model or plan."""

    kind = "resource_not_found"
    status = 404
    may_retry = False


class ModelNotFound(GatewayError):
    """404: no such model, or it is not active."""

    kind = "model_not_found"
    status = 404
    may_retry = False


class RouteNotFound(GatewayError):
    """404: no such route."""

    kind = "route_not_found"
    status = 404
    may_retry = False


class MethodNotAllowed(GatewayError):
    """405: the route exists, the method does not.

    Args:
        allow: the methods of the route, for the ``Allow`` header.
    """

    kind = "method_not_allowed"
    status = 405
    may_retry = False

    def __init__(self, message: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(GatewayError):
    """408: the request body came too slowly."""

    kind = "request_timeout"
    status = 408


class Conflicting(GatewayError):
    """409: what is there already stands against a change."""

    kind = "conflict"
    status = 409
    may_retry = False


class TooLarge(GatewayError):
    """413: the body is over the limit."""

    kind = "too_large"
    status = 413
    may_retry = False


class UnsupportedMedia(GatewayError):
    """415: a content encoding or a form body."""

    kind = "unsupported_media"
    status = 415
    may_retry = False


class Misdirected(GatewayError):
    """421: the request names a host that is not ours."""

    kind = "misdirected"
    status = 421
    may_retry = False


class Unprocessable(GatewayError):
    """422: fields of a request to the management API make no sense.

    Args:
        problems: of each field at fault its name and what is wrong with it; at least one.
    """

    kind = "unprocessable"
    status = 422
    may_retry = False

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        text = "; ".join(f"{name}: {words}" if name else words for name, words in problems)
        super().__init__(text, param=problems[0][0] or None)
        self.problems = tuple(problems)


class RateLimited(GatewayError):
    """429: requests per minute, or running requests hold the rest of the day's tokens."""

    kind = "rate_limited"
    status = 429


class ConcurrencyLimited(GatewayError):
    """429: the plan's number of requests at once."""

    kind = "concurrency_limited"
    status = 429


class TooManyFailures(GatewayError):
    """429: too many wrong keys from one address."""

    kind = "too_many_failures"
    status = 429
    may_retry = False


class QuotaExceeded(GatewayError):
    """429: the day's tokens are used up.

    Args:
        resets_at: when the allowance starts again, aware UTC.
    """

    kind = "quota_exceeded"
    status = 429
    may_retry = False

    def __init__(self, message: str, *, resets_at: datetime) -> None:
        super().__init__(message)
        self.resets_at = resets_at


class UpstreamError(GatewayError):
    """502: any failure of the upstream that is not the caller's fault.

    Args:
        may_retry: False when a repetition cannot cure it (the operator's credential
            or deployment is at fault).
        blame: what of the way to the model has to rest.
        rest_s: for how long, when the upstream said so.
    """

    kind = "upstream_error"
    status = 502

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        may_retry: bool = True,
        blame: Blame = "failing",
        rest_s: float | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.may_retry = may_retry
        self.blame: Blame = blame
        self.rest_s = rest_s


class UpstreamTimeout(GatewayError):
    """504: the upstream was silent for too long."""

    kind = "upstream_timeout"
    status = 504


class Overloaded(GatewayError):
    """503: our own admission control, a resting upstream, or a shutdown."""

    kind = "overloaded"
    status = 503


class Internal(GatewayError):
    """500: a fault of our own."""

    kind = "internal"
    status = 500
