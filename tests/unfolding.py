"""The events of a whole answer, for tests that begin with the answer."""

from __future__ import annotations

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Response,
    Sealed,
    Start,
    StreamEvent,
    UsageSeen,
)


def unfold(response: Response) -> list[StreamEvent]:
    """Return the shortest event list that ``fold`` turns into ``response``."""
    events: list[StreamEvent] = [Start(response.id, response.model)]
    for index, block in enumerate(response.blocks):
        events.append(BlockStart(index, block.kind, block.tool))
        if block.text:
            events.append(Delta(index, block.text))
        if block.seal is not None:
            events.append(Sealed(index, block.seal))
        events.extend(Cited(index, citation) for citation in block.citations)
        events.append(BlockEnd(index))
    if response.usage is not None:
        events.append(UsageSeen(response.usage))
    events.append(response.finish)
    return events
