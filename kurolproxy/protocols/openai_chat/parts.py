"""The content parts of messages, both ways: text, images, files, sound."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, Literal

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    CacheHint,
    File,
    Image,
    Part,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolResult,
)
from kurolproxy.protocols.base import Fields, TargetView, inner_fields
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.media import file_type, headed, picture_type
from kurolproxy.protocols.openai_chat.tools import decode_cache

# --- decode ---------------------------------------------------------------------------------


def decode_content(fields: Fields, name: str = "content") -> list[Part]:
    """Read a message's content: a text, an array of parts, or nothing."""
    content = fields.raw(name)
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise fields.wrong(name, "a string or an array of parts")
    return [_part(item, f"{fields.path(name)}[{at}]") for at, item in enumerate(content)]


def _part(item: Any, where: str) -> Part:
    if isinstance(item, str):
        return Text(item)
    fields = inner_fields(item, where)
    kind = fields.need_text("type")
    reader = _PARTS.get(kind)
    if reader is None:
        raise BadRequest(
            f"{where}.type: parts of type {kind} are not supported.", param=f"{where}.type"
        )
    return reader(fields)


def _text(fields: Fields) -> Text:
    return Text(fields.need_text("text"), decode_cache(fields))


def _refusal(fields: Fields) -> Refusal:
    return Refusal(fields.need_text("refusal"))


def _thinking(fields: Fields) -> Reasoning:
    """Read Mistral's thoughts, which stand among the parts."""
    return Reasoning(thinking_text(fields.raw("thinking")))


def thinking_text(value: Any) -> str:
    """Return the text of Mistral's ``thinking``: a string, or an array of text parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    texts = (each.get("text") for each in value if isinstance(each, dict))
    return "".join(text for text in texts if isinstance(text, str))


_DETAILS: dict[str, Literal["auto", "low", "high"]] = {
    "auto": "auto",
    "low": "low",
    "high": "high",
    "original": "high",
}


def _image(fields: Fields) -> Image:
    url, detail = _url(fields, "image_url")
    data = _data_url(url, fields.path("image_url"))
    cache = decode_cache(fields)
    seen = _DETAILS.get(str(detail))
    if data is None:
        return Image(url=url, detail=seen, cache=cache)
    return Image(data=data[1], mime=data[0] or None, detail=seen, cache=cache)


def _url(fields: Fields, name: str) -> tuple[str, Any]:
    """Return the URL of ``{name: {url}}`` and its detail; a bare string is taken too."""
    value = fields.raw(name)
    if isinstance(value, str):
        return value, None
    inner = inner_fields(value, fields.path(name))
    return inner.need_text("url"), inner.raw("detail")


def _data_url(url: str, where: str) -> tuple[str, str] | None:
    """Return the media type and the base64 of a data URL, None for any other URL."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise BadRequest(f"{where}: a data URL must be base64.", param=where)
    return head[5:].split(";")[0].strip().lower(), data


def _audio(fields: Fields) -> Audio:
    inner = inner_fields(fields.raw("input_audio"), fields.path("input_audio"))
    return Audio(inner.need_text("data"), inner.need_text("format"))


def _file(fields: Fields) -> File:
    inner = inner_fields(fields.raw("file"), fields.path("file"))
    cache = decode_cache(fields)
    if inner.raw("file_id") is not None:
        where = inner.path("file_id")
        raise BadRequest(
            f"{where}: the gateway keeps no files; send file_data instead.", param=where
        )
    name, value = inner.text("filename"), inner.need_text("file_data")
    if value.startswith(("http://", "https://")):
        return File(url=value, mime=file_type(value, "application/pdf"), name=name, cache=cache)
    data = _data_url(value, inner.path("file_data"))
    mime = (data[0] if data else "") or file_type(name, "application/pdf")
    content = data[1] if data else value
    if mime.startswith("text/"):
        text = _decoded(content, inner.path("file_data"))
        return File(text=text, mime=mime, name=name, cache=cache)
    return File(data=content, mime=mime, name=name, cache=cache)


def _decoded(content: str, where: str) -> str:
    try:
        return base64.b64decode(content).decode("utf-8", "replace")
    except binascii.Error:
        raise BadRequest(f"{where} is not base64.", param=where) from None


def _video(fields: Fields) -> File:
    """Read OpenRouter's ``video_url``."""
    url, _ = _url(fields, "video_url")
    data = _data_url(url, fields.path("video_url"))
    cache = decode_cache(fields)
    if data is None:
        return File(url=url, mime=file_type(url, "video/mp4"), cache=cache)
    return File(data=data[1], mime=data[0] or "video/mp4", cache=cache)


_PARTS: dict[str, Callable[[Fields], Part]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "thinking": _thinking,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "video_url": _video,
}


# --- encode ---------------------------------------------------------------------------------

_MAX_BREAKPOINTS = 4
_LONG_TTL_S = 3600
WirePart = dict[str, Any]


class PartWriter:
    """Write the parts of a request for one target.

    Raises:
        BadRequest: from ``user``, for what the model or the protocol cannot take.
    """

    def __init__(self, reader: Reader, target: TargetView) -> None:
        self._reader = reader
        self._target = target
        explicit = target.traits.cache == "explicit"
        self._marked = _breakpoints(reader.request) if explicit else frozenset()

    def texts(self, parts: Iterable[Text]) -> list[WirePart]:
        """Write text parts."""
        return [self.user(part) for part in parts]

    def user(self, part: Text | Image | File | Audio) -> WirePart:
        """Write one part that may stand in a user message."""
        match part:
            case Text():
                wire = {"type": "text", "text": self._reader.take(part, "text")}
            case Image():
                wire = self._image(part)
            case File():
                wire = self._file(part)
            case Audio():
                self._reader.whole(part)
                audio = {"data": part.data, "format": part.format}
                return {"type": "input_audio", "input_audio": audio}
        return self._with_mark(wire, part, part.cache)

    def mark(self, wire: WirePart, result: ToolResult) -> WirePart:
        """Put the breakpoint of a tool result on its last part."""
        return self._with_mark(wire, result, result.cache)

    def _with_mark(self, wire: WirePart, node: object, hint: CacheHint | None) -> WirePart:
        if hint is None or id(node) not in self._marked:
            return wire
        self._reader.take(node, "cache")
        mark: WirePart = {"mode": "explicit"}
        if hint.ttl_s is not None:
            mark["ttl"] = "12h" if hint.ttl_s >= _LONG_TTL_S else "30m"
        return {**wire, "prompt_cache_breakpoint": mark}

    def _image(self, image: Image) -> WirePart:
        if not self._target.traits.vision:
            raise self._refused("images")
        take = self._reader.take
        mime, data, url = take(image, "mime"), take(image, "data"), take(image, "url")
        if data is not None:
            url = f"data:{mime or picture_type(data) or 'image/png'};base64,{data}"
        inner = {"url": url or ""}
        detail = take(image, "detail")
        if detail is not None:
            inner["detail"] = detail
        return {"type": "image_url", "image_url": inner}

    def _file(self, file: File) -> WirePart:
        take = self._reader.take
        name, title = take(file, "name"), take(file, "title")
        text, mime = take(file, "text"), take(file, "mime")
        if text is not None:
            return {"type": "text", "text": headed(text, name or title, take(file, "context"))}
        if file.url is not None:
            model = self._target.public_model
            raise BadRequest(f"Model {model} does not accept files by URL: send the file itself.")
        if mime is not None and mime.startswith("video/"):
            raise self._refused("films")
        if mime in (None, "application/pdf") and not self._target.traits.pdf:
            raise self._refused("PDF files")
        data = f"data:{mime or 'application/pdf'};base64,{take(file, 'data') or ''}"
        inner = {"filename": name or title or "document.pdf", "file_data": data}
        return {"type": "file", "file": inner}

    def _refused(self, what: str) -> BadRequest:
        return BadRequest(
            f"Model {self._target.public_model} does not accept {what}: leave them out, or use"
            " another model."
        )


def _breakpoints(request: Request) -> frozenset[int]:
    """Return the ids of the last nodes that carry a cache mark, as many as OpenAI takes."""
    nodes: list[Any] = list(request.system)
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolResult):
                nodes += part.parts
            nodes.append(part)
    marked = [
        id(node)
        for node in nodes
        if isinstance(node, Text | Image | File | ToolResult) and node.cache is not None
    ]
    return frozenset(marked[-_MAX_BREAKPOINTS:])
