"""What a vendor of the tests can answer: bytes, pauses, events, and how it ends."""

from __future__ import annotations

import asyncio
import atexit
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from tests.fakes.recordings import Recording, recording

SECRET = "UPSTREAM-SECRET-DO-NOT-LEAK"
"""Stands in every answer's headers; a test that finds it behind the gateway found a leak."""

PLANTED: Mapping[str, str] = {
    "x-upstream-secret": SECRET,
    "set-cookie": f"session={SECRET}; Path=/",
    "server": f"vendor/{SECRET}",
    "x-request-id": f"req-{SECRET}",
    "request-id": f"req-{SECRET}",
    "openai-organization": SECRET,
    "x-ratelimit-remaining-requests": "4711",
    "anthropic-ratelimit-requests-remaining": "4711",
    "access-control-allow-origin": "*",
    "location": f"https://{SECRET.lower()}.invalid/",
}
"""Response headers that must not pass the gateway."""

CUTS: tuple[int | None, ...] = (None, 1, 2, 3, 7, 64)
"""The sizes that every stream is cut into; None: as one piece."""

# The server decides these, not a recording.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding"})

End = Literal["eof", "close", "reset"]
"""How an answer ends: as HTTP says, by a close in the middle, by a TCP reset."""

Step = bytes | float | asyncio.Event
"""Bytes to write, seconds to wait, or an event to wait for."""


@cache
def refusing_url() -> str:
    """Return a base URL where nobody listens.

    The port stays bound for the life of the process, without a listener: a port that is
    given back may go to the next server that asks for any, such as the gateway under test.
    """
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    atexit.register(held.close)
    return f"http://127.0.0.1:{held.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer.

    Attributes:
        steps: what happens after the head, in order.
        hold: the head waits for this event.
        end: ``close`` and ``reset`` break the body off after the last step.
        sized: send ``content-length`` instead of chunks.
    """

    steps: tuple[Step, ...] = ()
    status: int = 200
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    end: End = "eof"
    sized: bool = False


def frame(data: object, event: str | None = None) -> bytes:
    """Write one server-sent event: text as it is, anything else as JSON."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {text}\n\n".encode()


def pieces(body: bytes, cut: int | None) -> list[bytes]:
    """Cut bytes into pieces of ``cut``; None leaves them whole."""
    if cut is None:
        return [body] if body else []
    return [body[start : start + cut] for start in range(0, len(body), cut)]


def json_answer(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Answer a JSON value."""
    return bytes_answer(json.dumps(value).encode(), status=status, headers=headers)


def chat_answer(prompt: int = 1, completion: int = 1) -> Answer:
    """Answer one Chat call whole, at the cost of so many tokens."""
    return json_answer(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "plain",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "hi"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }
    )


def bytes_answer(
    body: bytes,
    content_type: str | None = "application/json",
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    cut: int | None = None,
) -> Answer:
    """Answer these bytes with their length in the head, whatever they are."""
    return Answer(
        tuple(pieces(body, cut)), status, content_type, dict(headers or {}), sized=bool(body)
    )


def stream_answer(
    steps: Iterable[Step],
    *,
    content_type: str | None = "text/event-stream",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    end: End = "eof",
) -> Answer:
    """Answer frames one by one, with pauses and events between them."""
    return Answer(tuple(steps), status, content_type, dict(headers or {}), end=end)


def failure(
    status: int,
    message: str = "the vendor says no",
    *,
    protocol: str = "openai-chat",
    retry_after: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Answer an error in a vendor's own form."""
    extra = {"retry-after": retry_after} if retry_after is not None else {}
    body = _ERRORS[protocol](status, message)
    return json_answer(body, status=status, headers={**extra, **(headers or {})})


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def _openai_error(status: int, message: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _anthropic_error(status: int, message: str) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(status, "api_error")
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": f"req-{SECRET}"}


def _gemini_error(status: int, message: str) -> dict[str, Any]:
    name = _GOOGLE_STATUS.get(status, "UNKNOWN")
    return {"error": {"code": status, "message": message, "status": name}}


_ERRORS: Mapping[str, Callable[[int, str], dict[str, Any]]] = {
    "openai-chat": _openai_error,
    "openai-responses": _openai_error,
    "anthropic": _anthropic_error,
    "gemini": _gemini_error,
}


def replay(
    what: str | Recording,
    *,
    cut: int | None = None,
    pause_s: float | None = None,
    stop_at: int | None = None,
    end: End = "eof",
) -> Answer:
    """Answer a recording: its status, its headers and its bytes.

    Args:
        cut: write pieces of so many bytes, each on its own.
        pause_s: wait so long before each piece.
        stop_at: leave out everything from this byte on (negative: from the end).
        end: how it ends there; ``eof`` is an orderly end without a terminal event.
    """
    seen = recording(what) if isinstance(what, str) else what
    steps: list[Step] = []
    for piece in pieces(seen.response[:stop_at], cut):
        if pause_s is not None:
            steps.append(pause_s)
        steps.append(piece)
    headers = {k: v for k, v in seen.headers.items() if k not in _FRAMING | {"content-type"}}
    sized = not seen.stream and stop_at is None
    return Answer(tuple(steps), seen.status, seen.content_type, headers, end=end, sized=sized)


# --- playing --------------------------------------------------------------------------


async def take(step: Step, write: Callable[[bytes], Awaitable[object]]) -> None:
    """Take one step."""
    match step:
        case bytes():
            await write(step)
            # Two turns of the loop: a reader in this process gets the piece on its own.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        case asyncio.Event():
            await step.wait()
        case _:
            await asyncio.sleep(step)


def finish(end: End, transport: asyncio.BaseTransport | None) -> None:
    """End an answer whose last step is taken; ``eof`` is left to the server."""
    if end == "eof" or transport is None:
        return
    if end == "reset":
        reset(transport)
    transport.close()


def reset(transport: asyncio.BaseTransport) -> None:
    """Let the close that follows send a TCP reset instead of an orderly end."""
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
