"""What the tests of this codec share: contexts, streams, golden files, the vendor's SDK."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
from openai import LengthFinishReasonError, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    ModelTraits,
    Request,
    Sealed,
    Start,
    StreamEvent,
)
from kurolproxy.protocols.base import AnswerContext, Outgoing, PassFacts, TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.openai_chat.codec import CODEC
from kurolproxy.protocols.openai_chat.scan import ChatScanner
from kurolproxy.sse import FrameSplitter

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "openai_chat"
CUTS = (1, 2, 3, 7, 64)


def ids() -> Callable[[str], str]:
    """Return a maker of ids that counts."""
    numbers = count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def context(
    *, family: str = "", model: str = "m1", max_event_bytes: int = 16_777_216, **asked: Any
) -> AnswerContext:
    """Return the context of an answer to a request that says what is ``asked``."""
    request = Request(model, (), **{"include_usage": True, **asked})
    return AnswerContext(
        model, 1_700_000_000, ids(), request, family, max_event_bytes=max_event_bytes
    )


def target(cap: int | None = None, /, **traits: Any) -> TargetView:
    """Return a target with these traits."""
    return TargetView("up", "public", ModelTraits(**traits), cap)


def encoded(request: Request, view: TargetView | None = None) -> tuple[Outgoing, list[str]]:
    """Normalise and encode a request; return it with the names of what was lost."""
    reader = Reader(normalise(request))
    outgoing = CODEC.encode_request(reader, view or target())
    return outgoing, reader.losses()


def body(request: Request, view: TargetView | None = None) -> dict[str, Any]:
    """Normalise and encode a request; return its body."""
    return encoded(request, view)[0].body


def asked(**wire: Any) -> Request:
    """Read a request that has these fields beside the least it needs."""
    least = {"model": "m1", "messages": [{"role": "user", "content": "Hi"}]}
    return CODEC.decode_request({**least, **wire})


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """Yield the pieces of ``data``."""
    return (data[at : at + size] for at in range(0, len(data), size))


def decode(pieces: Iterable[bytes], answer: AnswerContext | None = None) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    decoder = CODEC.decoder(answer or context())
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


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


def cases(folder: str, ending: str) -> list[Path]:
    """Return the inputs of a folder: the files whose names have one dot."""
    found = sorted((GOLDEN / folder).glob(f"*.{ending}"))
    return [path for path in found if path.name.count(".") == 1]


def sdk_chunks(stream: bytes) -> list[ChatCompletionChunk]:
    """Parse every chunk of a stream strictly by the types of the vendor's SDK."""
    datas = [part.removeprefix("data: ") for part in stream.decode().split("\n\n") if part]
    return [ChatCompletionChunk.model_validate_json(data) for data in datas if data != "[DONE]"]


def sdk_completion(stream: bytes) -> ChatCompletion:
    """Read a stream with the vendor's SDK, the way its users do."""
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx2.MockTransport(lambda _request: response)
    with (
        httpx2.Client(transport=transport) as http,
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
