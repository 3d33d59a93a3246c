"""What the demo vendor answers, in no protocol's words, whole and in the order of a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kurolproxy.demo.ask import Offered
from kurolproxy.demo.proof import prove


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning; ``redacted`` keeps its text from the client."""

    text: str
    redacted: bool = False

    @property
    def proof(self) -> str:
        """What only the vendor can make: it comes back with the thought."""
        return prove(self.text)


@dataclass(frozen=True, slots=True)
class Words:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; ``text`` is its arguments as JSON, or a free tool's input."""

    id: str
    tool: Offered
    text: str


Piece = Thought | Words | Call
Finish = Literal["stop", "stop_sequence", "tool_calls", "length"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer."""

    pieces: tuple[Piece, ...]
    finish: Finish
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens: ``prompt`` includes cached ones, ``completion`` the reasoning."""

    prompt: int
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the vendor answers; ``slow``: with pauses between the words."""

    choices: tuple[Choice, ...]
    counts: Counts
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer ``choice`` begins."""

    choice: int


@dataclass(frozen=True, slots=True)
class PieceOpened:
    """Piece ``index`` of the answer begins."""

    choice: int
    index: int
    piece: Piece


@dataclass(frozen=True, slots=True)
class Fragment:
    """A few more characters of a piece."""

    choice: int
    index: int
    piece: Piece
    text: str


@dataclass(frozen=True, slots=True)
class PieceClosed:
    """Piece ``index`` is complete."""

    choice: int
    index: int
    piece: Piece


@dataclass(frozen=True, slots=True)
class Closed:
    """Answer ``choice`` is complete."""

    choice: int


@dataclass(frozen=True, slots=True)
class Done:
    """Every answer is complete."""


Event = Opened | PieceOpened | Fragment | PieceClosed | Closed | Done

# A word with the space after it; scripts without spaces are cut every few characters.
_WORD = re.compile(r"\S{1,12}\s*|\s+")


def events(answer: Reply) -> Iterator[Event]:
    """Yield an answer in the order and the portions it is streamed in."""
    for number, choice in enumerate(answer.choices):
        yield Opened(number)
        for index, piece in enumerate(choice.pieces):
            yield PieceOpened(number, index, piece)
            for word in _WORD.findall(piece.text):
                yield Fragment(number, index, piece, word)
            yield PieceClosed(number, index, piece)
        yield Closed(number)
    yield Done()
