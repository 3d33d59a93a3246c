"""Gemini's partial responses, put in the order that ``ir`` guarantees.

States of one answer: before the first response that says something; between blocks; inside
a block; done. Parts of one kind that follow each other make one block. A proof belongs to
the part it stands on: it ends up in a reasoning block directly before that part, the one
that is open when there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.ir import (
    BlockEnd,
    BlockKind,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Finish,
    Seal,
    Sealed,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.gemini.answer import (
    NO_ANSWER,
    candidate_index,
    candidates,
    is_answer,
    parts_of,
    read_block,
    read_finish,
    with_calls,
)
from kurolproxy.protocols.gemini.error import read_error
from kurolproxy.protocols.gemini.grounding import SourceReader
from kurolproxy.protocols.gemini.partial_args import PartialArguments
from kurolproxy.protocols.gemini.usage import read_usage
from kurolproxy.protocols.gemini.vocabulary import SERVER_PARTS, arguments_text
from kurolproxy.tokens import Usage

_CUT = "the upstream ended its answer in the middle"
_NAMELESS = "a tool call came without a name"


class Assembly:
    """The events of one answer.

    Args:
        answer: whose reasoning family is stamped into proofs; several candidates make it
            wait for the end of the stream, their usage is told together.
        whole: the answer is one document.

    Attributes:
        events: where events go; whoever drives this takes them.
        done: the last event is out.
        calling: a call is open whose arguments come in pieces.
    """

    __slots__ = (
        "_called",
        "_end",
        "_family",
        "_head",
        "_index",
        "_kind",
        "_new_id",
        "_one",
        "_partial",
        "_sources",
        "_started",
        "_usage",
        "done",
        "events",
    )

    def __init__(self, answer: AnswerContext, *, whole: bool = False) -> None:
        self.events: list[StreamEvent] = []
        self.done = False
        self._new_id = answer.new_id
        self._family = answer.family
        self._one = answer.request.n <= 1
        self._started = False
        self._usage: Usage | None = None
        self._end: Finish | Failure | None = None
        self._index = -1
        self._kind: BlockKind | None = None
        self._head: ToolHead | None = None
        self._partial: PartialArguments | None = None
        self._called = False
        self._sources = SourceReader(whole=whole)

    @property
    def calling(self) -> bool:
        """Whether a call is open whose arguments come in pieces."""
        return self._partial is not None

    def take(self) -> list[StreamEvent]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    # --- responses ------------------------------------------------------------------------

    def partial(self, value: object) -> None:
        """Take one partial response; an empty one is a sign of life."""
        if self.done:
            return
        if isinstance(value, dict) and value:
            counted = self._read(value)
            # Nothing marks the end of such a stream: with the reason and the figures all is
            # said, and an upstream that keeps the connection open is not waited for.
            if self._end is not None and counted and self._one:
                self.finish()
        elif value != {}:
            self.fail(read_error(value) or Failure("the upstream sent an event of no answer"))

    def whole(self, value: object) -> None:
        """Take a whole response."""
        if not isinstance(value, dict):
            self.fail(read_error(value) or Failure(NO_ANSWER))
            return
        if not is_answer(value):
            self._read(value)
            self.fail(Failure(NO_ANSWER))
            return
        self._read(value)
        # What came whole is not cut, whether it says why it ended or not.
        self._end = self._end or Finish("stop")
        self.finish()

    def close(self) -> None:
        """The stream ended: without a reason it was cut."""
        if self._end is None:
            self.fail(Failure(_CUT))
        else:
            self.finish()

    def _read(self, value: Mapping[str, Any]) -> bool:
        """Read a response; return whether it told the usage."""
        self._start(value)
        counted = self.count(value.get("usageMetadata"))
        failure = read_error(value)
        if failure is not None:
            self.fail(failure)
        self._end = read_block(value.get("promptFeedback")) or self._end
        for candidate in candidates(value):
            if candidate_index(candidate) == 0 and not self.done:
                self._candidate(candidate)
        return counted

    def count(self, metadata: object) -> bool:
        """Take a ``usageMetadata``; return whether it says what was used."""
        usage = read_usage(metadata)
        if usage is not None and usage != self._usage:
            self._usage = usage
            self.events.append(UsageSeen(usage))
        return usage is not None

    def _start(self, value: Mapping[str, Any]) -> None:
        if not self._started:
            self._started = True
            said = value.get("responseId"), value.get("modelVersion")
            id_, model = (each if isinstance(each, str) else "" for each in said)
            self.events.append(Start(id_, model))

    def _candidate(self, candidate: Mapping[str, Any]) -> None:
        self._sources.learn(candidate)
        for part in parts_of(candidate):
            if not self.done:
                self._part(part)
        self._end = read_finish(candidate) or self._end

    # --- parts ----------------------------------------------------------------------------

    def _part(self, part: Mapping[str, Any]) -> None:
        self._sources.part()
        call, text, proof = part.get("functionCall"), part.get("text"), part.get("thoughtSignature")
        signed = proof if isinstance(proof, str) else ""
        if isinstance(call, dict):
            self._call(call, signed)
        elif any(name in part for name in SERVER_PARTS) or "inlineData" in part:
            # What the vendor's own tools did, and pictures: no other protocol has a place
            # for them, nor for a proof that stands on one.
            return
        elif part.get("thought") is True:
            if isinstance(text, str):
                self.say("reasoning", text)
            self._prove(signed)
        else:
            self._prove(signed)
            if isinstance(text, str):
                self.say("text", text)

    def say(self, kind: BlockKind, text: str) -> None:
        """Take more words, into the open block when it is of their kind."""
        if not text:
            return
        if kind != self._kind:
            self._open(kind)
        if kind == "text":
            self._sources.said(text)
        self.events.append(Delta(self._index, text))

    def _prove(self, proof: str) -> None:
        if not proof or not self._family:
            return
        if self._kind != "reasoning":
            self._open("reasoning")
        self.events.append(Sealed(self._index, Seal("g", self._family, proof)))
        self._close()

    # --- calls ----------------------------------------------------------------------------

    def _call(self, call: Mapping[str, Any], proof: str) -> None:
        name = call.get("name")
        if isinstance(name, str) and name and not self._continues(call):
            self._prove(proof)
            self._begin(name, call)
        elif self._partial is None:
            # The empty call that ends one in pieces is repeated by some.
            if call.get("args") or call.get("partialArgs"):
                self._malformed(_NAMELESS)
            return
        if self._partial is None:
            return
        problem = self._partial.add(call.get("partialArgs"))
        if problem:
            self._malformed(problem)
        elif call.get("willContinue") is not True:
            self._close()

    def _continues(self, call: Mapping[str, Any]) -> bool:
        """Return whether a call with a name is more of the one that is open."""
        call_id = call.get("id")
        return self.calling and self._head is not None and call_id == self._head.id

    def _begin(self, name: str, call: Mapping[str, Any]) -> None:
        call_id, args = call.get("id"), call.get("args")
        given = call_id if isinstance(call_id, str) and call_id else self._new_id("call_")
        self._head = ToolHead(given, name)
        self._open("tool", self._head)
        self._called = True
        if call.get("willContinue") is True or call.get("partialArgs"):
            self._partial = PartialArguments(args if isinstance(args, dict) else None)
        else:
            text = arguments_text(args if isinstance(args, dict) else None)
            self.events.append(Delta(self._index, text))
            self._close()

    # --- blocks and the end ---------------------------------------------------------------

    def _open(self, kind: BlockKind, tool: ToolHead | None = None) -> None:
        self._close()
        self._index += 1
        self._kind = kind
        self.events.append(BlockStart(self._index, kind, tool))

    def _close(self, *, cut: bool = False) -> None:
        """End the open block, if any.

        Args:
            cut: arguments in pieces must not look whole.
        """
        if self._kind is None:
            return
        if self._partial is not None:
            text = self._partial.text()
            self._partial = None
            self.events.append(Delta(self._index, text[:-1] if cut else text))
        if self._kind == "text":
            self.events += [Cited(self._index, each) for each in self._sources.close()]
        self.events.append(BlockEnd(self._index))
        self._kind = None

    def finish(self) -> None:
        """End the answer as its reason says."""
        end = self._end
        if self.done or end is None:
            return
        if isinstance(end, Failure):
            self.fail(end)
            return
        self._close(cut=end.reason == "length")
        self.events.append(with_calls(end) if self._called else end)
        self.done = True

    def _malformed(self, problem: str) -> None:
        self.fail(Failure(f"the upstream's answer is malformed: {problem}"))

    def fail(self, failure: Failure) -> None:
        """Break the answer off."""
        if not self.done:
            self._start({})
            self.events.append(failure)
            self.done = True
