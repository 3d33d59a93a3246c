"""What is asked and what is heard, in words that no protocol owns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.recordings import Figures

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkAAIAAAoAAv/lxKUAAAAASUVORK5CYII="
PDF = "JVBERi0xLjQKJSB0aW55CiUlRU9GCg=="


@dataclass(frozen=True, slots=True)
class Words:
    """Text; ``cache``: the prompt up to here is worth caching."""

    text: str
    cache: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, base64."""

    data: str = PNG
    mime: str = "image/png"


@dataclass(frozen=True, slots=True)
class Pdf:
    """A PDF file, base64."""

    data: str = PDF
    name: str = "report.pdf"


@dataclass(frozen=True, slots=True)
class Use:
    """A call that the model made in an earlier turn."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered; ``name`` is that of the tool."""

    id: str
    name: str
    parts: tuple[Words | Picture, ...]


@dataclass(frozen=True, slots=True)
class Back:
    """An answer of the model as its SDK gave it, put back into the history.

    Attributes:
        native: what the SDK's user appends: one message, or several items.
    """

    native: Any


Part = Words | Picture | Pdf | Use


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of the history."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]


Turn = Said | Back | Result


def user(*parts: Part | str) -> Said:
    """Return a turn of the user."""
    return Said("user", tuple(Words(each) if isinstance(each, str) else each for each in parts))


def assistant(*parts: Part | str) -> Said:
    """Return a turn of the model."""
    return Said(
        "assistant", tuple(Words(each) if isinstance(each, str) else each for each in parts)
    )


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    schema: Mapping[str, Any]
    description: str = "Does it."


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        choice: ``auto``, ``required``, ``none``, or a tool's name; "": nothing is said.
        schema: the answer has to fit it.
        effort: how much to think, and the thoughts are wanted; "": nothing is said.
        extra: more arguments of the SDK's call, for one protocol's own words.
    """

    turns: tuple[Turn, ...] = (user("Hi"),)
    system: Words | None = None
    tools: tuple[Tool, ...] = ()
    choice: str = ""
    schema: Mapping[str, Any] | None = None
    effort: str = ""
    stop: tuple[str, ...] = ()
    cap: int = 1000
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a client was asked to make; ``arguments`` as the SDK's user reads them."""

    id: str
    name: str
    arguments: Any


Ending = Literal["stop", "calls", "length", "filter", "unknown"]


@dataclass(slots=True)
class Heard:
    """One answer as the user of an SDK has it.

    Attributes:
        ending: why it ended, as far as the protocol tells.
        error: what the SDK raised instead of a whole answer; the rest is what came before.
        pieces: the texts of the deltas of a stream.
        argument_pieces: those of the arguments of its calls.
        native: what goes back into the history.
    """

    model: str = ""
    ending: Ending = "unknown"
    text: str = ""
    thoughts: str = ""
    refusal: str = ""
    calls: list[Call] = field(default_factory=list)
    usage: Figures | None = None
    error: str | None = None
    pieces: list[str] = field(default_factory=list)
    argument_pieces: list[str] = field(default_factory=list)
    native: Any = None
    raw: Any = None
