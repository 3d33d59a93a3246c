"""TOML text -> where each of its keys and array elements stands.

No library gives positions. ``tomllib`` decides what is valid; this tokenizer only
follows a text that ``tomllib`` has read, and need not tell one scalar from another.

A path is what leads to a value in the result of ``tomllib.loads``. One that ends with a
key points at the key's text, where it is first written (for a dotted key or a header: at
its own part). One that ends with an index points at the element's text, or at the
``[[`` of its header.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*+")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
_SCALAR = re.compile(r"[^,\]}#\r\n]++")
# Up to two quotes may stand before the three that close a multi-line string.
_STRINGS = (
    ('"""', re.compile(r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']++|'{1,2}(?!'))*+'{3,5}")),
    ('"', re.compile(r'"(?:[^"\\\n]++|\\.)*+"')),
    ("'", re.compile(r"'[^'\n]*+'")),
)


class Position(NamedTuple):
    """A place in a text: line and column, in characters, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Positions:
    """The positions of one text."""

    found: Mapping[Path, Position]

    def at(self, path: Path) -> Position:
        """Return where ``path`` stands, or the nearest thing around it that was written."""
        for length in range(len(path), 0, -1):
            place = self.found.get(path[:length])
            if place is not None:
                return place
        return Position(1, 1)


def locate(text: str) -> Positions:
    """Return the positions of everything in a text that ``tomllib`` accepts.

    Raises:
        ValueError: the text is no TOML after all.
    """
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def position(offset: int) -> Position:
        line = bisect_right(starts, offset)
        return Position(line, offset - starts[line - 1] + 1)

    offsets = _Walk(text).run()
    return Positions({path: position(offset) for path, offset in offsets.items()})


class _Walk:
    """One walk through a text: ``_at`` moves forward only."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[Path, int] = {}
        # How many [[headers]] each array of tables has had so far.
        self._tables: dict[Path, int] = {}

    def run(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_BLANK_LINES)
        while self._at < len(self._text):
            if self._next("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK_LINES)
        return self._offsets

    def _header(self) -> Path:
        start = self._at
        brackets = 2 if self._next("[[") else 1
        self._at += brackets
        path: Path = ()
        for name, offset in self._key():
            # The last element of an array of tables is the one a header speaks of.
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
            path = self._note((*path, name), offset)
        self._take("]" * brackets)
        if brackets == 1:
            return path
        index = self._tables.get(path, 0)
        self._tables[path] = index + 1
        return self._note((*path, index), start)

    def _pair(self, table: Path) -> None:
        path = table
        for name, offset in self._key():
            path = self._note((*path, name), offset)
        self._take("=")
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> list[tuple[str, int]]:
        """Read a dotted key: its parts, each with its offset."""
        parts = []
        while True:
            self._skip(_BLANK)
            start = self._at
            if self._next('"') or self._next("'"):
                name = str(tomllib.loads(f"key = {self._string()}")["key"])
            else:
                name = self._skip(_BARE_KEY)
                if not name:
                    raise ValueError(f"no key at offset {start}")
            parts.append((name, start))
            self._skip(_BLANK)
            if not self._next("."):
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline_table(path)
        elif self._next('"') or self._next("'"):
            self._string()
        elif not self._skip(_SCALAR):
            raise ValueError(f"no value at offset {self._at}")

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        self._skip(_BLANK_LINES)
        while not self._next("]"):
            self._value(self._note((*path, index), self._at))
            index += 1
            self._separator("]")
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK_LINES)
        while not self._next("}"):
            self._pair(path)
            self._separator("}")
        self._at += 1

    def _separator(self, close: str) -> None:
        self._skip(_BLANK_LINES)
        if not self._next(close):
            self._take(",")
            self._skip(_BLANK_LINES)

    def _string(self) -> str:
        for quotes, pattern in _STRINGS:
            if self._next(quotes):
                token = self._skip(pattern)
                if token:
                    return token
        raise ValueError(f"no string at offset {self._at}")

    def _note(self, path: Path, offset: int) -> Path:
        self._offsets.setdefault(path, offset)
        return path

    def _next(self, token: str) -> bool:
        return self._text.startswith(token, self._at)

    def _take(self, token: str) -> None:
        if not self._next(token):
            raise ValueError(f"no {token} at offset {self._at}")
        self._at += len(token)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()
