"""Parts of Gemini contents, wire -> neutral parts.

Source: https://ai.google.dev/api/caching#Part and the types of the ``google-genai`` SDK 3.4.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
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
from kurolproxy.protocols.gemini.vocabulary import (
    NO_SIGNATURE,
    SERVER_PARTS,
    WireFields,
    arguments_text,
    mime_of_url,
    plain_mime,
    standard_base64,
)

Media = Text | Image | File

# What a part says besides its data that is of no use to another vendor: dropped, by name.
_KNOWN_PART = frozenset(
    {
        "audioMetadata",
        "documentMetadata",
        "mediaProcessing",
        "mediaResolution",
        "partMetadata",
        "speechMetadata",
        "spreadsheetMetadata",
        "videoMetadata",
    }
)
_KNOWN_CALL = frozenset({"partialArgs", "scheduling", "willContinue"})
_KNOWN_BLOB = frozenset({"displayName"})

# How clients wrap what a tool said: this protocol wants an object. Google's own SDKs write
# the first three, pydantic-ai the last.
_WRAPPERS = ("output", "result", "content", "return_value")
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}


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


class PartsDecoder:
    """Read the parts of one turn, in order.

    Thoughts are held until their proof comes, which stands on the part behind them; a
    stream's history has them in pieces.

    Args:
        notes: told what is left out.
        model: it is the model's turn: users have no thoughts.
    """

    def __init__(self, notes: Notes, *, model: bool) -> None:
        self._notes = notes
        self._model = model
        self._thoughts: list[str] = []
        self._readers: Mapping[str, Callable[[Fields], Iterable[Part]]] = {
            "text": self._text,
            "inlineData": self._inline,
            "fileData": self._file,
            "functionCall": self._call,
            "functionResponse": self._response,
            **dict.fromkeys(SERVER_PARTS, self._server),
        }

    def parts(self, items: Iterable[Any], where: str) -> Iterator[Part]:
        """Yield the neutral parts of a content's parts."""
        for at, item in enumerate(items):
            path = f"{where}[{at}]"
            if not isinstance(item, dict):
                raise BadRequest(f"{path} must be an object.", param=path)
            yield from self._part(WireFields(item, path))

    def rest(self) -> Iterator[Part]:
        """Yield the thoughts whose proof never came."""
        if self._thoughts:
            yield Reasoning("".join(self._thoughts))
            self._thoughts.clear()

    def _part(self, fields: Fields) -> Iterator[Part]:
        thought, signature = fields.flag("thought"), fields.text("thoughtSignature")
        kind = self._kind(fields, signed=signature is not None)
        if thought and self._model and kind == "text":
            self._thoughts.append(fields.text("text") or "")
            yield from self._proof(signature)
        else:
            yield from self._proof(signature) if self._model else ()
            yield from self.rest()
            if kind in SERVER_PARTS:
                self._notes.lost(f"messages.{kind}")
            yield from self._readers[kind](fields)
        self._notes.rest(fields, _KNOWN_PART, f"messages.{kind}.")

    def _kind(self, fields: Fields, *, signed: bool) -> str:
        kinds = [name for name in self._readers if fields.raw(name) is not None]
        if len(kinds) > 1:
            path = fields.path(kinds[1])
            raise BadRequest(f"{path}: a part holds one kind of data only.", param=path)
        if not kinds and not signed:
            path = fields.path("text")
            raise BadRequest(
                f"{path}: the part holds none of {', '.join(self._readers)}.", param=path
            )
        # A proof alone stands on an empty text.
        return kinds[0] if kinds else "text"

    def _proof(self, signature: str | None) -> Iterator[Part]:
        """Yield the held thoughts with the proof of them, if there is one."""
        if not signature or signature == NO_SIGNATURE:
            return
        text = "".join(self._thoughts)
        self._thoughts.clear()
        found = seal.decode(standard_base64(signature))
        if found is None:
            yield Reasoning(text, native=signature)
        else:
            yield Reasoning(text or found.text or "", found, redacted=found.redacted)

    # --- words and media ----------------------------------------------------------------

    def _text(self, fields: Fields) -> Iterable[Part]:
        yield Text(fields.text("text") or "")

    def _inline(self, fields: Fields) -> Iterable[Part]:
        blob = _inner(fields, "inlineData")
        mime, data = plain_mime(blob.need_text("mimeType")), blob.need_text("data")
        kind, _, form = mime.partition("/")
        if kind == "audio":
            yield Audio(standard_base64(data), _AUDIO_FORMATS.get(form, form))
        else:
            yield _inline_media(blob, mime, standard_base64(data))
        self._notes.rest(blob, _KNOWN_BLOB, "messages.inlineData.")

    def _file(self, fields: Fields) -> Iterable[Part]:
        file = _inner(fields, "fileData")
        yield _file_media(file)
        self._notes.rest(file, _KNOWN_BLOB, "messages.fileData.")

    # --- tools --------------------------------------------------------------------------

    def _call(self, fields: Fields) -> Iterable[Part]:
        call = _inner(fields, "functionCall")
        if not self._model:
            path = fields.path("functionCall")
            raise BadRequest(f"{path}: calls stand in contents of role model only.", param=path)
        args = arguments_text(call.object("args"))
        yield ToolCall(call.text("id") or "", call.need_text("name"), args)
        self._notes.rest(call, _KNOWN_CALL, "messages.functionCall.")

    def _response(self, fields: Fields) -> Iterable[Part]:
        answer = _inner(fields, "functionResponse")
        name, said = answer.need_text("name"), answer.object("response") or {}
        text, is_error = _unwrapped(said, name)
        media = [
            self._result_media(item, f"{answer.path('parts')}[{at}]")
            for at, item in enumerate(answer.items("parts") or ())
        ]
        parts = (*([Text(text)] if text else []), *media)
        yield ToolResult(answer.text("id") or "", parts, name, is_error)
        self._notes.rest(answer, _KNOWN_CALL, "messages.functionResponse.")

    def _result_media(self, item: Any, where: str) -> Media:
        if not isinstance(item, dict):
            raise BadRequest(f"{where} must be an object.", param=where)
        fields = WireFields(item, where)
        if fields.raw("fileData") is not None:
            part = _file_media(_inner(fields, "fileData"))
        else:
            blob = _inner(fields, "inlineData")
            mime, data = plain_mime(blob.need_text("mimeType")), blob.need_text("data")
            part = _inline_media(blob, mime, standard_base64(data))
        self._notes.rest(fields, _KNOWN_PART, "messages.functionResponse.parts.")
        return part

    def _server(self, fields: Fields) -> Iterable[Part]:
        """Leave out what the vendor's own tools did; the words around it tell of it."""
        return ()


def _inner(fields: Fields, name: str) -> WireFields:
    value, path = fields.object(name), fields.path(name)
    if value is None:
        raise BadRequest(f"{path}: Field required", param=path)
    return WireFields(value, path)


def _inline_media(blob: Fields, mime: str, data: str) -> Image | File:
    if mime.startswith("image/"):
        return Image(data=data, mime=mime)
    name = blob.text("displayName")
    if mime.startswith("text/"):
        return File(text=_decoded(data, blob.path("data")), mime=mime, name=name)
    return File(data=data, mime=mime, name=name)


def _decoded(data: str, where: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise BadRequest(f"{where} is not base64.", param=where) from None


# Where the vendor keeps the files that its clients upload.
_FILE_API = "generativelanguage.googleapis.com/"


def _file_media(file: Fields) -> Image | File:
    uri, path = file.need_text("fileUri"), file.path("fileUri")
    scheme, _, rest = uri.partition("://")
    if scheme.lower() not in ("http", "https") or rest.startswith(_FILE_API):
        raise BadRequest(
            f"{path}: files kept by a vendor only work with a gemini upstream; send the "
            "content itself as inlineData.",
            param=path,
        )
    mime = plain_mime(file.text("mimeType")) or mime_of_url(uri)
    if mime.startswith("image/"):
        return Image(url=uri, mime=mime)
    return File(url=uri, mime=mime or None, name=file.text("displayName"))


def _unwrapped(response: Mapping[str, Any], name: str) -> tuple[str, bool]:
    """Return what a tool said, and whether it is an error.

    An object with one of the customary keys is a wrapper; any other is itself what the
    tool said.
    """
    said = {key: value for key, value in response.items() if value is not None}
    if said.keys() == {"name", "content"} and said["name"] == name:
        # The AI SDK repeats the name.
        del said["name"]
    if len(said) != 1:
        return (wire.compact(said) if said else ""), False
    ((key, value),) = said.items()
    if key != "error" and key not in _WRAPPERS:
        return wire.compact(said), False
    return (value if isinstance(value, str) else wire.compact(value)), key == "error"
