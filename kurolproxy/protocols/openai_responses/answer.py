"""What streamed and whole answers to a Responses client have in common: their pieces as JSON.

All are pieces of bytes: a text is written once and stands in up to four events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kurolproxy.ir import Citation, FinishReason, Request, Seal, Tool, ToolHead
from kurolproxy.protocols import seal, wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_responses.vocabulary import annotation

INCOMPLETE: Mapping[FinishReason, bytes] = {
    "length": b"max_output_tokens",
    "content_filter": b"content_filter",
}
"""The ends that are no whole answer, and how they are told."""

# A seal of more than 1 MiB is never read again; a character is at most 4 bytes of it.
_MAX_SEALED_CHARS = 175_000


def shows_reasoning(answer: AnswerContext) -> bool:
    """Return whether the client wants to read the thoughts: it asked for a summary of them."""
    wish = answer.request.reasoning
    return wish is not None and wish.show != "none"


def seal_token(proof: Seal, hidden: str) -> bytes:
    """Write the proof that the client gives back as ``encrypted_content``.

    Args:
        hidden: the thoughts that the client does not get, "" when it got them.
    """
    if hidden and not proof.redacted and proof.text is None and len(hidden) <= _MAX_SEALED_CHARS:
        proof = replace(proof, text=hidden)
    return wire.quote(seal.encode(proof))


# --- items: every argument of bytes is JSON ------------------------------------------------


def text_part(text: bytes, notes: Iterable[bytes] = ()) -> bytes:
    """Write a part of a message."""
    return b'{"type":"output_text","text":%b,"annotations":[%b]}' % (text, b",".join(notes))


def refusal_part(text: bytes) -> bytes:
    """Write a part of a message that refuses."""
    return b'{"type":"refusal","refusal":%b}' % text


def summary_part(text: bytes) -> bytes:
    """Write the one part of thoughts."""
    return b'{"type":"summary_text","text":%b}' % text


def message_item(id_: bytes, status: bytes, parts: Iterable[bytes]) -> bytes:
    """Write a message."""
    return b'{"id":%b,"type":"message","role":"assistant","status":"%b","content":[%b]}' % (
        id_,
        status,
        b",".join(parts),
    )


def reasoning_item(id_: bytes, summary: bytes = b"", token: bytes = b"null") -> bytes:
    """Write thoughts."""
    return b'{"id":%b,"type":"reasoning","summary":[%b],"encrypted_content":%b}' % (
        id_,
        summary,
        token,
    )


def call_item(id_: bytes, call_id: bytes, head: ToolHead, args: bytes, status: bytes) -> bytes:
    """Write a call; one of a namespace must name it, or Codex does not find the tool."""
    custom = head.kind == "custom"
    space = b',"namespace":%b' % wire.quote(head.ns) if head.ns else b""
    return b'{"id":%b,"type":"%b","call_id":%b,"name":%b,"%b":%b,"status":"%b"%b}' % (
        id_,
        b"custom_tool_call" if custom else b"function_call",
        call_id,
        wire.quote(head.name),
        b"input" if custom else b"arguments",
        args,
        status,
        space,
    )


def cited(citation: Citation, length: int) -> bytes:
    """Write a source.

    Args:
        length: characters of the part; a citation without an end is about all of it.
    """
    if citation.end is None:
        citation = replace(citation, end=length)
    # A title is required: the address is one.
    note = annotation(replace(citation, title=citation.title or citation.url))
    pairs = ((name.encode(), value) for name, value in note.items())
    return b"{%b}" % b",".join(
        b'"%b":%b' % (name, wire.quote(value) if isinstance(value, str) else str(value).encode())
        for name, value in pairs
    )


# --- the response ---------------------------------------------------------------------------


class Envelope:
    """The response object around the items, as the events of a stream show it.

    Args:
        id_: of the response, the same in all its events.
    """

    __slots__ = ("_about", "_head", "id")

    def __init__(self, answer: AnswerContext, id_: str) -> None:
        self.id = id_
        self._head = b'{"id":%b,"object":"response","created_at":%d,"status":"' % (
            wire.quote(id_),
            answer.created,
        )
        request = answer.request
        self._about = (
            wire.quote(answer.model),
            b"false" if request.parallel_tools is False else b"true",
            wire.dumps(choice(request)),
        )

    def write(
        self,
        status: bytes,
        items: Iterable[bytes] = (),
        *,
        error: bytes = b"null",
        reason: bytes = b"",
        usage: bytes = b"",
    ) -> bytes:
        """Write the response.

        Args:
            items: those that are finished.
            error: as JSON.
            reason: why it is incomplete.
            usage: as JSON; none before the end.
        """
        model, parallel, chosen = self._about
        return (
            b'%b%b","error":%b,"incomplete_details":%b,"model":%b,"output":[%b],'
            b'"parallel_tool_calls":%b,"tool_choice":%b,"tools":[],"store":false%b}'
            % (
                self._head,
                status,
                error,
                b'{"reason":"%b"}' % reason if reason else b"null",
                model,
                b",".join(items),
                parallel,
                chosen,
                b',"usage":' + usage if usage else b"",
            )
        )


def choice(request: Request) -> Any:
    """Write the choice among the tools that the client made."""
    made = request.tool_choice
    if made is None:
        return "auto"
    if made.mode == "named":
        return _reference(made.name or "", request.tools)
    if made.allowed:
        tools = [_reference(name, request.tools) for name in made.allowed]
        return {"type": "allowed_tools", "mode": made.mode, "tools": tools}
    return made.mode


def _reference(name: str, tools: Iterable[Tool]) -> dict[str, str]:
    """Write which tool is meant; one that the vendor runs goes by its type."""
    kind = next((tool.kind for tool in tools if tool.name == name), "function")
    return {"type": name} if kind == "hosted" else {"type": kind, "name": name}
