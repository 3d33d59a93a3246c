"""What a file is and how it is put in words: rules that several protocols share."""

from __future__ import annotations

from collections.abc import Mapping

# What base64 of a picture begins with.
_PICTURES: Mapping[str, str] = {
    "iVBOR": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
# The few endings that clients name files with; others are the upstream's to judge.
_ENDINGS: Mapping[str, str] = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "json": "application/json",
    "html": "text/html",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
}


def picture_type(data: str) -> str:
    """Return the media type that the beginning of a picture's base64 shows; "" for none."""
    return next((mime for start, mime in _PICTURES.items() if data.startswith(start)), "")


def file_type(name: str | None, otherwise: str) -> str:
    """Return the media type that the ending of a file's name or URL promises."""
    ending = (name or "").partition("?")[0].rpartition(".")[2].lower()
    return _ENDINGS.get(ending, otherwise)


def headed(text: str, name: str | None, context: str | None) -> str:
    """Return a plain text file as the words of a message."""
    lines = [f"[file: {name}]"] if name else []
    lines += [context] if context else []
    return "\n".join([*lines, text])
