"""Texts as literals of the languages that tools are configured in: nothing breaks out of one."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

HELD = "\0"
"""Stands for a value that is not written: no text of a user is this one."""

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
# Columns of a line of JSON that holds a whole value.
_SHORT = 100
# PowerShell takes typographic quotes for quotes, too.
_POWERSHELL_QUOTES = re.compile("(['\u2018\u2019\u201a\u201b])")
# What JSON may hold as it is and a reader does not see: DEL, C1, marks of direction.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Kilo replaces {env:...} and {file:...} wherever they stand in its file.
_REFERENCE = re.compile(r"\{(?=env:|file:)")


def is_sayable(text: str) -> bool:
    """Return whether a text can be told to any tool: no NUL, no half of a character."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def sh(text: str) -> str:
    """Return a word of bash or zsh; one with control characters stays on one line."""
    if _PLAIN.fullmatch(text):
        return text
    if text.isprintable():
        return "'" + text.replace("'", "'\\''") + "'"
    # What a terminal would act upon is spelt out.
    return "$'" + "".join(map(_sh_character, text)) + "'"


def _sh_character(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode())


def powershell(text: str) -> str:
    """Return a string of PowerShell, in single quotes: nothing inside of them is expanded."""
    return "'" + _POWERSHELL_QUOTES.sub(r"\1\1", text) + "'"


def compact(value: Any) -> str:
    """Return JSON on one line, of ASCII only, as it goes into a command."""
    return json.dumps(value)


def pretty(value: Any, indent: int = 0) -> str:
    """Return JSON for a file that people edit: what is short stands on one line.

    Args:
        indent: of the line that the value begins on.
    """
    short = _json(value)
    inner = " " * (indent + 2)
    if indent and len(short) + indent <= _SHORT:
        return short
    if isinstance(value, dict):
        entries = [f"{_json(name)}: {pretty(each, indent + 2)}" for name, each in value.items()]
        begin, end = "{}"
    elif isinstance(value, list):
        entries = [pretty(each, indent + 2) for each in value]
        begin, end = "[]"
    else:
        return short
    lines = ",\n".join(inner + each for each in entries)
    return f"{begin}\n{lines}\n{' ' * indent}{end}" if lines else begin + end


def jsonc(value: Any, *, variable: str) -> str:
    """Return JSON for Kilo's file.

    Args:
        variable: of the environment; a string that is ``HELD`` becomes a reference to it.
    """
    text = _REFERENCE.sub(r"\\u007b", pretty(value))
    return text.replace(pretty(HELD), f'"{{env:{variable}}}"')


def toml(text: str) -> str:
    """Return a basic string of TOML."""
    return _json(text)


def _json(value: Any) -> str:
    """Return JSON on one line that is TOML, too, and shows all that it holds."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def python(text: str) -> str:
    """Return a string of Python."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else ascii(text)


def javascript(text: str) -> str:
    """Return a string of JavaScript."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def line(text: str) -> str:
    """Return what is typed into a field of a form: as it is, when it is one line."""
    return text if text.isprintable() else json.dumps(text)


def path_part(text: str) -> str:
    """Return one part of the path of a URL."""
    return quote(text, safe="")
