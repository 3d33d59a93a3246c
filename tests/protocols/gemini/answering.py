"""What the tests of the answers share: contexts, streams, golden files, the vendor's SDK."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
from google import genai
from google.genai import types

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    ReasoningWish,
    Request,
    Sealed,
    Start,
    StreamEvent,
)
from kurolproxy.protocols.base import AnswerContext, PassFacts
from kurolproxy.protocols.gemini.scan import GeminiScanner
from kurolproxy.protocols.gemini.stream_decode import GeminiDecoder
from kurolproxy.sse import FrameSplitter

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "gemini"
SHOWN = ReasoningWish(show="summary")
CUTS = (1, 2, 3, 7, 64)


def ids() -> Callable[[str], str]:
    """Return a maker of ids that counts."""
    numbers = count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def context(
    reasoning: ReasoningWish | None = SHOWN,
    *,
    family: str = "gemini",
    model: str = "m1",
    max_event_bytes: int = 16_777_216,
    n: int = 1,
) -> AnswerContext:
    """Return the context of an answer; its client reads thoughts."""
    request = Request(model, (), reasoning=reasoning, n=n)
    return AnswerContext(
        model, 1_700_000_000, ids(), request, family, max_event_bytes=max_event_bytes
    )


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """Yield the pieces of ``data``."""
    return (data[at : at + size] for at in range(0, len(data), size))


def decode(pieces: Iterable[bytes], answer: AnswerContext | None = None) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    decoder = GeminiDecoder(answer or context())
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


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
    splitter = FrameSplitter(16_777_216)
    out = [scanner.feed(whole) for piece in pieces if (whole := splitter.cut(piece))]
    return b"".join(out) + scanner.close(), scanner


def check_guarantees(events: list[StreamEvent]) -> None:
    """Assert what ``ir`` promises of every event list."""
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], Finish | Failure)
    assert sum(isinstance(event, Start) for event in events) == 1
    assert sum(isinstance(event, Finish | Failure) for event in events) == 1
    opened: int | None = None
    following = 0
    for event in events:
        match event:
            case BlockStart(index=index, kind=kind, tool=tool):
                assert opened is None
                assert index == following
                assert (tool is not None) == (kind == "tool")
                assert tool is None or (tool.id and tool.name)
                opened, following = index, following + 1
            case BlockEnd(index=index):
                assert opened == index
                opened = None
            case Delta(index=index, text=text):
                assert opened == index
                assert text
            case Sealed(index=index) | Cited(index=index):
                assert opened == index
    assert opened is None or isinstance(events[-1], Failure)


def plain(value: Any) -> Any:
    """Return a neutral value as JSON: the class's name and what differs from its defaults."""
    if is_dataclass(value):
        said = {
            each.name: plain(found)
            for each in fields(value)
            if (found := getattr(value, each.name)) not in (None, (), {}, "", False, each.default)
        }
        return {"is": type(value).__name__, **said}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def as_json(value: Any) -> str:
    """Write a golden file's text."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def golden(path: Path, found: str) -> None:
    """Compare with a golden file; with ``KUROL_UPDATE_GOLDEN=1`` write it instead."""
    if os.environ.get("KUROL_UPDATE_GOLDEN") == "1":
        path.write_text(found)
    assert path.read_text() == found


def cases(folder: str, *endings: str) -> list[Path]:
    """Return the inputs of a folder: the files whose names have one dot."""
    found = [path for ending in endings for path in (GOLDEN / folder).glob(f"*.{ending}")]
    return sorted(path for path in found if path.name.count(".") == 1)


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
