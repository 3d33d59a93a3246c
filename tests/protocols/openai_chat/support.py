"""What the tests of this codec share: contexts, streams, the vendor's SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from openai import LengthFinishReasonError, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from kurolproxy.ir import Request, StreamEvent
from kurolproxy.protocols.base import AnswerContext, PassFacts
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.protocols.openai_chat.scan import ChatScanner
from tests.protocols.sending import Sending
from tests.protocols.streaming import answer_context, fed, sdk_transport, whole_frames

SENDING = Sending(CODEC.encode_request)
target, encoded, body = SENDING.target, SENDING.encoded, SENDING.body


def decode(pieces: Iterable[bytes], answer: AnswerContext | None = None) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    return fed(CODEC.decoder(answer or context()), pieces)


def context(*, family: str = "", **asked: Any) -> AnswerContext:
    """Return the context of an answer to a request that says what is ``asked``."""
    return answer_context(family, **{"include_usage": True, **asked})


def asked(**wire: Any) -> Request:
    """Read a request that has these fields beside the least it needs."""
    least = {"model": "m1", "messages": [{"role": "user", "content": "Hi"}]}
    return CODEC.decode_request({**least, **wire})


def chunk(delta: Mapping[str, Any], reason: str | None = None, **more: Any) -> bytes:
    """Return one frame of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return frame({"id": "c", "model": "up", "choices": [choice], **more})


def frame(value: Any) -> bytes:
    """Return a frame that holds a document."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def scan(
    pieces: Iterable[bytes], public: str = "m1", *, hide_usage: bool = False, n: int = 1
) -> tuple[bytes, ChatScanner]:
    """Pass a stream through as the driver does; return what came out, and the scanner."""
    scanner = ChatScanner(public, PassFacts(hide_usage, n))
    out = b"".join(map(scanner.feed, whole_frames(pieces)))
    return out + scanner.close(), scanner


def sdk_chunks(stream: bytes) -> list[ChatCompletionChunk]:
    """Parse every chunk of a stream strictly by the types of the vendor's SDK."""
    datas = [part.removeprefix("data: ") for part in stream.decode().split("\n\n") if part]
    return [ChatCompletionChunk.model_validate_json(data) for data in datas if data != "[DONE]"]


def sdk_completion(stream: bytes) -> ChatCompletion:
    """Read a stream with the vendor's SDK, the way its users do."""
    with (
        sdk_transport(stream) as http,
        OpenAI(api_key="none", base_url="http://sdk.invalid", http_client=http) as client,
        client.chat.completions.stream(
            model="m1", messages=[{"role": "user", "content": "Hello"}]
        ) as answer,
    ):
        try:
            answer.until_done()
            return answer.get_final_completion()
        except LengthFinishReasonError as cut_short:
            # How this SDK hands out an answer that met its cap.
            return cut_short.completion
