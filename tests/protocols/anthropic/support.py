"""What the tests of this codec share: contexts, both directions, the vendor's SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from anthropic import Anthropic
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from kurolproxy.ir import ReasoningWish, StreamEvent
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.base import AnswerContext
from tests.protocols.sending import Sending
from tests.protocols.streaming import answer_context, fed, sdk_transport

SHOWN = ReasoningWish(mode="adaptive", show="summary")
SENDING = Sending(CODEC.encode_request, "claude-up")
target, encoded, body = SENDING.target, SENDING.encoded, SENDING.body


def context(
    reasoning: ReasoningWish | None = SHOWN, *, family: str = "claude", **more: Any
) -> AnswerContext:
    """Return the context of an answer."""
    return answer_context(family, reasoning=reasoning, **more)


def decode(pieces: Iterable[bytes], answer: AnswerContext | None = None) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    return fed(CODEC.decoder(answer or context()), pieces)


def sdk_events(stream: bytes) -> list[Any]:
    """Parse a stream as the vendor's SDK does: by the event line, strictly by type."""
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    events = []
    for frame in stream.decode().split("\n\n"):
        lines = frame.split("\n")
        if not frame or lines[0].startswith((":", "event: ping", "event: error")):
            continue
        assert len(lines) == 2
        event = json.loads(lines[1].removeprefix("data: "))
        assert lines[0] == f"event: {event['type']}"
        events.append(adapter.validate_python(event))
    return events


def sdk_message(stream: bytes) -> Any:
    """Read a stream with the vendor's SDK, the way its users do."""
    with (
        sdk_transport(stream) as http,
        Anthropic(api_key="none", base_url="http://sdk.invalid", http_client=http) as client,
        client.messages.stream(
            model="m1", max_tokens=1, messages=[{"role": "user", "content": "Hello"}]
        ) as answer,
    ):
        return answer.get_final_message()
