"""The items of an answer, written as the events of a stream.

One item is open at a time. States: no item; an item open, its block being said; an item
whose block is whole. A message may hold several blocks, as parts; whether an item was cut
is known only when the answer ends: so an item is finished when the next one begins or at
the end. Thoughts are finished with their block, for their proof is told then.

A block of which nothing comes is never written. A proof on a block that is no thoughts (a
vendor of another protocol proves texts and calls) travels in thoughts without words: before
the item it belongs to as long as that is not begun, else behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kurolproxy.ir import BlockKind, BlockStart, Citation, Finish, Seal, ToolHead
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_responses.answer import (
    INCOMPLETE,
    call_item,
    cited,
    message_item,
    reasoning_item,
    refusal_part,
    seal_token,
    shows_reasoning,
    summary_part,
    text_part,
)
from kurolproxy.protocols.openai_responses.vocabulary import (
    CALL_ID,
    CUSTOM_CALL_ID,
    FUNCTION_CALL_ID,
    MESSAGE_ID,
    REASONING_ID,
)

_COMPLETED = b"completed"
_IN_PROGRESS = b"in_progress"
_EMPTY = b'""'

# Kind of block -> the name of its deltas.
_SAYS: Mapping[BlockKind, bytes] = {
    "text": b"response.output_text",
    "refusal": b"response.refusal",
    "reasoning": b"response.reasoning_summary_text",
    "tool": b"response.function_call_arguments",
}
_SAYS_CUSTOM = b"response.custom_tool_call_input"


class ItemWriter:
    """Write the items of one answer.

    Args:
        sequence: the number of the first event.

    Attributes:
        items: the finished ones, each as JSON.
        refused: words of refusal were written.
    """

    __slots__ = (
        "_answer",
        "_before",
        "_behind",
        "_cited",
        "_finish",
        "_id",
        "_kind",
        "_opened",
        "_parts",
        "_place",
        "_seal",
        "_sequence",
        "_shows",
        "_texts",
        "_tool",
        "items",
        "refused",
    )

    def __init__(self, answer: AnswerContext, sequence: int = 0) -> None:
        self.items: list[bytes] = []
        self.refused = False
        self._answer = answer
        self._shows = shows_reasoning(answer)
        self._sequence = sequence
        # The open item: its id, what writes it when it is finished, a message's parts.
        self._id = b""
        self._finish: Callable[[bytes], bytes] | None = None
        self._parts: list[bytes] | None = None
        # The block that is being said.
        self._kind: BlockKind = "text"
        self._tool: ToolHead | None = None
        self._texts: list[str] = []
        self._cited: list[Citation] = []
        self._seal: Seal | None = None
        self._opened = False
        # Around the number and the text of its deltas, and what says where it stands.
        self._before = b""
        self._place = b""
        self._behind = b""

    # --- events -------------------------------------------------------------------------

    def frame(self, name: bytes, fields: bytes) -> bytes:
        """Write one event with the next number.

        Args:
            fields: those behind the number, as JSON without the braces.
        """
        number = self._sequence
        self._sequence = number + 1
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (
            name,
            name,
            number,
            fields,
        )

    def start(self, event: BlockStart) -> bytes:
        """Take the start of a block."""
        self._kind, self._tool = event.kind, event.tool
        self._texts = []
        self._cited = []
        self._seal = None
        self._opened = False
        joins = event.kind in ("text", "refusal") and self._parts is not None
        return b"" if joins else self.settle()

    def delta(self, text: str) -> bytes:
        """Take more text of the block."""
        self._texts.append(text)
        out = b""
        if not self._opened:
            if self._hides:
                return b""
            out = self._open()
        number = self._sequence
        self._sequence = number + 1
        piece = b"%b%d%b%b%b" % (self._before, number, self._place, wire.quote(text), self._behind)
        return out + piece if out else piece

    def sealed(self, seal: Seal) -> bytes:
        """Take the proof of the block."""
        if self._kind == "reasoning" or self._opened:
            self._seal = seal
            return b""
        return self.settle() + self._proof(seal)

    def cited(self, citation: Citation) -> None:
        """Take a source of the block."""
        if self._kind == "text":
            self._cited.append(citation)

    def end(self) -> bytes:
        """Take the end of the block."""
        out = _ENDS[self._kind](self)
        if self._seal is not None:
            out += self.settle() + self._proof(self._seal)
            self._seal = None
        self._opened = False
        return out

    def settle(self, status: bytes = _COMPLETED) -> bytes:
        """Finish the open item, if there is one."""
        if self._finish is None:
            return b""
        item = self._finish(status)
        self._finish = self._parts = None
        return self._done(item)

    def finish(self, event: Finish) -> bytes:
        """Take the end of the answer; one that was cut leaves its last item incomplete."""
        out = b""
        if event.detail and not self.refused:
            out = self.start(BlockStart(-1, "refusal")) + self.delta(event.detail) + self.end()
        return out + self.settle(b"incomplete" if event.reason in INCOMPLETE else _COMPLETED)

    # --- items --------------------------------------------------------------------------

    @property
    def _hides(self) -> bool:
        return self._kind == "reasoning" and not self._shows

    def _mint(self, prefix: str) -> bytes:
        return wire.quote(self._answer.new_id(prefix))

    def _added(self, item: bytes) -> bytes:
        place = b'"output_index":%d,"item":%b' % (len(self.items), item)
        return self.frame(b"response.output_item.added", place)

    def _done(self, item: bytes) -> bytes:
        place = b'"output_index":%d,"item":%b' % (len(self.items), item)
        self.items.append(item)
        return self.frame(b"response.output_item.done", place)

    def _proof(self, seal: Seal, hidden: str = "") -> bytes:
        """Write thoughts that are a proof and nothing else.

        Args:
            hidden: the words of the thoughts, when the client does not get them otherwise.
        """
        id_ = self._mint(REASONING_ID)
        token = seal_token(seal, hidden)
        return self._added(reasoning_item(id_)) + self._done(reasoning_item(id_, token=token))

    def _open(self) -> bytes:
        """Write the beginning of the block, and of its item."""
        self._opened = True
        return _OPENS[self._kind](self)

    def _stand(self, says: bytes, index: bytes, behind: bytes = b"}\n\n") -> None:
        """Note what the deltas of the block have around their text.

        Args:
            index: which part of the item it is, as JSON with a comma behind it.
        """
        self._before = b'event: %b.delta\ndata: {"type":"%b.delta","sequence_number":' % (
            says,
            says,
        )
        where = b'"item_id":%b,"output_index":%d,%b' % (self._id, len(self.items), index)
        self._place = b',%b"delta":' % where
        self._behind = behind

    def _where(self) -> bytes:
        """Return what says where the block stands, with a comma behind it."""
        return self._place[1 : -len(b'"delta":')]

    # --- messages -----------------------------------------------------------------------

    def _open_part(self) -> bytes:
        out = b""
        if self._parts is None:
            id_ = self._id = self._mint(MESSAGE_ID)
            parts = self._parts = []
            self._finish = lambda status: message_item(id_, status, parts)
            out = self._added(message_item(id_, _IN_PROGRESS, ()))
        index = b'"content_index":%d,' % len(self._parts)
        if self._kind == "refusal":
            self.refused = True
            self._stand(_SAYS["refusal"], index)
            part = refusal_part(_EMPTY)
        else:
            self._stand(_SAYS["text"], index, b',"logprobs":[]}\n\n')
            part = text_part(_EMPTY)
        return out + self.frame(b"response.content_part.added", self._where() + b'"part":' + part)

    def _end_text(self) -> bytes:
        out = b""
        if not self._opened:
            if not self._cited:
                return b""
            out = self._open()
        words, where = "".join(self._texts), self._where()
        text = wire.quote(words)
        notes = [cited(each, len(words)) for each in self._cited]
        for number, note in enumerate(notes):
            fields = b'%b"annotation_index":%d,"annotation":%b' % (where, number, note)
            out += self.frame(b"response.output_text.annotation.added", fields)
        out += self.frame(
            b"response.output_text.done", b'%b"text":%b,"logprobs":[]' % (where, text)
        )
        return out + self._end_part(text_part(text, notes))

    def _end_refusal(self) -> bytes:
        if not self._opened:
            return b""
        text = wire.quote("".join(self._texts))
        out = self.frame(b"response.refusal.done", b'%b"refusal":%b' % (self._where(), text))
        return out + self._end_part(refusal_part(text))

    def _end_part(self, part: bytes) -> bytes:
        if self._parts is not None:
            self._parts.append(part)
        return self.frame(b"response.content_part.done", b'%b"part":%b' % (self._where(), part))

    # --- thoughts -----------------------------------------------------------------------

    def _open_thoughts(self) -> bytes:
        self._id = self._mint(REASONING_ID)
        self._stand(_SAYS["reasoning"], b'"summary_index":0,')
        part = self._where() + b'"part":' + summary_part(_EMPTY)
        return self._added(reasoning_item(self._id)) + self.frame(
            b"response.reasoning_summary_part.added", part
        )

    def _end_thoughts(self) -> bytes:
        seal, self._seal = self._seal, None
        if not self._opened:
            return b"" if seal is None else self._proof(seal, "".join(self._texts))
        text, where = wire.quote("".join(self._texts)), self._where()
        part = summary_part(text)
        token = b"null" if seal is None else seal_token(seal, "")
        return (
            self.frame(b"response.reasoning_summary_text.done", where + b'"text":' + text)
            + self.frame(b"response.reasoning_summary_part.done", where + b'"part":' + part)
            + self._done(reasoning_item(self._id, part, token))
        )

    # --- calls --------------------------------------------------------------------------

    def _open_call(self) -> bytes:
        head = self._tool or ToolHead("", "")
        custom = head.kind == "custom"
        id_ = self._id = self._mint(CUSTOM_CALL_ID if custom else FUNCTION_CALL_ID)
        call_id = wire.quote(head.id) if head.id else self._mint(CALL_ID)
        texts = self._texts

        def finish(status: bytes) -> bytes:
            return call_item(id_, call_id, head, wire.quote("".join(texts)), status)

        self._finish = finish
        self._stand(_SAYS_CUSTOM if custom else _SAYS["tool"], b"")
        return self._added(call_item(id_, call_id, head, _EMPTY, _IN_PROGRESS))

    def _end_call(self) -> bytes:
        custom = self._tool is not None and self._tool.kind == "custom"
        out = b""
        if not self._texts and not custom:
            # A call without arguments: clients parse the text, so it has to be JSON.
            out = self.delta("{}")
        elif not self._opened:
            out = self._open()
        args = wire.quote("".join(self._texts))
        says, key = (_SAYS_CUSTOM, b"input") if custom else (_SAYS["tool"], b"arguments")
        return out + self.frame(says + b".done", b'%b"%b":%b' % (self._where(), key, args))


_OPENS: Mapping[BlockKind, Callable[[ItemWriter], bytes]] = {
    "text": ItemWriter._open_part,
    "refusal": ItemWriter._open_part,
    "reasoning": ItemWriter._open_thoughts,
    "tool": ItemWriter._open_call,
}
_ENDS: Mapping[BlockKind, Callable[[ItemWriter], bytes]] = {
    "text": ItemWriter._end_text,
    "refusal": ItemWriter._end_refusal,
    "reasoning": ItemWriter._end_thoughts,
    "tool": ItemWriter._end_call,
}
