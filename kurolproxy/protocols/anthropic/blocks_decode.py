"""Content blocks of Anthropic Messages requests, wire -> neutral parts.

Source: the block parameter types of the ``anthropic`` SDK 2.x, GA and beta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import UnionType
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    CacheHint,
    Citation,
    File,
    Image,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols import seal, wire
from kurolproxy.protocols.base import Fields

_TTL_S = {"5m": 300, "1h": 3600}

# What the vendor's own tools left in the history: dropped, by name. Their words stand in
# the text blocks around them.
_HOSTED = frozenset({"fallback", "mcp_tool_listing"})
_HOSTED_ENDINGS = ("_tool_use", "_tool_result")

# Fields that say nothing to another vendor; other unread ones are counted.
_KNOWN = frozenset({"citations", "toolset_name", "transformations"})
_ALWAYS_READ = frozenset({"type", "cache_control", "caller"})


class Notes:
    """What a request says that has no place in the neutral form.

    Attributes:
        names: the known fields, each once, in order.
        unknown: how many other fields there were.
    """

    __slots__ = ("names", "unknown")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.unknown = 0

    def lost(self, name: str) -> None:
        """Note the loss of a known thing."""
        self.names[name] = None

    def rest(self, fields: Fields, known: frozenset[str], prefix: str) -> None:
        """Note what nobody read of an object; ``prefix`` stands before the names."""
        named, unknown = fields.left(known)
        self.names.update(dict.fromkeys(f"{prefix}{name}" for name in named))
        self.unknown += unknown

    def block(self, kind: str, block: Mapping[str, Any], read: frozenset[str]) -> None:
        """Note what is not read of a content block."""
        for name, value in block.items():
            if name in read or name in _ALWAYS_READ or value is None:
                continue
            if name in _KNOWN:
                self.lost(f"messages.{kind}.{name}")
            else:
                self.unknown += 1


def cache_hint(fields: Fields) -> CacheHint | None:
    """Take ``cache_control``; a lifetime we do not know is the vendor's default."""
    control = fields.object("cache_control")
    return None if control is None else CacheHint(_TTL_S.get(str(control.get("ttl"))))


class Blocks:
    """Read content blocks.

    Args:
        notes: told what is left out.
        loaded: called with the name of every tool that the vendor's search brought up.
    """

    def __init__(self, notes: Notes, loaded: Callable[[str], None]) -> None:
        self._notes = notes
        self._loaded = loaded
        self._readers: Mapping[str, Callable[[Fields], Iterable[Part]]] = {
            "text": self._text,
            "image": self._image,
            "document": self._document,
            "search_result": self._search_result,
            "thinking": self._thinking,
            "redacted_thinking": self._redacted,
            "tool_use": self._tool_use,
            "tool_result": self._tool_result,
            "tool_reference": self._tool_reference,
            "compaction": self._compaction,
        }

    def parts(self, content: object, where: str) -> Iterator[Part]:
        """Yield the parts of a message's content: a string or an array of blocks."""
        if isinstance(content, str):
            yield Text(content)
            return
        if not isinstance(content, list):
            raise BadRequest(f"{where} must be a string or an array.", param=where)
        for at, block in enumerate(content):
            yield from self._block(block, f"{where}[{at}]")

    def _block(self, block: object, where: str) -> Iterable[Part]:
        if not isinstance(block, dict):
            raise BadRequest(f"{where} must be an object.", param=where)
        fields = Fields(block, where)
        kind = fields.need_text("type")
        reader = self._readers.get(kind)
        if reader is not None:
            self._notes.block(kind, block, _READ[kind])
            return reader(fields)
        if kind in _HOSTED or kind.endswith(_HOSTED_ENDINGS):
            self._hosted(kind, block)
            return ()
        path = fields.path("type")
        if kind == "container_upload":
            raise _vendor_file(path)
        raise BadRequest(f"{path}: unknown content block.", param=path)

    def _hosted(self, kind: str, block: Mapping[str, Any]) -> None:
        self._notes.lost(f"messages.{kind}")
        content = block.get("content")
        references = content.get("tool_references") if isinstance(content, dict) else None
        for each in references if isinstance(references, list) else ():
            if isinstance(each, dict) and isinstance(each.get("tool_name"), str):
                self._loaded(each["tool_name"])

    def _lost_of(self, inner: Iterable[Part], block: str, kept: type | UnionType) -> None:
        """Note the parts of a block's content that have no place in it."""
        for part in inner:
            if not isinstance(part, kept):
                self._notes.lost(f"messages.{block}.{_WORDS[type(part)]}")

    # --- words and media ----------------------------------------------------------------

    def _text(self, fields: Fields) -> Iterable[Part]:
        citations = fields.items("citations")
        found = tuple(_citations(citations)) if citations else ()
        if citations and len(found) < len(citations):
            self._notes.lost("messages.text.citations")
        yield Text(fields.need_text("text"), cache_hint(fields), found)

    def _image(self, fields: Fields) -> Iterable[Part]:
        source = _source(fields)
        kind = source.need_text("type")
        if kind == "base64":
            yield Image(
                data=source.need_text("data"),
                mime=source.need_text("media_type"),
                cache=cache_hint(fields),
            )
        elif kind == "url":
            yield Image(url=source.need_text("url"), cache=cache_hint(fields))
        else:
            raise _wrong_source(source, kind)

    def _document(self, fields: Fields) -> Iterable[Part]:
        source = _source(fields)
        kind = source.need_text("type")
        title, context = fields.text("title"), fields.text("context")
        cache = cache_hint(fields)
        if kind == "base64":
            data, mime = source.need_text("data"), source.need_text("media_type")
            yield File(data=data, mime=mime, title=title, context=context, cache=cache)
        elif kind == "url":
            url = source.need_text("url")
            yield File(url=url, mime="application/pdf", title=title, context=context, cache=cache)
        elif kind == "text":
            yield _plain(source.need_text("data"), title, context, cache)
        elif kind == "content":
            inner = list(self.parts(source.raw("content"), source.path("content")))
            text = "\n".join(part.text for part in inner if isinstance(part, Text))
            yield _plain(text, title, context, cache)
            yield from (part for part in inner if isinstance(part, Image))
            self._lost_of(inner, "document", Text | Image)
        else:
            raise _wrong_source(source, kind)

    def _search_result(self, fields: Fields) -> Iterable[Part]:
        head = f"[search result: {fields.need_text('title')}, {fields.need_text('source')}]"
        inner = list(self.parts(fields.raw("content"), fields.path("content")))
        words = [part.text for part in inner if isinstance(part, Text)]
        self._lost_of(inner, "search_result", Text)
        yield Text("\n".join([head, *words]), cache_hint(fields))

    # --- reasoning ----------------------------------------------------------------------

    def _thinking(self, fields: Fields) -> Iterable[Part]:
        text = fields.text("thinking") or ""
        yield _reasoning(text, fields.text("signature") or "", redacted=False)

    def _redacted(self, fields: Fields) -> Iterable[Part]:
        yield _reasoning("", fields.need_text("data"), redacted=True)

    def _compaction(self, fields: Fields) -> Iterable[Part]:
        """Read the vendor's summary of what came before; null content is a failed one."""
        content = fields.text("content")
        if content is None and fields.text("encrypted_content") is not None:
            path = fields.path("encrypted_content")
            raise BadRequest(f"{path}: only an anthropic upstream can read it.", param=path)
        if content is not None:
            yield Text(content, cache_hint(fields))

    # --- tools --------------------------------------------------------------------------

    def _tool_use(self, fields: Fields) -> Iterable[Part]:
        given = fields.raw("input")
        yield ToolCall(
            id=fields.need_text("id"),
            name=fields.need_text("name"),
            args="{}" if given is None else wire.compact(given),
            cache=cache_hint(fields),
        )

    def _tool_result(self, fields: Fields) -> Iterable[Part]:
        content = fields.raw("content")
        inner = [] if content is None else list(self.parts(content, fields.path("content")))
        parts = tuple(part for part in inner if isinstance(part, Text | Image | File))
        self._lost_of(inner, "tool_result", Text | Image | File)
        yield ToolResult(
            call_id=fields.need_text("tool_use_id"),
            parts=parts,
            is_error=bool(fields.flag("is_error")),
            cache=cache_hint(fields),
        )

    def _tool_reference(self, fields: Fields) -> Iterable[Part]:
        # Normalising finds the name in these words and declares the tool from then on.
        yield Text(f"Tool loaded: {fields.need_text('tool_name')}", cache_hint(fields))


# What the wire calls parts that not every content may hold.
_WORDS: Mapping[type, str] = {
    File: "document",
    Image: "image",
    Reasoning: "thinking",
    ToolCall: "tool_use",
    ToolResult: "tool_result",
}
_READ: Mapping[str, frozenset[str]] = {
    # Citations of text are read; those with a URL have a place.
    "text": frozenset({"text", "citations"}),
    "image": frozenset({"source"}),
    "document": frozenset({"source", "title", "context"}),
    "search_result": frozenset({"source", "title", "content"}),
    "thinking": frozenset({"thinking", "signature"}),
    "redacted_thinking": frozenset({"data"}),
    "tool_use": frozenset({"id", "name", "input"}),
    "tool_result": frozenset({"tool_use_id", "content", "is_error"}),
    "tool_reference": frozenset({"tool_name"}),
    "compaction": frozenset({"content", "encrypted_content", "signature", "tool_changes"}),
}


def _source(fields: Fields) -> Fields:
    source = fields.object("source")
    path = fields.path("source")
    if source is None:
        raise BadRequest(f"{path}: Field required", param=path)
    return Fields(source, path)


def _wrong_source(source: Fields, kind: str) -> BadRequest:
    path = source.path("type")
    if kind == "file":
        return _vendor_file(path)
    return BadRequest(f"{path}: unknown kind of source.", param=path)


def _vendor_file(path: str) -> BadRequest:
    return BadRequest(
        f"{path}: files kept by a vendor only work with an anthropic upstream; "
        "send the content itself.",
        param=path,
    )


def _plain(text: str, title: str | None, context: str | None, cache: CacheHint | None) -> File:
    return File(text=text, mime="text/plain", title=title, context=context, cache=cache)


def _citations(citations: list[Any]) -> Iterator[Citation]:
    """Yield the citations of web pages; those of documents have no place elsewhere."""
    for each in citations:
        if isinstance(each, dict) and isinstance(each.get("url"), str):
            title = each.get("title")
            yield Citation(each["url"], title if isinstance(title, str) else None)


def _reasoning(text: str, proof: str, *, redacted: bool) -> Reasoning:
    """Read a proof: one of our seals, or the bare one of a vendor."""
    found = seal.decode(proof)
    if found is None:
        return Reasoning(text, redacted=redacted, native=proof or None)
    return Reasoning(text or found.text or "", found, redacted=found.redacted)
