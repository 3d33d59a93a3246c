"""What happens to an answer's events between the upstream's decoder and the client's encoder.

Filters take lists of events and return lists of events; what they return keeps the
guarantees of ``ir``. A filter that has nothing to do returns the list it was given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, Protocol, TypeGuard

from kurolproxy.ir import (
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    Request,
    Sealed,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Outgoing
from kurolproxy.protocols.names import Origin, ToolNames
from kurolproxy.tokens import Usage

# A sealed token over 1 MiB is never read again: a longer text is left out of it.
_MAX_SEALED_BYTES = 700_000

Events = list[StreamEvent]
Show = Literal["none", "summary", "raw"]


class Filter(Protocol):
    """One step of the pipeline."""

    def feed(self, events: Events) -> Events:
        """Return what the next step gets instead of ``events``."""
        ...


class Meter:
    """What the books and the failover need to know of an answer, read on the way.

    Attributes:
        usage: the upstream's last word on it.
        emitted_bytes: UTF-8 bytes of all text, reasoning and arguments included.
        content: text, reasoning, a tool call or the end was seen.
        finish: the end, once the answer is whole.
        failure: the end, when the answer broke off.
    """

    __slots__ = ("content", "emitted_bytes", "failure", "finish", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.emitted_bytes = 0
        self.content = False
        self.finish: Finish | None = None
        self.failure: Failure | None = None

    def feed(self, events: Events) -> Events:
        """Read the events and return them."""
        for event in events:
            if type(event) is Delta:
                self.say(event.text)
            else:
                self._note(event)
        return events

    def say(self, text: str) -> None:
        """Note some of the text."""
        self.content = True
        self.emitted_bytes += len(text) if text.isascii() else _utf8(text)

    def _note(self, event: StreamEvent) -> None:
        match event:
            case UsageSeen(usage=usage):
                self.usage = usage
            case Finish():
                self.finish = event
                self.content = True
            case Sealed():
                self.content = True
            case BlockStart(tool=ToolHead()):
                self.content = True
            case Failure():
                self.failure = event
            case _:
                pass


def _utf8(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


class ToolRestorer:
    """Give the called tools their client's names, and custom tools their bare input.

    A custom tool that went out as a function comes back as JSON arguments: they are held
    until the block ends, then the client gets ``input`` out of them in one piece, or the
    arguments as they are when that cannot be had.

    Args:
        names: the table that the request's encoder filled.
    """

    __slots__ = ("_held", "_names")

    def __init__(self, names: ToolNames) -> None:
        self._names = names
        self._held: list[str] | None = None

    @property
    def holds(self) -> bool:
        """Whether a call's arguments are held until its end."""
        return self._held is not None

    def feed(self, events: Events) -> Events:
        """Return the events with tools as the client knows them."""
        if self._held is None and not any(type(event) is BlockStart for event in events):
            return events
        out: Events = []
        for event in events:
            self._one(event, out)
        return out

    def _one(self, event: StreamEvent, out: Events) -> None:
        match event:
            case BlockStart(index=index, kind=kind, tool=ToolHead() as head):
                origin = self._origin(head)
                out.append(BlockStart(index, kind, _restored(head, origin)))
                self._held = [] if origin is not None and origin.wrapped else None
            case Delta(text=text) if self._held is not None:
                self._held.append(text)
            case BlockEnd(index=index) if self._held is not None:
                text = _unwrapped("".join(self._held))
                self._held = None
                out += [Delta(index, text), event] if text else [event]
            case _:
                out.append(event)

    def _origin(self, head: ToolHead) -> Origin | None:
        if head.ns is None:
            return self._names.restore(head.name)
        # The upstream knows namespaces: only a name that we joined is looked up.
        joined = self._names.restore(self._names.encode(head.name, head.ns))
        return joined if joined.ns is not None else None


def _restored(head: ToolHead, origin: Origin | None) -> ToolHead:
    if origin is None:
        return head
    kind = head.kind if origin.kind == "function" else origin.kind
    return ToolHead(head.id, origin.name, kind, origin.ns)


def _unwrapped(arguments: str) -> str:
    try:
        value = wire.load_exact(arguments.encode("utf-8", "surrogatepass"))
    except wire.WireError:
        return arguments
    if not isinstance(value, dict) or "input" not in value:
        return arguments
    given = value["input"]
    return given if isinstance(given, str) else wire.compact(given)


class ReasoningFilter:
    """Hide the reasoning from a client that did not ask for it, but not its proof.

    The text of a hidden block goes into its seal, so that the client can bring both back
    without having seen one of them. A block without a proof is left out altogether, and
    the blocks behind it move up.
    """

    __slots__ = ("_block", "_gone", "_seal", "_size", "_texts")

    def __init__(self) -> None:
        self._block: BlockStart | None = None  # the open reasoning block
        self._texts: list[str] = []
        self._size = 0
        self._seal: Sealed | None = None
        self._gone = 0  # how many blocks were left out

    def feed(self, events: Events) -> Events:
        """Return the events without reasoning."""
        if self._block is None and not self._gone and not any(map(_opens_reasoning, events)):
            return events
        out: Events = []
        for event in events:
            if self._block is not None:
                self._inside(event, out)
            elif _opens_reasoning(event):
                self._block = event
            else:
                out.append(_moved(event, self._gone))
        return out

    def _inside(self, event: StreamEvent, out: Events) -> None:
        match event:
            case Delta(text=text):
                self._size += _utf8(text)
                if self._size <= _MAX_SEALED_BYTES:
                    self._texts.append(text)
                else:
                    self._texts.clear()
            case Sealed():
                self._seal = event
            case BlockEnd():
                self._close(out)
            case Finish() | Failure():
                self._close(out)
                out.append(event)
            case _:
                out.append(event)

    def _close(self, out: Events) -> None:
        if self._block is not None and self._seal is not None:
            seal = self._seal.seal
            text = "".join(self._texts)
            if text and not seal.redacted:
                seal = replace(seal, text=text)
            index = self._block.index - self._gone
            out += [BlockStart(index, "reasoning"), Sealed(index, seal), BlockEnd(index)]
        else:
            self._gone += 1
        self._block, self._seal, self._size = None, None, 0
        self._texts.clear()


def _opens_reasoning(event: StreamEvent) -> TypeGuard[BlockStart]:
    return type(event) is BlockStart and event.kind == "reasoning"


def _moved(event: StreamEvent, by: int) -> StreamEvent:
    """Return the event for a block that moved up by so many places."""
    if not by:
        return event
    match event:
        case Delta(index=index, text=text):
            return Delta(index - by, text)
        case BlockStart() | BlockEnd() | Sealed() | Cited():
            return replace(event, index=event.index - by)
        case _:
            return event


class StopFilter:
    """End the answer where one of the stop texts begins, for an upstream that cannot.

    The last characters of a text block are held back while they could be the beginning
    of a stop text. The stop text that is complete first wins, of several that end at one
    place the longest: however the text is cut into deltas, the answer is the same.

    Args:
        stops: the texts; empty ones are ignored.

    Attributes:
        stopped: a stop text was met: the upstream may be left, nothing more comes out.
    """

    __slots__ = ("_block", "_held", "_hold", "_stops", "stopped")

    def __init__(self, stops: Iterable[str]) -> None:
        # The longest first: of several that end at one place it is found first.
        self._stops = tuple(sorted(filter(None, stops), key=len, reverse=True))
        self._hold = len(self._stops[0]) - 1 if self._stops else 0
        self._block: int | None = None  # the open text block
        self._held = ""
        self.stopped = False

    def feed(self, events: Events) -> Events:
        """Return the events up to the first stop text."""
        if self.stopped:
            return []
        out: Events = []
        for at, event in enumerate(events):
            if self._block is not None:
                stop = self._inside(event, self._block, out)
                if stop is not None:
                    self.stopped = True
                    return out + _ending(self._block, stop, events[at + 1 :])
            else:
                out.append(event)
                if type(event) is BlockStart and event.kind == "text":
                    self._block = event.index
        return out

    def _inside(self, event: StreamEvent, block: int, out: Events) -> str | None:
        """Take one event of the open text block; return the stop text it completed."""
        if type(event) is Delta:
            text = self._held + event.text
            start, stop = self._first(text)
            keep = start if stop else max(len(text) - self._hold, 0)
            if keep:
                out.append(Delta(block, text[:keep]))
            self._held = text[keep:]
            return stop or None
        if type(event) in (BlockEnd, Finish, Failure):
            if self._held:
                out.append(Delta(block, self._held))
            self._held, self._block = "", None
        out.append(event)
        return None

    def _first(self, text: str) -> tuple[int, str]:
        """Return start and text of the stop text that ends first; the longest of those."""
        first, first_end = (0, ""), len(text) + 1
        for stop in self._stops:
            at = text.find(stop)
            if at >= 0 and at + len(stop) < first_end:
                first, first_end = (at, stop), at + len(stop)
        return first


def _ending(block: int, stop: str, rest: Events) -> Events:
    """Return what closes a cut answer; a usage that came along is kept."""
    usages = [event for event in rest if type(event) is UsageSeen]
    return [BlockEnd(block), *usages[-1:], Finish("stop_sequence", stop_sequence=stop)]


class Pipeline:
    """The filters of one answer, in order; only those that it needs.

    Args:
        tools: the names that the tools went by at the upstream.
        stops: stop texts that the upstream was not told (``Outgoing.local_stop``).
        show: whether the client reads the reasoning.

    Attributes:
        meter: what was seen so far.
    """

    __slots__ = ("_alone", "_filters", "_restorer", "_stop", "meter")

    def __init__(
        self, tools: ToolNames, stops: tuple[str, ...] = (), show: Show = "summary"
    ) -> None:
        self.meter = Meter()
        self._stop = StopFilter(stops) if any(stops) else None
        self._restorer = ToolRestorer(tools)
        filters: list[Filter] = [self._restorer]
        if show == "none":
            filters.append(ReasoningFilter())
        if self._stop is not None:
            filters.append(self._stop)
        self._filters = tuple(filters)
        self._alone = len(filters) == 1

    @property
    def stopped(self) -> bool:
        """Whether a stop text ended the answer: the upstream may be left."""
        return self._stop is not None and self._stop.stopped

    def feed(self, events: Events) -> Events:
        """Return the events that the client's encoder gets for the upstream's ``events``."""
        if self._alone and len(events) == 1:
            only = events[0]
            if type(only) is Delta and not self._restorer.holds:
                # The hot path: more of a block, and nobody to change it.
                self.meter.say(only.text)
                return events
        before = self.meter.finish
        self.meter.feed(events)
        for each in self._filters:
            events = each.feed(events)
        if self.stopped:
            self._end(events, before)
        return events

    def _end(self, events: Events, before: Finish | None) -> None:
        """Book the end that the client sees, not what the upstream said behind it."""
        last = events[-1] if events else before
        self.meter.finish = last if isinstance(last, Finish) else before
        self.meter.failure = None


def build(request: Request, sent: Outgoing) -> Pipeline:
    """Make the pipeline of one translated answer.

    Args:
        request: what the client asked; one that says nothing about reasoning shows it.
        sent: what the upstream was asked.
    """
    show = "summary" if request.reasoning is None else request.reasoning.show
    return Pipeline(sent.tools, sent.local_stop, show)
