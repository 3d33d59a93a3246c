"""What the tests of answers share: contexts, streams, the vendor's SDK."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import pytest
from openai import APIError, OpenAI
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from kurolproxy.errors import UpstreamError
from kurolproxy.ir import Failure, ReasoningWish, StreamEvent
from kurolproxy.protocols.base import AnswerContext, PassFacts
from kurolproxy.protocols.openai_responses.codec import CODEC
from kurolproxy.protocols.openai_responses.scan import ResponsesScanner
from tests.protocols.streaming import answer_context, fed, sdk_transport, whole_frames

SHOWN = ReasoningWish(show="summary")
BROKEN = UpstreamError("The model's upstream broke off.")


def ids() -> Callable[[str], str]:
    """Return a maker of ids that counts each kind."""
    numbers: dict[str, Any] = defaultdict(lambda: count(1))
    return lambda prefix: f"{prefix}{next(numbers[prefix])}"


def context(
    reasoning: ReasoningWish | None = SHOWN,
    *,
    family: str = "gpt",
    **asked: Any,
) -> AnswerContext:
    """Return the context of an answer to a request that says what is ``asked``."""
    return answer_context(family, new_id=ids(), reasoning=reasoning, **asked)


def decode(pieces: Iterable[bytes], answer: AnswerContext | None = None) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    return fed(CODEC.decoder(answer or context()), pieces)


def write(events: list[StreamEvent], answer: AnswerContext | None = None) -> bytes:
    """Encode a whole stream; one that failed ends with the error that the caller sees."""
    encoder = CODEC.encoder(answer or context())
    if isinstance(events[-1], Failure):
        return encoder.encode(events[:-1]) + encoder.error(BROKEN, "req_1")
    return encoder.encode(events)


def frame(type_: str, **fields: Any) -> bytes:
    """Return one event of an upstream's stream."""
    text = json.dumps({"type": type_, **fields}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {type_}\ndata: {text}\n\n".encode()


def scan(pieces: Iterable[bytes], model: str = "mine") -> tuple[bytes, ResponsesScanner]:
    """Pass a stream through as the driver does; return what came out, and the scanner."""
    scanner = ResponsesScanner(model, PassFacts())
    out = b"".join(map(scanner.feed, whole_frames(pieces, with_rest=True)))
    return out + scanner.close(), scanner


# --- the vendor's SDK -----------------------------------------------------------------------

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def sdk_events(stream: bytes) -> list[Any]:
    """Parse a stream strictly by the SDK's types; check names and numbers of the events."""
    events = []
    for number, text in enumerate(stream.decode().removesuffix("\n\n").split("\n\n")):
        name, data = text.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        events.append(_EVENT.validate_python(event))
    return events


def _client(stream: bytes) -> OpenAI:
    http = sdk_transport(stream)
    return OpenAI(api_key="none", base_url="http://sdk.invalid/v1", http_client=http)


def sdk_created(stream: bytes) -> list[Any]:
    """Read a stream with ``create(stream=True)``; return its events."""
    with _client(stream) as client:
        return list(client.responses.create(model="m1", input="Hi", stream=True))


def sdk_streamed(stream: bytes) -> tuple[Any, str]:
    """Read a stream with ``stream()``, which checks its grammar.

    Returns:
        the response of the terminal event, and the words that the deltas add up to.
    """
    words: list[str] = []
    last: Any = None
    with _client(stream) as client, client.responses.stream(model="m1", input="Hi") as events:
        for event in events:
            last = event
            if event.type == "response.output_text.delta":
                words.append(event.delta)
    assert last.type in ("response.completed", "response.incomplete")
    return last.response, "".join(words)


def sdk_refuses(stream: bytes, message: str) -> None:
    """Assert that both ways of reading raise the error with its words."""
    for read in (sdk_created, sdk_streamed):
        with pytest.raises(APIError) as caught:
            read(stream)
        assert caught.value.message == message
