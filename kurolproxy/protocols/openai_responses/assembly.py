"""The items of an upstream's answer, put in the order that ``ir`` guarantees.

Streamed and whole answers come through here: a whole one is a stream in which every item
comes finished. States of one answer: before its beginning; between items; inside items;
done. An item is announced (``output_item.added``), filled by deltas, told in full when its
parts and itself are done, and told again by the terminal event. Upstreams were seen to leave
out any of these, to write other ids in each event and to tell items late: an item is found
by its place, then by its id, and of what is told in full only the missing end counts.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kurolproxy.ir import (
    BlockKind,
    Delta,
    Failure,
    Finish,
    FinishReason,
    Seal,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_responses.blocks import Block, BlockLine
from kurolproxy.protocols.openai_responses.error import read_failure
from kurolproxy.protocols.openai_responses.events import (
    ARGUMENTS,
    BETWEEN,
    BROKEN,
    DELTAS,
    DONE,
    INCOMPLETE,
    PARTS,
    TERMINALS,
    inner,
    is_ours,
    number_of,
    objects,
    piece_number,
    words,
)
from kurolproxy.protocols.openai_responses.items import Item, Items
from kurolproxy.protocols.openai_responses.usage import read_usage
from kurolproxy.protocols.openai_responses.vocabulary import (
    CALL_ID,
    CALL_KINDS,
    MESSAGE,
    REASONING,
    REASONING_TEXT,
    arguments_text,
    citations,
)

_STRAY = "the upstream's answer is malformed: arguments came for a call that had ended"
_NAMELESS = "the upstream's answer is malformed: a call has no name"


class Assembly:
    """Read the events of one answer.

    Attributes:
        done: the terminal event was read.
        touched: the block that the last event added text to.
    """

    def __init__(self, answer: AnswerContext) -> None:
        self.done = False
        self.touched: Block | None = None
        self._answer = answer
        self._line = BlockLine()
        self._begun = False
        self._called = False
        self._items = Items(self._line)

    def knows(self, name: str) -> bool:
        """Return whether events of this name matter; "" and "message" are no names."""
        return name in ("", "message") or name in _READERS

    def take(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        out, self._line.events = self._line.events, []
        return out

    def event(self, name: str, event: dict[str, Any]) -> None:
        """Take one event of the upstream's; unknown ones say nothing."""
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = name or ("error" if "error" in event else "")
        reader = _READERS.get(kind)
        self.touched = None
        if reader is None or self.done:
            return
        if reader not in _UNBEGUN:
            self._begin()
        reader(self, kind, event)

    def more(self, block: Block, text: str) -> bool:
        """Take more text of a block, which nearly all events are.

        Returns:
            False when the block is not open: ``event`` takes it.
        """
        line = self._line
        if block is not line.open or block.ended or self.done:
            return False
        block.said.append(text)
        block.size += len(text)
        line.events.append(Delta(block.index, text))
        return True

    def fail(self, failure: Failure) -> None:
        """Break the answer off."""
        if self.done:
            return
        self._begin()
        self._line.events.append(failure)
        self.done = True

    # --- the response -------------------------------------------------------------------

    def _begin(self, id_: str = "", model: str = "") -> None:
        """Announce the answer, also one whose upstream did not."""
        if not self._begun:
            self._begun = True
            self._line.events.append(Start(id_, model))

    def _created(self, _kind: str, event: dict[str, Any]) -> None:
        response = inner(event, "response")
        self._begin(words(response, "id"), words(response, "model"))

    def _error(self, _kind: str, event: dict[str, Any]) -> None:
        self.fail(read_failure(event))

    def _terminal(self, kind: str, event: dict[str, Any]) -> None:
        response = inner(event, "response")
        self._begin(words(response, "id"), words(response, "model"))
        status = words(response, "status") or TERMINALS[kind]
        broken = status in BROKEN or bool(response.get("error"))
        if not broken:
            self._retold(response)
        usage = read_usage(response.get("usage"))
        if usage is not None and not self.done:
            self._line.events.append(UsageSeen(usage))
        if broken:
            failure = read_failure(response)
            message = failure.message or BROKEN.get(status, "")
            self.fail(Failure(message, failure.kind))
        elif not self.done:
            self._finish(status, words(inner(response, "incomplete_details"), "reason"))

    def _retold(self, response: dict[str, Any]) -> None:
        """Take from the whole output what no event before told, and end all blocks."""
        for index, told in enumerate(objects(response.get("output"))):
            type_ = words(told, "type")
            if not is_ours(type_):
                continue
            item = self._items.claimed(type_, index, words(told, "id"))
            if not item.closed:
                self._close(item, told)
        if not self._line.flush():
            self.fail(Failure(_NAMELESS))

    def _finish(self, status: str, reason: str) -> None:
        end: FinishReason = "stop" if status == "completed" else "other"
        if status == "incomplete":
            end = INCOMPLETE.get(reason, "other")
        if self._called and end not in ("length", "content_filter"):
            end = "tool_calls"
        self._line.events.append(Finish(end))
        self.done = True

    # --- items --------------------------------------------------------------------------

    def _added(self, _kind: str, event: dict[str, Any]) -> None:
        told = inner(event, "item")
        type_ = words(told, "type")
        if not is_ours(type_):
            return
        item = self._items.announced(type_, event, words(told, "id"))
        if item is None:
            return
        if type_ in CALL_KINDS:
            block = self._call(item)
            self._learn(block, told)
            block.whole = arguments_text(told.get(ARGUMENTS[type_]))
        elif type_ == MESSAGE:
            # Its place, whatever comes first; thoughts get theirs when they come, for some
            # upstreams finish silent ones behind everything else.
            self._fresh(item, 0, Block("text"))

    def _item_done(self, _kind: str, event: dict[str, Any]) -> None:
        told = inner(event, "item")
        type_ = words(told, "type")
        if not is_ours(type_):
            return
        item = self._items.told(type_, event, words(told, "id"))
        if item is not None:
            self._close(item, told)

    def _close(self, item: Item, told: dict[str, Any]) -> None:
        """Take an item that is told in full."""
        item.closed = True
        if item.type == MESSAGE:
            for number, part in enumerate(objects(told.get("content"))):
                self._part(item, number, part)
        elif item.type == REASONING:
            self._thoughts(item, told)
        else:
            block = self._call(item)
            self._learn(block, told)
            self._complete(item, 0, arguments_text(told.get(ARGUMENTS[item.type])))
        self._items.end(item)

    # --- messages -----------------------------------------------------------------------

    def _part_done(self, _kind: str, event: dict[str, Any]) -> None:
        part = inner(event, "part")
        type_, number = words(part, "type"), number_of(event, "content_index")
        if type_ != REASONING_TEXT and type_ not in PARTS:
            return
        thought = type_ == REASONING_TEXT
        item = self._items.found(REASONING if thought else MESSAGE, event, words(event, "item_id"))
        if item.closed:
            return
        if thought:
            self._thought(item, "content", number, words(part, "text"))
        else:
            self._part(item, number, part)

    def _part(self, item: Item, number: int, part: dict[str, Any]) -> None:
        """Take a part of a message that is told in full."""
        place = PARTS.get(words(part, "type"))
        if place is None:
            return
        kind, key = place
        text, notes = words(part, key), dict.fromkeys(citations(part.get("annotations")))
        block = item.blocks.get(number)
        if text and (block is None or not block.spoke):
            block = self._block(item, number, kind)
            self._line.say(block, text)
        elif block is None or not block.spoke:
            return
        elif not block.ended:
            self._complete(item, number, text)
        block.notes.update(notes)
        self._line.end(block)

    def _block(self, item: Item, number: int, kind: BlockKind) -> Block:
        """Return the block of a part, open to more text."""
        first = item.blocks.get(0)
        if first is not None and not first.spoke and not first.ended:
            # The place of a message whose words begin now.
            first.kind = kind
            item.blocks[number] = item.blocks.pop(0)
        block = item.blocks.get(number)
        if block is not None and block.kind == kind and not block.ended:
            return block
        if block is not None:
            self._line.end(block)
        return self._fresh(item, number, Block(kind))

    def _fresh(self, item: Item, number: int, block: Block) -> Block:
        item.blocks[number] = block
        self._line.add(block)
        return block

    def _cited(self, _kind: str, event: dict[str, Any]) -> None:
        item = self._items.found(MESSAGE, event, words(event, "item_id"))
        block = item.blocks.get(number_of(event, "content_index"))
        if block is not None and not block.ended:
            block.notes.update(dict.fromkeys(citations([event.get("annotation")])))

    # --- deltas -------------------------------------------------------------------------

    def _delta(self, kind: str, event: dict[str, Any]) -> None:
        text = event.get("delta")
        if not text or not isinstance(text, str):
            return
        type_, piece = DELTAS[kind]
        item = self._items.found(type_, event, words(event, "item_id"))
        if item.closed and type_ not in CALL_KINDS:
            # Words are never dropped: they get an item that was not announced.
            item = self._items.new(type_, item.index, item.id)
        if type_ == REASONING:
            self._think(item, piece, piece_number(event, piece), text)
        elif type_ == MESSAGE:
            number = number_of(event, "content_index")
            self._touch(self._block(item, number, "text" if piece == "text" else "refusal"), text)
        else:
            self._argue(self._call(item), text)

    def _touch(self, block: Block, text: str) -> None:
        self._line.say(block, text)
        self.touched = block

    def _argue(self, block: Block, text: str) -> None:
        if not block.ended:
            self._touch(block, text)
        elif text.strip():
            self.fail(Failure(_STRAY))

    def _piece_done(self, kind: str, event: dict[str, Any]) -> None:
        type_, piece, key = DONE[kind]
        full = arguments_text(event.get(key)) if piece == "tool" else words(event, key)
        item = self._items.found(type_, event, words(event, "item_id"))
        if item.closed:
            return
        if type_ == REASONING:
            self._thought(item, piece, piece_number(event, piece), full)
        elif type_ == MESSAGE:
            number = number_of(event, "content_index")
            block = item.blocks.get(number)
            if full and (block is None or not block.ended):
                self._block(item, number, "text" if piece == "text" else "refusal")
                self._complete(item, number, full)
        else:
            block = self._call(item)
            self._complete(item, 0, full)
            if block.ready:
                # What the finished item tells besides, its name, is known already.
                self._line.end(block)

    def _complete(self, item: Item, number: int, full: str) -> None:
        """Say what is missing of a block whose full text is told."""
        block = item.blocks[number]
        if not block.ended:
            rest = block.rest(full)
            if rest:
                self._line.say(block, rest)

    # --- thoughts -----------------------------------------------------------------------

    def _think(self, item: Item, channel: str, number: int, text: str) -> None:
        item.channel = item.channel or channel
        if channel != item.channel:
            return
        block = self._block(item, 0, "reasoning")
        if block.piece != number:
            if block.spoke and BETWEEN[channel]:
                self._line.say(block, BETWEEN[channel])
            block.turn(number)
        self._touch(block, text)

    def _thought(self, item: Item, channel: str, number: int, full: str) -> None:
        """Take a piece of thoughts that is told in full."""
        if not full or channel != (item.channel or channel):
            return
        block = item.blocks.get(0)
        if block is None or number > block.piece:
            self._think(item, channel, number, full)
        elif number == block.piece:
            self._complete(item, 0, full)

    def _thoughts(self, item: Item, told: dict[str, Any]) -> None:
        for channel in BETWEEN:
            for number, part in enumerate(objects(told.get(channel))):
                self._thought(item, channel, number, words(part, "text"))
        proof, family = words(told, "encrypted_content"), self._answer.family
        if not proof or not family:
            return
        seal = Seal("r", family, proof, item_id=words(told, "id") or None)
        block = item.blocks.get(0)
        if block is not None:
            # One that had to end before is without its proof: behind other items no vendor
            # would take the thoughts back.
            block.proof = seal
            return
        block = Block("reasoning")
        block.proof = seal
        self._fresh(item, 0, block)

    # --- calls --------------------------------------------------------------------------

    def _call(self, item: Item) -> Block:
        """Return the block of a call; before its name is known it waits."""
        block = item.blocks.get(0)
        if block is not None:
            return block
        return self._fresh(item, 0, Block("tool", ToolHead("", "", CALL_KINDS[item.type])))

    def _learn(self, block: Block, told: dict[str, Any]) -> None:
        """Take what an item says of its call, the first time that it has a name."""
        head, name = block.tool, words(told, "name")
        if head is None or head.name or not name:
            return
        call_id = words(told, "call_id") or words(told, "id") or self._answer.new_id(CALL_ID)
        block.tool = ToolHead(call_id, name, head.kind, words(told, "namespace") or None)
        self._called = True
        self._line.advance()


# Of the class, not of each object: it would hold itself, and its texts, until collected.
_READERS: Mapping[str, Callable[[Assembly, str, dict[str, Any]], None]] = {
    **dict.fromkeys(DELTAS, Assembly._delta),
    **dict.fromkeys(DONE, Assembly._piece_done),
    **dict.fromkeys(TERMINALS, Assembly._terminal),
    "response.created": Assembly._created,
    "response.queued": Assembly._created,
    "response.in_progress": Assembly._created,
    "response.output_item.added": Assembly._added,
    "response.output_item.done": Assembly._item_done,
    "response.content_part.done": Assembly._part_done,
    "response.output_text.annotation.added": Assembly._cited,
    "error": Assembly._error,
}
# These say how the answer is called.
_UNBEGUN = (Assembly._created, Assembly._terminal, Assembly._error)
