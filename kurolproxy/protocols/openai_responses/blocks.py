"""The one line of blocks that a decoder writes: one is open at a time.

States of a block: waiting (another is open, a call has no name yet, a message no words)
-> open -> ended.

What is said of a waiting block is kept. When the open block ends, the next one goes out.
OpenRouter announces the end of the thoughts behind the whole text that follows them: so
an open block of thoughts ends as soon as another block is there.
"""

from __future__ import annotations

from collections import deque

from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Citation,
    Cited,
    Delta,
    Seal,
    Sealed,
    StreamEvent,
    ToolHead,
)


class Block:
    """One block.

    Attributes:
        index: our number of it, from the moment it is open.
        tool: what is known of a call.
        piece: which of the upstream's pieces is being said; thoughts come in several.
        said: the texts of that piece, and ``size`` the number of their characters.
        held: what was said while the block waited.
        whole: arguments that came with the announcement, used when no others come.
        ended: nothing more may be said.
    """

    __slots__ = (
        "ended",
        "held",
        "index",
        "kind",
        "notes",
        "piece",
        "proof",
        "said",
        "size",
        "spoke",
        "tool",
        "whole",
    )

    def __init__(self, kind: BlockKind, tool: ToolHead | None = None) -> None:
        self.kind = kind
        self.tool = tool
        self.index = -1
        self.piece = 0
        self.said: list[str] = []
        self.size = 0
        self.spoke = False
        self.held: list[str] = []
        self.whole = ""
        self.notes: dict[Citation, None] = {}
        self.proof: Seal | None = None
        self.ended = False

    @property
    def ready(self) -> bool:
        """Whether it may be opened: a call has a name, anything else says something."""
        if self.tool is not None:
            return bool(self.tool.name)
        return self.spoke or self.proof is not None

    def turn(self, piece: int) -> None:
        """Begin another piece."""
        self.piece = piece
        self.said.clear()
        self.size = 0

    def rest(self, full: str) -> str:
        """Return what is missing of a piece whose full text is told at its end.

        Returns:
            "" too when the full text does not begin with what was said: that stays as it is.
        """
        if len(full) <= self.size:
            return ""
        said = "".join(self.said)
        return full[self.size :] if full.startswith(said) else ""


class BlockLine:
    """Blocks in the order in which they were first heard of.

    Attributes:
        events: where events go.
        open: the block that is open.
    """

    __slots__ = ("_next", "_waiting", "events", "open")

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []
        self.open: Block | None = None
        self._waiting: deque[Block] = deque()
        self._next = 0

    def add(self, block: Block) -> None:
        """Put a new block behind the others."""
        self._waiting.append(block)
        self.advance()

    def say(self, block: Block, text: str) -> None:
        """Add text to a block that has not ended."""
        block.said.append(text)
        block.size += len(text)
        block.spoke = True
        if block is self.open:
            self.events.append(Delta(block.index, text))
            return
        block.held.append(text)
        if len(block.held) == 1:
            self.advance()

    def end(self, block: Block) -> None:
        """Note that nothing more comes of a block."""
        if not block.ended:
            if block.whole and not block.spoke:
                self.say(block, block.whole)
            block.ended = True
            block.said.clear()
            self.advance()

    def advance(self) -> None:
        """Write the end of the open block and open the next, as far as that can be done."""
        while True:
            block = self.open
            if block is not None:
                if not (block.ended or self._yields(block)):
                    return
                self._close(block)
            if not self._waiting:
                return
            first = self._waiting[0]
            if first.ready:
                self._show(self._waiting.popleft())
            elif first.ended and first.tool is None:
                # It had a place, and nothing came.
                self._waiting.popleft()
            else:
                return

    def flush(self) -> bool:
        """End what is left, in order.

        Returns:
            False when there are arguments of a call whose name never came.
        """
        whole = True
        while self.open is not None or self._waiting:
            if self.open is not None:
                self.end(self.open)
                continue
            # Nothing was said of it, or it is a call without a name.
            silent = self._waiting.popleft()
            whole = whole and not silent.spoke and not silent.whole
            self.advance()
        return whole

    def _yields(self, block: Block) -> bool:
        return block.kind == "reasoning" and bool(self._waiting) and self._waiting[0].ready

    def _show(self, block: Block) -> None:
        block.index = self._next
        self._next += 1
        self.open = block
        self.events.append(BlockStart(block.index, block.kind, block.tool))
        if block.held:
            self.events.append(Delta(block.index, "".join(block.held)))
            block.held.clear()

    def _close(self, block: Block) -> None:
        if block.proof is not None:
            self.events.append(Sealed(block.index, block.proof))
        self.events += [Cited(block.index, each) for each in block.notes]
        self.events.append(BlockEnd(block.index))
        block.ended = True
        block.said.clear()
        self.open = None
