"""What the tests of all protocols share about answers: contexts, pieces, events, SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from typing import Any

import httpx2
from hypothesis import strategies as st

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    Request,
    Sealed,
    Start,
    StreamEvent,
)
from kurolproxy.protocols.base import AnswerContext, StreamDecoder
from kurolproxy.sse import FrameSplitter

CUTS = (1, 2, 3, 7, 64)
_MAX_EVENT_BYTES = 16_777_216


def ids() -> Callable[[str], str]:
    """Return a maker of ids that counts."""
    numbers = count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def answer_context(
    family: str,
    *,
    model: str = "m1",
    new_id: Callable[[str], str] | None = None,
    max_event_bytes: int = _MAX_EVENT_BYTES,
    **asked: Any,
) -> AnswerContext:
    """Return the context of an answer to a request that says what is ``asked``."""
    request = Request(model, (), **asked)
    return AnswerContext(
        model, 1_700_000_000, new_id or ids(), request, family, max_event_bytes=max_event_bytes
    )


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """Yield the pieces of ``data``."""
    return (data[at : at + size] for at in range(0, len(data), size))


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Return the pieces of any split; some may be empty."""
    at = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[one:other] for one, other in pairwise([0, *at, len(data)])]


def fed(decoder: StreamDecoder, pieces: Iterable[bytes]) -> list[StreamEvent]:
    """Decode a stream that comes in pieces."""
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def whole_frames(pieces: Iterable[bytes], *, with_rest: bool = False) -> Iterator[bytes]:
    """Yield what a splitter makes of the pieces, as scanners get it; at the end the rest."""
    splitter = FrameSplitter(_MAX_EVENT_BYTES)
    yield from filter(None, map(splitter.cut, pieces))
    if with_rest and (rest := splitter.rest()):
        yield rest


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


def check_named(events: list[StreamEvent]) -> None:
    """Assert ``check_guarantees``, and that every call has an id and a name.

    Decoders of vendors that leave ids out make some; Messages hands on what it reads.
    """
    check_guarantees(events)
    heads = [event.tool for event in events if isinstance(event, BlockStart) and event.tool]
    assert all(head.id and head.name for head in heads)


def sdk_transport(stream: bytes) -> httpx2.Client:
    """Return what an SDK sends through to get this stream as its answer."""
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _request: response))
