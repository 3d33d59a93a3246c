"""What a client must see of a recording: the words that the readers of all vendors share.

The readers (``expected_*.py``) are written from the vendors' wire documents with nothing
but ``json``: they share no code with the gateway, so that the two can be held against
each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Figures(NamedTuple):
    """Tokens: ``prompt`` includes the cached ones, ``completion`` the reasoning."""

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Call(NamedTuple):
    """A call of a client's tool; ``arguments`` as ``normal_json`` writes them."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client must see of one recording.

    Attributes:
        calls: calls of the client's own tools; those the vendor runs are left out.
        finish: the vendor's own word for the end; None when it said none. Responses has
            two: ``incomplete/max_output_tokens``.
        usage: None when the vendor reported none.
        error: the vendor's words when the answer is or ends in an error, else None.
        whole: the answer has its protocol's mark of an end (an error has none).
        proofs: opaque proofs of reasoning, in order.
        restarts: how often a second answer began inside the first; what came
            before the last of these beginnings is not in ``text`` and ``calls``.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    finish: str | None = None
    usage: Figures | None = None
    error: str | None = None
    whole: bool = True
    proofs: tuple[str, ...] = ()
    restarts: int = 0


@dataclass(slots=True)
class Gathered:
    """What has been read of one answer so far.

    Attributes:
        names, arguments: of each call, by whatever the protocol tells calls apart.
    """

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    names: dict[Any, str] = field(default_factory=dict)
    arguments: dict[Any, list[str]] = field(default_factory=dict)
    proofs: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: Figures | None = None
    error: str | None = None
    ended: bool = False
    restarts: int = 0

    def close(self, *, finish_ends: bool = True) -> Expected:
        """Return what was read.

        Args:
            finish_ends: a reason to stop is an end, also without the mark of one.
        """
        calls = tuple(
            Call(name, normal_json("".join(self.arguments[key])))
            for key, name in self.names.items()
        )
        ended = self.ended or (finish_ends and self.finish is not None)
        return Expected(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            refusal="".join(self.refusal),
            calls=calls,
            finish=self.finish,
            usage=self.usage,
            error=self.error,
            whole=self.error is None and ended,
            proofs=tuple(self.proofs),
            restarts=self.restarts,
        )


def normal_json(raw: object) -> str:
    """Write tool arguments in one way, whoever wrote them.

    Args:
        raw: JSON text, an object, or None; nothing at all means no arguments.

    Returns:
        JSON with sorted keys; the text as it is when it is no JSON (cut off, or the
        free text of a custom tool).
    """
    if raw is None or raw == "":
        return "{}"
    value = raw
    if isinstance(raw, str):
        try:
            value = json.loads(raw)
        except ValueError:
            return raw
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def error_text(body: bytes) -> str:
    """Read the body of an error, in whatever form it came."""
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip()
    return message_of(value)


def message_of(value: Any) -> str:
    """Read the words of an error object, or of an object that holds one."""
    error = value.get("error") or value
    if isinstance(error, str):
        return error
    return str(error.get("message") or error.get("detail") or "")


class Frame(NamedTuple):
    """One server-sent event: its fields, ``data`` lines joined by LF."""

    event: str
    data: str
    error: str


def frames(body: bytes) -> Iterator[Frame]:
    """Read a recorded stream; a frame without its blank line is read too, comments are not."""
    text = body.decode("utf-8", "replace").replace("\r\n", "\n")
    for block in text.split("\n\n"):
        values: dict[str, list[str]] = {"event": [], "data": [], "error": []}
        for line in block.split("\n"):
            name, colon, value = line.partition(":")
            if colon and name in values:
                values[name].append(value.removeprefix(" "))
        if any(values.values()):
            yield Frame(*("\n".join(values[name]) for name in ("event", "data", "error")))


def json_frames(body: bytes) -> Iterator[dict[str, Any]]:
    """Read the JSON objects of a stream: only the last frame of one that was cut is none."""
    for frame in frames(body):
        try:
            value = json.loads(frame.data)
        except ValueError:
            continue
        yield value
