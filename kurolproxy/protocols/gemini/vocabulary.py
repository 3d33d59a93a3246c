"""What requests and answers of Gemini have in common: spellings, base64, media types, arguments.

Names on this wire are camelCase; protocol buffers read their own snake_case as well, and
some clients write it: every reader here takes both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Fields
from kurolproxy.protocols.media import picture_type

NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the proof of a call that another vendor's model made.

Source: https://ai.google.dev/gemini-api/docs/thought-signatures
"""

SERVER_PARTS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""Parts of the tools that the vendor runs itself; no other protocol has a place for them."""

_UNDERSCORE = re.compile(r"_([a-z0-9])")
_CAPITAL = re.compile(r"([A-Z])")


@cache
def snake(name: str) -> str:
    """Return the snake_case spelling of one of our own camelCase names."""
    return _CAPITAL.sub(r"_\1", name).lower()


def camel(name: str) -> str:
    """Return the camelCase spelling of a name in either spelling."""
    if "_" not in name:
        return name
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


def member(value: Mapping[str, Any], name: str) -> Any:
    """Return a member by its camelCase name, in whichever spelling it stands there.

    Args:
        name: in camelCase.
    """
    found = value.get(name)
    return value.get(snake(name)) if found is None else found


class WireFields(Fields):
    """``Fields`` of an object whose names are in either spelling; ask in camelCase.

    Only for objects whose keys are the protocol's: those of arguments, labels and
    properties are their author's.
    """

    __slots__ = ()

    def __init__(self, body: Mapping[str, Any], where: str = "") -> None:
        super().__init__(_camelled(body), where)

    def names(self) -> list[str]:
        """Return the names of all members, in camelCase."""
        return list(self._body)

    def listed(self, name: str) -> list[Any]:
        """Take an array; like the vendor, whose examples do so, take one object for it."""
        value = self.raw(name)
        return [value] if isinstance(value, dict) else self.items(name) or []


def _camelled(body: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any("_" in name for name in body):
        return body
    out: dict[str, Any] = {}
    for name, value in body.items():
        spelled = camel(name)
        # Of a field in both spellings the one that says something counts.
        if out.get(spelled) is None:
            out[spelled] = value
    return out


# --- base64 -----------------------------------------------------------------------------

_STANDARD = str.maketrans("-_", "+/")


def standard_base64(data: str) -> str:
    """Return base64 in its usual alphabet, padded.

    The vendor's Python SDK writes all bytes in the alphabet for URLs, whatever it was
    given; the other vendors do not read that.
    """
    if "-" in data or "_" in data:
        data = data.translate(_STANDARD)
    missing = -len(data) % 4
    # With line breaks in it the length says nothing.
    return data + "=" * missing if missing and "\n" not in data else data


# --- media ------------------------------------------------------------------------------

PDF = "application/pdf"

_ENDINGS = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": PDF,
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
}
# How the base64 of each kind begins, for clients that do not say what they send.
_PDF_START = "JVBERi"
# What clients write for a registered type.
_OTHER_WORDS = {"image/jpg": "image/jpeg"}


def plain_mime(mime: str | None) -> str:
    """Return a media type in lower case and without parameters; "" when none was given."""
    kind = (mime or "").partition(";")[0].strip().lower()
    return _OTHER_WORDS.get(kind, kind)


def mime_of_url(url: str) -> str:
    """Return the media type that the ending of a URL's path promises; "" for none."""
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    return _ENDINGS.get(path.rpartition(".")[2].lower(), "")


def mime_of_data(data: str) -> str:
    """Return the media type that the beginning of some base64 shows; "" for none."""
    return PDF if data.startswith(_PDF_START) else picture_type(data)


# --- the arguments of calls ---------------------------------------------------------------


def arguments_text(args: Mapping[str, Any] | None) -> str:
    """Return a call's arguments as the raw JSON text that the neutral form has."""
    return wire.compact(args) if args else "{}"


def arguments_object(args: str, *, custom: bool = False) -> dict[str, Any]:
    """Return a call's raw arguments as the object that this protocol wants.

    Arguments that are no object, broken ones too, are wrapped as ``{"input": <text>}``.

    Args:
        custom: they are the bare input of a custom tool, whatever they look like.
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
