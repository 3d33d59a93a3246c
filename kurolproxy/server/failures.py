"""What a failed upstream means to the caller: one table of statuses."""

from __future__ import annotations

from kurolproxy.errors import (
    BadRequest,
    Blame,
    ContextTooLong,
    GatewayError,
    TooLarge,
    UpstreamError,
)
from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Codec, TargetView
from kurolproxy.server.scrub import Scrubber
from kurolproxy.upstream.client import Answer

_REFUSED_CONTENT = (400, 413, 422)
_OUR_CREDENTIAL = (401, 402, 403)
_BLAME: dict[int, Blame] = {
    401: "credential",
    402: "credential",
    403: "access",
    404: "access",
    429: "limited",
    503: "busy",
    529: "busy",
}
_NOT_THE_PROMPT = ("overloaded", "rate_limited")
_MAX_ERROR_BYTES = 1_048_576
_MAX_RETRY_AFTER_S = 60.0


class ProofRefused(BadRequest):
    """400: the upstream does not take a proof of reasoning; another account made it."""


async def failure_of(
    answer: Answer, codec: Codec, view: TargetView, scrubber: Scrubber
) -> GatewayError:
    """Read an answer that is no 200 and return the caller's error, see ``_failure_of``."""
    error = await _failure_of(answer, codec, view, scrubber)
    error.foreign = True
    return error


async def _failure_of(
    answer: Answer, codec: Codec, view: TargetView, scrubber: Scrubber
) -> GatewayError:
    """Read an answer that is no 200 and return the caller's error.

    The caller's own content (400, 413, 422) goes back as its fault; everything else is a
    502: a foreign 401 must not log the caller out, and a 404 is the operator's mistake.
    """
    status = answer.status
    if status in _OUR_CREDENTIAL:
        return _credential_refused(_BLAME[status])
    if status == 404:
        return UpstreamError(
            f"The upstream does not know the model {view.public_model}; tell the operator.",
            may_retry=False,
            blame=_BLAME[status],
        )
    if status < 400:
        return UpstreamError(f"The upstream answered HTTP {status}, which is no answer.")
    fault = codec.decode_error(status, await _words_of(answer))
    if fault.credential:
        return _credential_refused("credential")
    words = scrubber.clean(fault.message, inner=view.model, public=view.public_model)
    if status in _REFUSED_CONTENT:
        text = words or f"The upstream refused the request (HTTP {status})."
        if fault.too_long:
            return ContextTooLong(text)
        if fault.signature:
            return ProofRefused(text)
        return TooLarge(text) if status == 413 else BadRequest(text)
    said = f": {words}" if words else "."
    text = f"The upstream failed with HTTP {status}{said}"
    wait, blame = answer.retry_after_s, _BLAME.get(status, "failing")
    if wait is not None and wait > _MAX_RETRY_AFTER_S:
        # A client would sleep through it without a word: better no hint at all.
        return UpstreamError(text, may_retry=False, blame=blame, rest_s=wait)
    return UpstreamError(text, retry_after_s=wait, blame=blame, rest_s=wait)


async def _words_of(answer: Answer) -> bytes:
    """Return the body of an error; b"" where it cannot be read, for its status says enough."""
    try:
        return await answer.body(_MAX_ERROR_BYTES)
    except UpstreamError:
        return b""


def _credential_refused(blame: Blame) -> UpstreamError:
    return UpstreamError(
        "The upstream refused the gateway's own credential; tell the operator.",
        may_retry=False,
        blame=blame,
    )


def broken(
    failure: Failure, codec: Codec, view: TargetView, scrubber: Scrubber, *, content: bool
) -> GatewayError:
    """Return the caller's error for an answer that failed after its head.

    OpenAI says of a stream that the prompt is too long inside of it, behind a 200: while the
    client saw nothing it is told so as by a status, for it then compacts its history.

    Args:
        codec: of the upstream.
        content: some of the answer came.
    """
    words = scrubber.clean(failure.message, inner=view.model, public=view.public_model)
    if not words:
        return UpstreamError("The upstream broke off its answer.")
    too_long = not content and failure.kind not in _NOT_THE_PROMPT and _too_long(failure, codec)
    said = f"The upstream's answer failed: {words}"
    error = ContextTooLong(words) if too_long else UpstreamError(said)
    error.foreign = True
    return error


def _too_long(failure: Failure, codec: Codec) -> bool:
    # By hand: an upstream's words may hold what the serialiser refuses.
    body = b'{"error":{"message":%b}}' % wire.quote(failure.message)
    return codec.decode_error(400, body).too_long
