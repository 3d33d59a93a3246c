"""What the tests of the answers share: contexts, streams, the vendor's SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import httpx2
from google import genai
from google.genai import types

from kurolproxy.ir import ReasoningWish, StreamEvent
from kurolproxy.protocols.base import AnswerContext, PassFacts
from kurolproxy.protocols.gemini.scan import GeminiScanner
from kurolproxy.protocols.gemini.stream_decode import GeminiDecoder
from tests.protocols.streaming import answer_context, fed, whole_frames

SHOWN = ReasoningWish(show="summary")


def context(
    reasoning: ReasoningWish | None = SHOWN, *, family: str = "gemini", **more: Any
) -> AnswerContext:
    """Return the context of an answer; its client reads thoughts."""
    return answer_context(family, reasoning=reasoning, **more)


def decode(pieces: Iterable[bytes], answer: AnswerContext | None = None) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    return fed(GeminiDecoder(answer or context()), pieces)


def frame(value: Any) -> bytes:
    """Return a frame that holds a document, as the vendor writes it."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\r\n\r\n".encode()


def response(*parts: Mapping[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a response with these parts."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "up", "responseId": "r", **more}


def words(text: str, **part: Any) -> bytes:
    """Return a frame with a piece of text."""
    return frame(response({"text": text, **part}))


USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}
END = frame(response({"text": ""}, reason="STOP", usageMetadata=USAGE))


def scan(
    pieces: Iterable[bytes],
    public: str = "up",
    *,
    n: int = 1,
    kind: type[GeminiScanner] = GeminiScanner,
) -> tuple[bytes, GeminiScanner]:
    """Pass a stream through as the driver does; return what came out, and the scanner."""
    scanner = kind(public, PassFacts(n=n))
    out = b"".join(map(scanner.feed, whole_frames(pieces)))
    return out + scanner.close(), scanner


# --- the vendor's SDK -------------------------------------------------------------------


@cache
def _sdk() -> tuple[genai.Client, list[httpx2.Response]]:
    """Return a client of the vendor's SDK, which is slow to make, and its next answers."""
    answers: list[httpx2.Response] = []
    transport = httpx2.MockTransport(lambda _request: answers.pop())
    options = types.HttpOptions(
        base_url="http://sdk.invalid", httpx_client=httpx2.Client(transport=transport)
    )
    return genai.Client(api_key="none", http_options=options), answers


def sdk_client(body: bytes, content_type: str) -> genai.Client:
    """Return a client of the vendor's SDK whose next request is answered by this."""
    client, answers = _sdk()
    answers[:] = [httpx2.Response(200, headers={"content-type": content_type}, content=body)]
    return client


def sdk_stream(stream: bytes) -> list[types.GenerateContentResponse]:
    """Read server-sent events with the vendor's SDK, the way its users do."""
    client = sdk_client(stream, "text/event-stream")
    found = list(client.models.generate_content_stream(model="m1", contents="Hello"))
    for each in found:
        # The length of the body, which is no part of the answer.
        each.sdk_http_response = None
    return found


def sdk_elements(array: bytes) -> list[types.GenerateContentResponse]:
    """Read the elements of an array by the types of the vendor's SDK, as it reads events."""
    return [each for element in json.loads(array) for each in sdk_stream(frame(element))]


def sdk_answer(body: bytes) -> types.GenerateContentResponse:
    """Read a whole answer with the vendor's SDK, the way its users do."""
    client = sdk_client(body, "application/json")
    return client.models.generate_content(model="m1", contents="Hello")


def sdk_parts(answers: Iterable[types.GenerateContentResponse]) -> list[dict[str, Any]]:
    """Return the parts of all answers, neighbouring texts of one kind joined, empty ones gone."""
    out: list[dict[str, Any]] = []
    for answer in answers:
        for candidate in answer.candidates or ():
            parts = (candidate.content and candidate.content.parts) or ()
            for part in parts:
                _join(out, part.model_dump(exclude_none=True, mode="json"))
    return [part for part in out if part != {"text": ""}]


def _join(out: list[dict[str, Any]], part: dict[str, Any]) -> None:
    last = out[-1] if out else {}
    same = "text" in last and "text" in part and last.get("thought") == part.get("thought")
    if same and "thought_signature" not in part:
        last["text"] += part["text"]
    else:
        out.append(part)
