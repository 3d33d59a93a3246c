"""What was asked of the demo vendor, in no protocol's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Media:
    """How many things other than words a turn holds."""

    images: int = 0
    pdfs: int = 0
    files: int = 0
    audio: int = 0

    def __add__(self, other: Media) -> Media:
        return Media(
            self.images + other.images,
            self.pdfs + other.pdfs,
            self.files + other.files,
            self.audio + other.audio,
        )

    def __bool__(self) -> bool:
        return self != Media()

    def __str__(self) -> str:
        counts = (
            (self.images, "image"),
            (self.pdfs, "PDF"),
            (self.files, "file"),
            (self.audio, "audio clip"),
        )
        said = [f"{count} {name}{'s' * (count > 1)}" for count, name in counts if count]
        return " and ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said)


def document(mime: str | None, name: str | None = None) -> Media:
    """Return what a document counts as: a PDF by its type or name, else a file."""
    is_pdf = mime == "application/pdf" or (name or "").lower().endswith(".pdf")
    return Media(pdfs=1) if is_pdf else Media(files=1)


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered."""

    call_id: str
    text: str
    name: str = ""
    media: Media = Media()
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: words, media, calls by id and name, results."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    media: Media = Media()
    calls: Mapping[str, str] = field(default_factory=dict)
    results: tuple[Result, ...] = ()


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool the model may call; a free one takes any text."""

    name: str
    schema: Mapping[str, Any] | None = None
    namespace: str | None = None
    free: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        fingerprint: hex that is the same for the same request; ids are made of it.
        choice: which tools may be called; ``allowed`` narrows it, empty: any.
        output: the JSON schema of the answer's text; ``{}``: any object; None: plain text.
        thinking: None when the request switched it off, else the most tokens to think
            (0: as many as the model likes).
        cache: how the vendor's prompt cache works for this request.
    """

    model: str
    turns: tuple[Turn, ...]
    fingerprint: str
    tools: tuple[Offered, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    allowed: tuple[str, ...] = ()
    parallel: bool = True
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    output: Mapping[str, Any] | None = None
    thinking: int | None = 0
    n: int = 1
    cache: Literal["implicit", "explicit", "none"] = "implicit"
    stream: bool = False


def unanswered(turns: Sequence[Turn]) -> list[str]:
    """Return the ids of calls whose results are not in the turns directly after them."""
    missing: list[str] = []
    waiting: list[str] = []
    for turn in turns:
        answered = {result.call_id for result in turn.results}
        waiting = [call_id for call_id in waiting if call_id not in answered]
        if not turn.results:
            missing += waiting
            waiting = list(turn.calls)
    return missing + waiting


def uncalled(turns: Sequence[Turn]) -> list[str]:
    """Return the ids of results that no call before them has."""
    known: set[str] = set()
    stray: list[str] = []
    for turn in turns:
        stray += [result.call_id for result in turn.results if result.call_id not in known]
        known |= set(turn.calls)
    return stray


def since_assistant(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns after the last one of the assistant."""
    tail: list[Turn] = []
    for turn in reversed(turns):
        if turn.role == "assistant":
            break
        tail.append(turn)
    return tail[::-1]


def last_results(turns: Sequence[Turn]) -> list[Result]:
    """Return what tools have answered since the assistant last spoke."""
    return [result for turn in since_assistant(turns) for result in turn.results]


def last_media(turns: Sequence[Turn]) -> Media:
    """Return what has been shown since the assistant last spoke."""
    return sum((turn.media for turn in since_assistant(turns)), Media())


def spoken(turns: Sequence[Turn]) -> str:
    """Return the words to be answered, "" when only media came; neighbours are one message."""
    tail = [turn for turn in since_assistant(turns) if turn.role == "user"]
    return _said(tail) if tail else last_words(turns)


def last_words(turns: Sequence[Turn]) -> str:
    """Return the user's last words, however long ago the user spoke."""
    rest = list(turns)
    while rest:
        tail = since_assistant(rest)
        if said := _said(tail):
            return said
        del rest[max(0, len(rest) - len(tail) - 1) :]
    return ""


def _said(turns: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in turns if turn.role == "user" and turn.text)
