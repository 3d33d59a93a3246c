"""Where the arguments of a streamed call end, found without reading a fragment twice."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kurolproxy.protocols import wire

_SPACE = " \t\r\n"
_LITERALS = frozenset({"true", "false", "null"})
# No literal is longer, white space around it included, in any stream worth waiting for.
_LONGEST_LITERAL = 64

# Possessive, so that no text makes them look at a character again and again.
_BODY = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_INSIDE = re.compile(_BODY, re.DOTALL)
_STRING = re.compile(f'"{_BODY}"', re.DOTALL)
_STRINGS = re.compile(f'(?:[^"]*+"{_BODY}")*+', re.DOTALL)
_MARK = re.compile(r'["{}\[\]]')


class ArgumentsEnd:
    """Tells whether a growing text is one whole JSON value.

    A text can only be one when every bracket and every string in it is closed. Brackets
    and quotes are counted as the fragments come; the text is parsed once, the first time
    that all are closed, for it becomes no other value by growing.

    States: growing -> whole -> never (something else followed), or growing -> never.
    """

    __slots__ = ("_depth", "_escaped", "_marked", "_quoted", "_verdict", "_word")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._marked = False
        # The text so far while it has neither bracket nor quote: a literal, if anything.
        self._word = ""
        self._verdict: bool | None = None

    def feed(self, fragment: str) -> None:
        """Take the next fragment; it is not empty."""
        if self._verdict is not None:
            self._verdict = self._verdict and not fragment.strip(_SPACE)
            return
        if self._marked or _MARK.search(fragment) is not None:
            self._marked = True
            self._count(fragment)
            return
        self._word = (self._word + fragment).lstrip(_SPACE)
        if len(self._word) > _LONGEST_LITERAL:
            self._verdict = False

    def whole(self, fragments: Iterable[str]) -> bool:
        """Return whether the text is a whole value.

        Args:
            fragments: all that were fed.
        """
        if self._verdict is None and self._closed():
            self._verdict = _parses("".join(fragments))
        return self._verdict is True

    def _closed(self) -> bool:
        if self._marked:
            return not self._quoted and self._depth == 0
        return self._word.rstrip(_SPACE) in _LITERALS

    def _count(self, text: str) -> None:
        at = self._leave(text) if self._quoted else 0
        if self._quoted:
            return
        found = _STRINGS.match(text, at)
        end = found.end() if found else at
        quote = text.find('"', end)
        tail = text[end:] if quote < 0 else text[end:quote]
        bare = _STRING.sub("", text[at:end]) + tail
        self._depth += bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")
        if self._depth < 0:
            self._verdict = False
        if quote >= 0:
            self._quoted = True
            self._enter(text, quote + 1)

    def _leave(self, text: str) -> int:
        """Read on in a string that an earlier fragment began; return where it ends."""
        at = self._enter(text, 1 if self._escaped else 0)
        if at < len(text) and text[at] == '"':
            self._quoted = False
        return at + 1

    def _enter(self, text: str, at: int) -> int:
        found = _INSIDE.match(text, at)
        end = found.end() if found else at
        # A backslash that ends the fragment escapes the first character of the next.
        self._escaped = end < len(text) and text[end] == "\\"
        return end


def _parses(text: str) -> bool:
    try:
        wire.loads(text)
    except wire.WireError:
        return False
    return True
