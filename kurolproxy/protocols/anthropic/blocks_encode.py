"""Content blocks of Anthropic Messages requests, neutral parts -> wire."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols import names, seal, wire
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.media import picture_type
from kurolproxy.protocols.names import ToolNames

Block = dict[str, Any]

_MAX_HINTS = 4
_HOUR_S = 3600
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# How the base64 of each kind of picture begins, for clients that do not say or say wrong.
_PDF = "application/pdf"
_PDF_START = "JVBERi"
_EMPTY = "(empty)"


class CacheHints:
    """Cache breakpoints, in prompt order; the vendor takes four, so the last four win."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._found: list[tuple[object, Block]] = []

    def note(self, node: Text | Image | File | ToolCall | ToolResult | Tool, block: Block) -> None:
        """Remember the hint of a node, and the block that stands for the node."""
        if node.cache is not None:
            self._found.append((node, block))

    def apply(self) -> dict[str, Any] | None:
        """Write the hints that fit into their blocks.

        Returns:
            the ``cache_control`` of the whole request, when the client asked for one;
            it is one of the four.
        """
        request = self._reader.request
        room = _MAX_HINTS - (request.cache is not None)
        for node, block in self._found[-room:]:
            block["cache_control"] = _control(self._reader.take(node, "cache").ttl_s)
        if request.cache is None:
            return None
        return _control(self._reader.take(request, "cache").ttl_s)

    @property
    def given(self) -> bool:
        """Whether the client gave any hint at all."""
        return bool(self._found) or self._reader.request.cache is not None


def _control(ttl_s: int | None) -> dict[str, Any]:
    if ttl_s is None:
        return {"type": "ephemeral"}
    return {"type": "ephemeral", "ttl": "1h" if ttl_s >= _HOUR_S else "5m"}


class BlockEncoder:
    """Write messages; what cannot be said is left out, or refused when it must be said.

    Args:
        tools: the names the tools go by.
        hints: told of every cache hint.
    """

    def __init__(
        self, reader: Reader, target: TargetView, tools: ToolNames, hints: CacheHints
    ) -> None:
        self._reader = reader
        self._target = target
        self._tools = tools
        self._hints = hints

    def messages(self, turns: Iterable[Message]) -> list[Block]:
        """Write messages whose roles are user, assistant and, where it is taken, system."""
        out: list[Block] = []
        for turn in turns:
            content = self.blocks(
                self._proved(turn.parts) if turn.role == "assistant" else turn.parts
            )
            if out and out[-1]["role"] == turn.role:
                # What stood between them had nothing to say here.
                out[-1]["content"] += content
            elif content or turn.role == "user":
                # An assistant's turn of foreign thoughts alone is left out.
                out.append({"role": turn.role, "content": content})
        for message in out:
            message["content"] = message["content"] or [{"type": "text", "text": _EMPTY}]
        if out and out[-1]["role"] == "assistant":
            _trim(out[-1]["content"])
        return out

    def blocks(self, parts: Iterable[Part]) -> list[Block]:
        """Write parts; those that have no place are left out, as are blank texts."""
        found = (self._block(part) for part in parts)
        return [block for block in found if block is not None]

    def _block(self, part: Part) -> Block | None:
        match part:
            case Text():
                return self._text(part)
            case Refusal():
                return _text_block(self._reader.take(part, "text"))
            case Image():
                return self._image(part)
            case File():
                return self._file(part)
            case Audio():
                raise BadRequest(
                    f"Model {self._target.public_model} does not accept audio: leave it out.",
                    param="messages",
                )
            case Reasoning():
                return self._reasoning(part)
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part)

    def _text(self, part: Text) -> Block | None:
        block = _text_block(self._reader.take(part, "text"))
        if block is not None:
            self._hints.note(part, block)
        return block

    # --- media --------------------------------------------------------------------------

    def _image(self, part: Image) -> Block:
        if not self._target.traits.vision:
            raise self._refused("images")
        reader = self._reader
        if part.detail == "auto":
            reader.take(part, "detail")
        data, mime = reader.take(part, "data"), reader.take(part, "mime")
        if data is None:
            source = {"type": "url", "url": reader.take(part, "url") or ""}
        else:
            source = {"type": "base64", "media_type": _image_type(data, mime), "data": data}
        block: Block = {"type": "image", "source": source}
        self._hints.note(part, block)
        return block

    def _file(self, part: File) -> Block:
        reader = self._reader
        for name in ("data", "url", "text", "mime"):
            reader.take(part, name)
        block: Block = {"type": "document", "source": self._source(part)}
        title, name = reader.take(part, "title"), reader.take(part, "name")
        if title or name:
            block["title"] = title or name
        context = reader.take(part, "context")
        if context:
            block["context"] = context
        self._hints.note(part, block)
        return block

    def _source(self, part: File) -> Block:
        if part.text is not None:
            return _plain_source(part.text)
        mime = (part.mime or "").partition(";")[0].strip().lower()
        if part.data is None:
            if mime not in ("", _PDF):
                raise self._refused(f"files of type {mime} by URL")
            self._need_pdf()
            return {"type": "url", "url": part.url or ""}
        if mime == _PDF or (not mime and part.data.startswith(_PDF_START)):
            self._need_pdf()
            return {"type": "base64", "media_type": _PDF, "data": part.data}
        words = _decoded(part.data) if mime.startswith("text/") or not mime else None
        if words is None:
            raise self._refused(f"files of type {mime or 'unknown'}")
        return _plain_source(words)

    def _need_pdf(self) -> None:
        if not self._target.traits.pdf:
            raise self._refused("PDF files")

    def _refused(self, what: str) -> BadRequest:
        return BadRequest(
            f"Model {self._target.public_model} does not accept {what}: leave them out, or use"
            " another model.",
            param="messages",
        )

    # --- reasoning and tools ------------------------------------------------------------

    def _reasoning(self, part: Reasoning) -> Block | None:
        """Give the vendor its own proof back; any other is dropped with its words."""
        proof = seal.restorable(part, "a", self._target.traits.reasoning_family)
        if proof is None:
            return None
        self._reader.whole(part)
        if proof.redacted:
            return {"type": "redacted_thinking", "data": proof.proof}
        # The text is part of what is proved: the one that travelled in the seal is exact.
        text = part.text if proof.text is None else proof.text
        return {"type": "thinking", "thinking": text, "signature": proof.proof}

    def _proved(self, parts: tuple[Part, ...]) -> list[Part]:
        """Give proofs that came on a call (Chat, Gemini) a block of their own.

        The first goes to the beginning of the turn, where the vendor looks for it, unless
        a proof is there; the others stand before their calls.
        """
        family = self._target.traits.reasoning_family
        out: list[Part] = []
        words: list[str] = []
        seen = False
        for part in parts:
            if isinstance(part, Reasoning):
                seen = seen or seal.restorable(part, "a", family) is not None
                words.append(part.text)
            elif isinstance(part, ToolCall) and part.seal is not None:
                thought = Reasoning("".join(words), part.seal, part.seal.redacted)
                if seal.restorable(thought, "a", family) is not None:
                    self._reader.take(part, "seal")
                    out.insert(len(out) if seen else 0, thought)
                    words, seen = [], True
            out.append(part)
        return out

    def _call(self, part: ToolCall) -> Block:
        take = self._reader.take
        for name in ("name", "ns", "kind"):
            take(part, name)
        block: Block = {
            "type": "tool_use",
            "id": names.sanitise(take(part, "id")),
            "name": self._tools.encode(part.name, part.ns),
            "input": self._input(part),
        }
        self._hints.note(part, block)
        return block

    def _input(self, part: ToolCall) -> dict[str, Any]:
        args = self._reader.take(part, "args")
        if part.kind != "custom" and wire.has_big_integer(args.encode("utf-8", "replace")):
            raise BadRequest(
                f"messages: the arguments of the call of {part.name} hold an integer of more "
                "than 64 bits, which cannot be translated.",
                param="messages",
            )
        return tool_input(args, custom=part.kind == "custom")

    def _result(self, part: ToolResult) -> Block:
        take = self._reader.take
        # The id pairs it with its call: the name says nothing more.
        take(part, "name")
        block: Block = {"type": "tool_result", "tool_use_id": names.sanitise(take(part, "call_id"))}
        content = self._result_content(take(part, "parts"))
        if content:
            block["content"] = content
        if take(part, "is_error"):
            block["is_error"] = True
        self._hints.note(part, block)
        return block

    def _result_content(self, parts: tuple[Text | Image | File, ...]) -> str | list[Block]:
        if len(parts) == 1 and isinstance(parts[0], Text) and parts[0].cache is None:
            return str(self._reader.take(parts[0], "text"))
        return self.blocks(parts)


def tool_input(args: str, *, custom: bool = False) -> dict[str, Any]:
    """Return a call's arguments as the object that this protocol wants.

    Arguments that are no object, broken ones too, are wrapped as ``{"input": <text>}``.
    """
    if not custom:
        if not args.strip():
            return {}
        try:
            value = wire.loads(args)
        except wire.WireError:
            value = None
        if isinstance(value, dict):
            return value
    return {"input": args}


def _text_block(text: str) -> Block | None:
    # The vendor refuses a text block without anything but white space.
    return {"type": "text", "text": text} if text.strip() else None


def _plain_source(text: str) -> Block:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _image_type(data: str, mime: str | None) -> str:
    shown = picture_type(data)
    if shown:
        return shown
    kind = (mime or "").partition(";")[0].strip().lower()
    # Many clients write image/jpg, which is no registered type.
    return kind if kind in _IMAGES else "image/jpeg" if kind == "image/jpg" else kind or "image/png"


def _decoded(data: str) -> str | None:
    try:
        return base64.b64decode(data).decode()
    except (binascii.Error, ValueError):
        return None


def _trim(content: list[Block]) -> None:
    """Take the white space off the end of a prefill: the vendor refuses it."""
    if content[-1]["type"] == "text":
        content[-1]["text"] = content[-1]["text"].rstrip()
