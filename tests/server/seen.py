"""What one client saw of one answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fakes.recordings import Call, Figures

PROMPT: Any = [{"role": "user", "content": "x"}]


@dataclass(slots=True)
class Seen:
    """What one client saw.

    Attributes:
        finish: the client protocol's own word; Responses has two (``incomplete/...``).
        error: the text of the error that ended the answer.
        raised: the exception of the SDK.
        wire: the error's object on the wire, as far as the SDK shows it.
        status: of an error that came before the stream.
        final: what the terminal event of a stream said once more, where it has one.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str | None = None
    usage: Figures | None = None
    error: str | None = None
    raised: Exception | None = None
    wire: Any = None
    status: int | None = None
    final: Seen | None = None
