"""The body of a request, read under limits of size, time and memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import StreamReader, web
from aiohttp.web import BaseRequest

from kurolproxy.errors import (
    BadRequest,
    Overloaded,
    RequestTimeout,
    TooLarge,
    UnsupportedMedia,
)
from kurolproxy.server.deadlines import Limit, Watch

_BYTES_A_SECOND = 65_536
_SILENCE_S = 10.0
_SMALL = 1_048_576
_FORMS = ("application/x-www-form-urlencoded", "multipart/")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may cost.

    Attributes:
        max_bytes: of one body.
        max_in_flight: of all bodies that are held at once.
        timeout_s: for a body, and one second more for each 64 KiB received.
    """

    max_bytes: int = 33_554_432
    max_in_flight: int = 268_435_456
    timeout_s: float = 30.0


class BodyBudget:
    """The bytes of all bodies in flight.

    The last eighth is for bodies of up to 1 MiB: a few callers with large ones, which are held
    until their calls end, do not shut out everybody else. A body that is alone may take all.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int, before: int = 0) -> None:
        """Hold ``size`` bytes more.

        Args:
            before: what is held of the same body.

        Raises:
            Overloaded: that would be too many.
        """
        limit = self.limit
        if before + size > _SMALL and self.held > before:
            limit -= limit // 8
        if self.held + size > limit:
            raise Overloaded(
                "Too many large requests are running; try again in a second.", retry_after_s=1
            )
        self.held += size

    def give_back(self, size: int) -> None:
        """Let go of ``size`` bytes."""
        self.held -= size


def check_head(request: BaseRequest, limits: BodyLimits) -> None:
    """Refuse what the head already shows.

    Raises:
        UnsupportedMedia: a compressed body, or a form.
        TooLarge: the announced length is over the limit.
    """
    headers = request.headers
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia("Send the request body without Content-Encoding.")
    kind = headers.get("content-type", "").strip().lower()
    if kind.startswith(_FORMS):
        raise UnsupportedMedia(
            "Send the request body as JSON, not as a form"
            " (curl: -H 'content-type: application/json')."
        )
    length = request.content_length
    if length is not None and length > limits.max_bytes:
        raise _too_large(limits)


async def read_body(
    request: BaseRequest, limits: BodyLimits, budget: BodyBudget, watch: Watch
) -> bytes:
    """Read the whole body; the caller gives its size back to ``budget``.

    Raises:
        TooLarge: it is over the limit.
        RequestTimeout: it came too slowly.
        Overloaded: too many bodies are held already.
        BadRequest: it broke off, or its framing is wrong.
    """
    content = request.content
    if content.is_eof():
        # It came with the head, as most do: nothing to wait for.
        body = content.read_nowait(-1)
        if len(body) > limits.max_bytes:
            raise _too_large(limits)
        budget.take(len(body))
        _let_go(content)
        return body
    _continue(request)
    loop = asyncio.get_running_loop()
    start = loop.time() - watch.stood_s
    pieces: list[bytes] = []
    size = 0
    try:
        with Limit(watch, _too_slow):
            while not content.at_eof():
                allowed = start + watch.stood_s + limits.timeout_s + size / _BYTES_A_SECOND
                watch.deadline = min(allowed, loop.time() + _SILENCE_S)
                piece = await content.readany()
                budget.take(len(piece), size)
                size += len(piece)
                pieces.append(piece)
                if size > limits.max_bytes:
                    raise _too_large(limits)
    except web.RequestPayloadError:
        budget.give_back(size)
        pieces.clear()
        raise BadRequest("The request body broke off or its framing is wrong.") from None
    except BaseException:
        budget.give_back(size)
        # Who keeps the error keeps this frame.
        pieces.clear()
        raise
    _let_go(content)
    return b"".join(pieces)


def _let_go(content: StreamReader) -> None:
    """Shrink what is left of a body that was read.

    aiohttp keeps the last request of a connection until the next one comes, with a deque of
    0.6 KB that holds nothing any more.
    """
    content._buffer = ()  # type: ignore[assignment]


def _continue(request: BaseRequest) -> None:
    """Tell a client that waits for leave to send its body (curl, over 1 MiB) to do so."""
    if request.headers.get("expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _too_slow() -> RequestTimeout:
    return RequestTimeout("The request body came too slowly; send it again.")


def _too_large(limits: BodyLimits) -> TooLarge:
    return TooLarge(
        f"The request body is larger than {limits.max_bytes:,} bytes: send fewer or smaller files."
    )
