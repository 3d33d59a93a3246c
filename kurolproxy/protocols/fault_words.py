"""What an upstream's error says: the rules of reading one that all protocols share."""

from __future__ import annotations

from typing import Any

MAX_WORDS = 2_000
"""No text of an upstream's error is longer; behind that is a page or a dump."""

_MAX_LEVELS = 4
_CONTENT_REFUSED = (400, 413, 422)
# The keys that hold words, in the order they are tried. OpenAI and most others:
# error.message, or error as a text; FastAPI and Mistral: detail, a text or a list of
# {loc, msg}.
_WORD_KEYS = ("message", "error", "detail", "msg")
# Phrases for "the prompt does not fit", lower case.
_TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context limit",
    "context size",
    "context window",
    "exceed the context",
    "exceed_context_size",
    "exceeds context",
    "exceeds the context",
    "exceeds the maximum context",
    "exceeds the maximum number of tokens",
    "input is too long",
    "input length",
    "input token count",
    "maximum prompt length",
    "prompt is too long",
    "prompt too long",
    "reduce the length of",
    "too many input tokens",
    "too many tokens",
)


def refuses_content(status: int) -> bool:
    """Return whether a status is about what the client sent; others may say the same by chance."""
    return status in _CONTENT_REFUSED


def says_too_long(text: str) -> bool:
    """Return whether the words and codes of an error mean a prompt that does not fit."""
    lower = text.lower()
    return any(phrase in lower for phrase in _TOO_LONG)


def words(value: Any) -> str:
    """Return what an error object says in words; "" when it says nothing."""
    return _words(value, _MAX_LEVELS).strip()[:MAX_WORDS]


def _words(value: Any, levels: int) -> str:
    if isinstance(value, str):
        return value
    if levels and isinstance(value, list):
        return "; ".join(filter(None, (_words(each, levels - 1) for each in value[:8])))
    if levels and isinstance(value, dict):
        found = (_words(value.get(key), levels - 1) for key in _WORD_KEYS)
        return next(filter(None, found), "")
    return ""


def plain_words(body: bytes) -> str:
    """Return the words of an error that is no JSON; a page of HTML has none."""
    text = body[: 4 * MAX_WORDS].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") or "<html" in text.lower() else text[:MAX_WORDS]
