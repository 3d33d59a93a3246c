"""The errors that the document of the API names: what each means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from kurolproxy import errors
from kurolproxy.errors import GatewayError
from kurolproxy.protocols.openai_errors import error_words

ADVICE: Final[Mapping[type[GatewayError], str]] = {
    errors.BadRequest: "Correct the field that the text names.",
    errors.ContextTooLong: "The prompt does not fit the model: send less, or compact the history.",
    errors.Unauthenticated: "The key is missing, unknown, revoked or expired: check it.",
    errors.PlanForbidden: "The plan or the key does not have this model: call one that is named.",
    errors.ManagementForbidden: "The key calls models: use a management key.",
    errors.ResourceNotFound: "The management API knows no such thing: look it up in the list.",
    errors.ModelNotFound: "No active model has this name; letter case counts.",
    errors.RouteNotFound: "Correct the base URL or the path.",
    errors.MethodNotAllowed: "Use a method of the header allow.",
    errors.RequestTimeout: "The body came too slowly: send it again.",
    errors.Conflicting: "What is there already stands against the change; the text says what.",
    errors.TooLarge: "The body is too large: send fewer or smaller files.",
    errors.UnsupportedMedia: "Send plain JSON: not compressed, and no form.",
    errors.Misdirected: "Call the gateway by its own name.",
    errors.Unprocessable: "Correct the fields in error.problems.",
    errors.RateLimited: "Wait as long as retry-after says.",
    errors.ConcurrencyLimited: "Too many requests run at once: wait for one to end.",
    errors.TooManyFailures: "Too many wrong keys came from this address: wait a minute.",
    errors.QuotaExceeded: "The day's tokens are used up: the text says when the next day begins.",
    errors.Internal: "A fault of the gateway: tell its operator the request id.",
    errors.UpstreamError: "The model's upstream failed: try again.",
    errors.Overloaded: "Try again after retry-after.",
    errors.UpstreamTimeout: "The model's upstream was silent for too long: try again.",
}
"""Every kind of error -> what to do, in a sentence."""

# Who is called by a foreign name answers with a line of text.
_PLAIN: Final = frozenset({errors.Misdirected})

CALLS: Final = (
    errors.BadRequest,
    errors.ContextTooLong,
    errors.Unauthenticated,
    errors.PlanForbidden,
    errors.ModelNotFound,
    errors.RequestTimeout,
    errors.TooLarge,
    errors.UnsupportedMedia,
    errors.RateLimited,
    errors.ConcurrencyLimited,
    errors.TooManyFailures,
    errors.QuotaExceeded,
    errors.Internal,
    errors.UpstreamError,
    errors.Overloaded,
    errors.UpstreamTimeout,
)
"""What a call of a model can end in."""
KEYED: Final = (
    errors.BadRequest,
    errors.Unauthenticated,
    errors.PlanForbidden,
    errors.TooManyFailures,
)
"""What a question about a key's own models or usage can end in."""
MANAGED: Final = (
    errors.BadRequest,
    errors.Unauthenticated,
    errors.ManagementForbidden,
    errors.Unprocessable,
    errors.TooManyFailures,
    errors.Internal,
    errors.Overloaded,
)
"""What every request to the management API can end in."""
WITH_BODY: Final = (errors.RequestTimeout, errors.TooLarge, errors.UnsupportedMedia)
"""What one with a body can end in, too."""


def error_table() -> list[dict[str, Any]]:
    """Return each kind with its status, OpenAI's words for it, and what to do."""
    return [
        {
            "kind": kind.kind,
            "status": kind.status,
            "type": _word(kind, "type"),
            "code": _word(kind, "code"),
            "retry": kind.may_retry,
            "advice": advice,
        }
        for kind, advice in sorted(ADVICE.items(), key=lambda pair: pair[0].status)
    ]


def responses(kinds: Iterable[type[GatewayError]], schema: str) -> dict[str, Any]:
    """Return the answers of an operation that are errors, by status.

    Args:
        schema: the name of their body's structure.
    """
    told: dict[int, list[str]] = {}
    for kind in sorted(kinds, key=lambda each: each.status):
        told.setdefault(kind.status, []).append(f"`{kind.kind}`: {ADVICE[kind]}")
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        str(status): {
            "description": "\n\n".join(texts),
            "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}},
            "content": content,
        }
        for status, texts in told.items()
    }


def _word(kind: type[GatewayError], name: str) -> str | None:
    if kind in _PLAIN:
        return None
    # The words hang on the kind alone: no error has to be made for them.
    error = GatewayError.__new__(kind)
    GatewayError.__init__(error, "")
    found: str | None = msgspec.json.decode(getattr(error_words(error), name))
    return found
