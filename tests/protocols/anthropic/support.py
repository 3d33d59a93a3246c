"""What the tests of this codec share: contexts, streams, golden files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
from anthropic import Anthropic
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    ModelTraits,
    ReasoningWish,
    Request,
    Sealed,
    Start,
    StreamEvent,
)
from kurolproxy.protocols.anthropic.codec import CODEC
from kurolproxy.protocols.base import AnswerContext, Outgoing, TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "anthropic"
SHOWN = ReasoningWish(mode="adaptive", show="summary")
CUTS = (1, 2, 3, 7, 64)


def ids() -> Callable[[str], str]:
    """Return a maker of ids that counts."""
    numbers = count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def context(
    reasoning: ReasoningWish | None = SHOWN,
    *,
    family: str = "claude",
    model: str = "m1",
    max_event_bytes: int = 16_777_216,
) -> AnswerContext:
    """Return the context of an answer."""
    request = Request(model, (), reasoning=reasoning)
    return AnswerContext(
        model, 1_700_000_000, ids(), request, family, max_event_bytes=max_event_bytes
    )


def target(limit: int | None = None, **traits: Any) -> TargetView:
    """Return a target with these traits, of a model with this longest answer."""
    return TargetView("claude-up", "public", ModelTraits(**traits), limit)


def encoded(request: Request, view: TargetView | None = None) -> tuple[Outgoing, list[str]]:
    """Normalise and encode a request; return it with the names of what was lost."""
    reader = Reader(normalise(request))
    outgoing = CODEC.encode_request(reader, view or target())
    return outgoing, reader.losses()


def body(request: Request, view: TargetView | None = None) -> dict[str, Any]:
    """Normalise and encode a request; return its body."""
    return encoded(request, view)[0].body


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """Yield the pieces of ``data``."""
    return (data[at : at + size] for at in range(0, len(data), size))


def decode(pieces: Iterable[bytes], answer: AnswerContext | None = None) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    decoder = CODEC.decoder(answer or context())
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


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
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx2.MockTransport(lambda _request: response)
    with (
        httpx2.Client(transport=transport) as http,
        Anthropic(api_key="none", base_url="http://sdk.invalid", http_client=http) as client,
        client.messages.stream(
            model="m1", max_tokens=1, messages=[{"role": "user", "content": "Hello"}]
        ) as answer,
    ):
        return answer.get_final_message()
