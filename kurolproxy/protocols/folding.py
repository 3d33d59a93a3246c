"""A whole answer out of its events: only the stream codecs carry logic."""

from __future__ import annotations

from dataclasses import dataclass, field

from kurolproxy.ir import (
    Block,
    BlockEnd,
    BlockKind,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Failure,
    Finish,
    Response,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)


@dataclass(slots=True)
class _OpenBlock:
    kind: BlockKind
    tool: ToolHead | None
    texts: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    seal: Seal | None = None

    def close(self) -> Block:
        return Block(self.kind, "".join(self.texts), self.tool, self.seal, tuple(self.citations))


def fold(events: list[StreamEvent]) -> Response | Failure:
    """Add up an event list.

    Args:
        events: a whole list, as the guarantees at the top of this module say.

    Returns:
        the answer, or the failure that ended it.
    """
    start, usage = Start(), None
    blocks: list[_OpenBlock] = []
    for event in events:
        match event:
            case Delta(text=text):
                blocks[-1].texts.append(text)
            case BlockStart(kind=kind, tool=tool):
                blocks.append(_OpenBlock(kind, tool))
            case Sealed(seal=seal):
                blocks[-1].seal = seal
            case Cited(citation=citation):
                blocks[-1].citations.append(citation)
            case UsageSeen(usage=seen):
                usage = seen
            case Start():
                start = event
            case Failure():
                return event
            case Finish():
                done = tuple(block.close() for block in blocks)
                return Response(start.id, start.model, done, usage, event)
            case BlockEnd():
                pass
    return Failure("the answer ended without a terminal event")
