"""The content parts of items, both ways: text, images, files, sound."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    CacheHint,
    File,
    Image,
    Part,
    Refusal,
    Request,
    Text,
    ToolResult,
)
from kurolproxy.protocols.base import Fields, TargetView, inner_fields
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.media import file_type, headed, picture_type
from kurolproxy.protocols.openai_responses.notes import Notes
from kurolproxy.protocols.openai_responses.vocabulary import (
    INPUT_AUDIO,
    INPUT_FILE,
    INPUT_IMAGE,
    INPUT_TEXT,
    OUTPUT_TEXT,
    REFUSAL,
    citations,
)

_PDF = "application/pdf"

# --- decode ---------------------------------------------------------------------------------

_TTLS = {"30m": 1800, "12h": 43_200}
_DETAILS: Mapping[str, Literal["auto", "low", "high"]] = {
    "auto": "auto",
    "low": "low",
    "high": "high",
    "original": "high",
}


class PartReader:
    """Read the content of messages and the output of tools.

    Args:
        notes: told of what has no place.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._readers: Mapping[str, Callable[[Fields], Part]] = {
            INPUT_TEXT: self._text,
            OUTPUT_TEXT: self._text,
            "text": self._text,
            REFUSAL: self._refusal,
            INPUT_IMAGE: self._image,
            INPUT_FILE: self._file,
            INPUT_AUDIO: self._audio,
        }

    def content(self, fields: Fields, name: str = "content") -> list[Part]:
        """Read a text, an array of parts, or nothing.

        Raises:
            BadRequest: a part is unknown, or points at a file that the vendor keeps.
        """
        value = fields.raw(name)
        if value is None:
            return []
        if isinstance(value, str):
            return [Text(value)]
        if not isinstance(value, list):
            raise fields.wrong(name, "a string or an array of parts")
        return [self._part(item, f"{fields.path(name)}[{at}]") for at, item in enumerate(value)]

    def _part(self, item: Any, where: str) -> Part:
        if isinstance(item, str):
            return Text(item)
        fields = inner_fields(item, where)
        kind = fields.need_text("type")
        reader = self._readers.get(kind)
        if reader is None:
            path = fields.path("type")
            raise BadRequest(f"{path}: parts of type {kind} are not supported.", param=path)
        part = reader(fields)
        self._notes.rest(fields, _PLACELESS.get(kind, ()), f"input.{kind}.")
        return part

    def _text(self, fields: Fields) -> Text:
        annotations = fields.items("annotations") or []
        found = tuple(citations(annotations))
        if len(found) < len(annotations):
            self._notes.lost("input.output_text.annotations")
        return Text(fields.need_text("text"), _cache(fields), found)

    def _refusal(self, fields: Fields) -> Refusal:
        return Refusal(fields.need_text("refusal"))

    def _image(self, fields: Fields) -> Image:
        if fields.raw("image_url") is None:
            _refuse_id(fields, "image_url")
        fields.raw("file_id")
        url = _url(fields)
        cache, detail = _cache(fields), _DETAILS.get(str(fields.raw("detail")))
        data = _data_url(url, fields.path("image_url"))
        if data is None:
            return Image(url=url, detail=detail, cache=cache)
        return Image(data=data[1], mime=data[0] or None, detail=detail, cache=cache)

    def _audio(self, fields: Fields) -> Audio:
        inner = inner_fields(fields.raw(INPUT_AUDIO), fields.path(INPUT_AUDIO))
        return Audio(inner.need_text("data"), inner.need_text("format"))

    def _file(self, fields: Fields) -> File:
        name, url = fields.text("filename"), fields.text("file_url")
        value, cache = fields.text("file_data"), _cache(fields)
        if url is None and value is None:
            _refuse_id(fields, "file_data")
        fields.raw("file_id")
        if value is None:
            return File(url=url, mime=file_type(url, _PDF), name=name, cache=cache)
        data = _data_url(value, fields.path("file_data"))
        mime = (data[0] if data else "") or file_type(name, _PDF)
        content = data[1] if data else value
        if mime.startswith("text/"):
            text = _decoded(content, fields.path("file_data"))
            return File(text=text, mime=mime, name=name, cache=cache)
        return File(data=content, mime=mime, name=name, cache=cache)


# What no other protocol has, by the type of the part.
_PLACELESS: Mapping[str, tuple[str, ...]] = {OUTPUT_TEXT: ("logprobs",), INPUT_FILE: ("detail",)}


def _cache(fields: Fields) -> CacheHint | None:
    mark = fields.raw("prompt_cache_breakpoint")
    return CacheHint(_TTLS.get(str(mark.get("ttl")))) if isinstance(mark, dict) else None


def _refuse_id(fields: Fields, wanted: str) -> None:
    """Raise for a part without content: the gateway keeps no files, nor does it fetch them."""
    path = fields.path("file_id")
    if fields.raw("file_id") is not None:
        raise BadRequest(f"{path}: the gateway keeps no files; send {wanted} instead.", param=path)
    path = fields.path(wanted)
    raise BadRequest(f"{path}: Field required", param=path)


def _url(fields: Fields) -> str:
    """Return the URL of an image; the nested form of Chat is taken too."""
    value = fields.raw("image_url")
    if isinstance(value, dict):
        return Fields(value, fields.path("image_url")).need_text("url")
    return fields.need_text("image_url")


def _data_url(url: str, where: str) -> tuple[str, str] | None:
    """Return the media type and the base64 of a data URL, None for anything else."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise BadRequest(f"{where}: a data URL must be base64.", param=where)
    return head[5:].split(";")[0].strip().lower(), data


def _decoded(content: str, where: str) -> str:
    try:
        return base64.b64decode(content).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise BadRequest(f"{where} is not base64.", param=where) from None


# --- encode ---------------------------------------------------------------------------------

_MAX_BREAKPOINTS = 4
_LONG_TTL_S = 3600
WirePart = dict[str, Any]


class PartWriter:
    """Write the parts of a request for one target.

    Raises:
        BadRequest: from ``part``, for what the model cannot take.
    """

    def __init__(self, reader: Reader, target: TargetView) -> None:
        self._reader = reader
        self._target = target
        explicit = target.traits.cache == "explicit"
        self._marked = _breakpoints(reader.request) if explicit else frozenset()

    def part(self, part: Text | Image | File | Audio) -> WirePart:
        """Write one part of what is said to the model."""
        match part:
            case Text():
                wired = {"type": INPUT_TEXT, "text": self._reader.take(part, "text")}
            case Image():
                wired = self._image(part)
            case File():
                wired = self._file(part)
            case Audio():
                self._reader.whole(part)
                audio = {"data": part.data, "format": part.format}
                return {"type": INPUT_AUDIO, "input_audio": audio}
        return self.mark(wired, part)

    def parts(self, parts: Iterable[Part]) -> list[WirePart]:
        """Write the parts that have a place in what is said to the model."""
        return [self.part(part) for part in parts if isinstance(part, Text | Image | File | Audio)]

    def mark(self, wired: WirePart, node: Text | Image | File | ToolResult) -> WirePart:
        """Put the breakpoint of a node on the part that stands for it."""
        if node.cache is None or id(node) not in self._marked:
            return wired
        hint: CacheHint = self._reader.take(node, "cache")
        mark: WirePart = {"mode": "explicit"}
        if hint.ttl_s is not None:
            mark["ttl"] = "12h" if hint.ttl_s >= _LONG_TTL_S else "30m"
        return {**wired, "prompt_cache_breakpoint": mark}

    def _image(self, image: Image) -> WirePart:
        if not self._target.traits.vision:
            raise self._refused("images")
        take = self._reader.take
        mime, data, url = take(image, "mime"), take(image, "data"), take(image, "url")
        if data is not None:
            url = f"data:{mime or picture_type(data) or 'image/png'};base64,{data}"
        detail = take(image, "detail") or "auto"
        return {"type": INPUT_IMAGE, "detail": detail, "image_url": url or ""}

    def _file(self, file: File) -> WirePart:
        take = self._reader.take
        name, title = take(file, "name"), take(file, "title")
        text, mime = take(file, "text"), take(file, "mime")
        if text is not None:
            said = headed(text, name or title, take(file, "context"))
            return {"type": INPUT_TEXT, "text": said}
        if mime is not None and mime.startswith("video/"):
            raise self._refused("films")
        if mime in (None, _PDF) and not self._target.traits.pdf:
            raise self._refused("PDF files")
        if file.url is not None:
            return {"type": INPUT_FILE, "file_url": take(file, "url")}
        data = f"data:{mime or _PDF};base64,{take(file, 'data') or ''}"
        return {"type": INPUT_FILE, "filename": name or title or "document.pdf", "file_data": data}

    def _refused(self, what: str) -> BadRequest:
        return BadRequest(
            f"Model {self._target.public_model} does not accept {what}: leave them out, or use"
            " another model."
        )


def _breakpoints(request: Request) -> frozenset[int]:
    """Return the ids of the last nodes that carry a cache mark, as many as OpenAI takes.

    What the assistant said has no place for a mark.
    """
    nodes: list[Any] = list(request.system)
    for message in request.messages:
        for part in message.parts if message.role != "assistant" else ():
            if isinstance(part, ToolResult):
                nodes += part.parts
            nodes.append(part)
    marked = [
        id(node)
        for node in nodes
        if isinstance(node, Text | Image | File | ToolResult) and node.cache is not None
    ]
    return frozenset(marked[-_MAX_BREAKPOINTS:])
