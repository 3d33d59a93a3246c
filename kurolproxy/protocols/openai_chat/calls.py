"""The blocks of a streamed answer, and its tool calls put in order.

Chat streams may send the arguments of several calls in turns (0, 1, 0, 1); the neutral
form has one block open at a time. States of a call:

    waiting (no name yet, or an earlier call is open) -> open -> ended

The first call with a name is open and its fragments go out at once. When another one
begins, the open call ends as soon as its arguments are a whole JSON value; until then
the others wait, their fragments kept. ``flush`` ends what is left, in order.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Delta,
    Seal,
    Sealed,
    StreamEvent,
    ToolHead,
)
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_chat.arguments import ArgumentsEnd
from kurolproxy.protocols.openai_chat.messages import thought_signature
from kurolproxy.protocols.openai_chat.vocabulary import (
    chat_seal,
    read_arguments,
    read_call,
)


class Blocks:
    """The one line of blocks that a decoder writes.

    Attributes:
        events: where events go; the decoder sets it for each read.
        index: of the last block opened.
        kind: of the open block, None when none is open.
    """

    __slots__ = ("_family", "_thoughts", "events", "index", "kind")

    def __init__(self, family: str) -> None:
        self._family = family
        self._thoughts: list[str] = []
        self.events: list[StreamEvent] = []
        self.index = -1
        self.kind: BlockKind | None = None

    def say(self, kind: BlockKind, text: str) -> None:
        """Write words, into the open block when it is of their kind."""
        if kind != self.kind:
            self.open(kind)
        if kind == "reasoning" and self._family:
            self._thoughts.append(text)
        self.events.append(Delta(self.index, text))

    def open(self, kind: BlockKind, tool: ToolHead | None = None) -> None:
        """End the open block and begin another."""
        self.close()
        self.index += 1
        self.kind = kind
        self.events.append(BlockStart(self.index, kind, tool))

    def prove(self, proof: str) -> None:
        """Write a Gemini proof, a block of its own before the part it belongs to."""
        if not self._family:
            return
        self.open("reasoning")
        self.events.append(Sealed(self.index, Seal("g", self._family, proof)))
        self.close()

    def close(self) -> None:
        """End the open block, if any."""
        if self.kind is None:
            return
        if self._thoughts:
            seal = chat_seal(self._family, "".join(self._thoughts))
            self.events.append(Sealed(self.index, seal))
            self._thoughts.clear()
        self.events.append(BlockEnd(self.index))
        self.kind = None


class _Call:
    """One call of the stream."""

    __slots__ = ("args", "checked", "end", "ended", "head", "proof")

    def __init__(self, head: ToolHead) -> None:
        self.head = head
        self.args: list[str] = []
        self.proof = ""
        self.ended = False
        # How many fragments were looked at: none while nobody waits for the end.
        self.checked = 0
        self.end = ArgumentsEnd()

    def learn(self, head: ToolHead, proof: str | None) -> None:
        """Take what a later delta says first; what is repeated does not count."""
        mine = self.head
        if not (mine.id and mine.name):
            kind = mine.kind if mine.name else head.kind
            self.head = ToolHead(mine.id or head.id, mine.name or head.name, kind)
        self.proof = self.proof or proof or ""

    def whole(self) -> bool:
        """Return whether the arguments are a whole JSON value."""
        if self.head.kind == "custom":
            # Free text: nothing in it says where it ends.
            return True
        for fragment in self.args[self.checked :]:
            self.end.feed(fragment)
        self.checked = len(self.args)
        return self.end.whole(self.args)


class CallQueue:
    """The calls of one streamed answer."""

    __slots__ = ("_answer", "_blocks", "_by_index", "_calls", "_open", "_waiting", "seen")

    def __init__(self, blocks: Blocks, answer: AnswerContext) -> None:
        self._blocks = blocks
        self._answer = answer
        self._by_index: dict[int, _Call] = {}
        self._calls: list[_Call] = []
        self._open: _Call | None = None
        self._waiting: deque[_Call] = deque()
        self.seen = False

    @property
    def active(self) -> bool:
        """Whether a call is open or waits."""
        return self._open is not None or bool(self._waiting)

    def delta(self, item: dict[str, Any]) -> str:
        """Take one delta of one call.

        Returns:
            what is wrong with it; "" when nothing is.
        """
        head, fragment = read_call(item), read_arguments(item)
        index = item.get("index")
        call = self._find(head, index if isinstance(index, int) else None)
        if call is None:
            if not (head.id or head.name or fragment):
                return ""
            call = self._begin(head, index)
        call.learn(head, thought_signature(item))
        if fragment:
            if call.ended:
                return "arguments came for a tool call that had ended" if fragment.strip() else ""
            call.args.append(fragment)
            if call is self._open:
                self._blocks.events.append(Delta(self._blocks.index, fragment))
        self._advance()
        return ""

    def flush(self) -> str:
        """End every call, in order.

        Returns:
            what is wrong with one of them; "" when nothing is.
        """
        self._end()
        while self._waiting:
            call = self._waiting.popleft()
            if call.head.name:
                self._show(call)
                self._end()
            elif call.args:
                return "a tool call came without a name"
        return ""

    def _find(self, head: ToolHead, index: int | None) -> _Call | None:
        """Return the call that a delta continues, None when it begins one."""
        if index is not None:
            call = self._by_index.get(index)
            # Some servers count every call as 0: another id with a name is another call.
            other = call is not None and head.id and head.name and call.head.id
            return None if other and call is not None and call.head.id != head.id else call
        if not self._calls:
            return None
        last = self._calls[-1]
        if head.id and head.id != last.head.id:
            return next((call for call in self._calls if call.head.id == head.id), None)
        if head.name and last.head.name and not head.id:
            # Without ids a name begins a call, unless it only repeats the one being said.
            same = head.name == last.head.name and not last.whole()
            return last if same else None
        return last

    def _begin(self, head: ToolHead, index: Any) -> _Call:
        call = _Call(head)
        self._calls.append(call)
        self._waiting.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _advance(self) -> None:
        """Let the next call out when the open one is whole."""
        while self._waiting:
            if self._open is not None:
                if not self._open.whole():
                    return
                self._end()
            if not self._waiting[0].head.name:
                return
            self._show(self._waiting.popleft())

    def _show(self, call: _Call) -> None:
        """Open a call's block and say what was kept of it."""
        if call.proof:
            self._blocks.prove(call.proof)
        head = call.head
        call_id = head.id or self._answer.new_id("call_")
        self._blocks.open("tool", ToolHead(call_id, head.name, head.kind))
        kept = "".join(call.args)
        if kept:
            self._blocks.events.append(Delta(self._blocks.index, kept))
        self._open = call
        self.seen = True

    def _end(self) -> None:
        if self._open is None:
            return
        self._open.ended = True
        self._open = None
        self._blocks.close()
