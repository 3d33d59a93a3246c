"""The items of an upstream's answer, and which of them an event is about."""

from __future__ import annotations

from collections import deque
from typing import Any

from kurolproxy.protocols.openai_responses.blocks import Block, BlockLine


class Item:
    """One item of the upstream's.

    Attributes:
        blocks: of its parts, by their number; thoughts and calls have one.
        channel: which of its texts is read: thoughts come as summary or raw, seldom as both.
        closed: it was told in full.
        claimed: the terminal event told it again.
    """

    __slots__ = ("blocks", "channel", "claimed", "closed", "id", "index", "type")

    def __init__(self, type_: str, index: int | None, id_: str) -> None:
        self.type = type_
        self.index = index
        self.id = id_
        self.blocks: dict[int, Block] = {}
        self.channel = ""
        self.closed = False
        self.claimed = False


class Items:
    """The items of one answer, in the order in which they were heard of.

    Args:
        line: where their blocks stand.
    """

    __slots__ = ("_by_id", "_by_index", "_last", "_line", "_unclaimed")

    def __init__(self, line: BlockLine) -> None:
        self._line = line
        self._by_index: dict[int, Item] = {}
        self._by_id: dict[tuple[str, str], Item] = {}
        self._last: dict[str, Item] = {}
        self._unclaimed: dict[str, deque[Item]] = {}

    def new(self, type_: str, index: int | None, id_: str) -> Item:
        """Begin an item; one that had its place before ends."""
        item = Item(type_, index, id_)
        self._last[type_] = self._by_id[type_, id_] = item
        self._unclaimed.setdefault(type_, deque()).append(item)
        if index is not None:
            before = self._by_index.get(index)
            if before is not None:
                self.end(before)
            self._by_index[index] = item
        return item

    def end(self, item: Item) -> None:
        """Note that nothing more comes of an item."""
        item.closed = True
        for block in item.blocks.values():
            self._line.end(block)

    def announced(self, type_: str, event: dict[str, Any], id_: str) -> Item | None:
        """Return the item that an event announces; None when it only repeats that."""
        index = _place(event)
        known = self._by_index.get(index) if index is not None else None
        if known is not None and not known.closed and (known.type, known.id) == (type_, id_):
            return None
        return self.new(type_, index, id_)

    def found(self, type_: str, event: dict[str, Any], id_: str) -> Item:
        """Return the item that an event belongs to; one that was not announced is new."""
        index = _place(event)
        if index is not None:
            item = self._by_index.get(index)
            return item if item is not None and item.type == type_ else self.new(type_, index, id_)
        item = self._by_id.get((type_, id_)) if id_ else self._last.get(type_)
        return item or self.new(type_, None, id_)

    def told(self, type_: str, event: dict[str, Any], id_: str) -> Item | None:
        """Return the item that an event tells in full; None when that was done before."""
        item = self.found(type_, event, id_)
        if not item.closed:
            return item
        return None if item.id == id_ else self.new(type_, item.index, id_)

    def claimed(self, type_: str, index: int, id_: str) -> Item:
        """Return the item that the terminal event tells again, each of them once.

        Args:
            index: its place in the whole output.
        """
        same = self._by_id.get((type_, id_)) if id_ else None
        there = self._by_index.get(index)
        item = next((each for each in (same, there) if _free(each, type_)), None)
        if item is None:
            # Other numbers than in the events before: some vendors leave out their own items.
            rest = self._unclaimed.get(type_, deque())
            while rest and rest[0].claimed:
                rest.popleft()
            item = rest[0] if rest else self.new(type_, None, id_)
        item.claimed = True
        return item


def _free(item: Item | None, type_: str) -> bool:
    return item is not None and item.type == type_ and not item.claimed


def _place(event: dict[str, Any]) -> int | None:
    index = event.get("output_index")
    return index if type(index) is int else None
