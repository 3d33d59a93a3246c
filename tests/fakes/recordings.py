"""Real exchanges with vendors, read in place, and what a client must see of each.

``expected`` shares no code with the gateway: see ``expected_common.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import expected_chat, expected_gemini, expected_messages, expected_responses
from tests.fakes.expected_common import (
    Call,
    Expected,
    Figures,
    Frame,
    error_text,
    frames,
    normal_json,
)

__all__ = [
    "PROTOCOLS",
    "Call",
    "Expected",
    "Figures",
    "Frame",
    "Recording",
    "expected",
    "frames",
    "ids",
    "load_index",
    "needs_recordings",
    "normal_json",
    "recording",
    "recordings_dir",
    "select",
]

PROTOCOLS: Mapping[str, str] = {
    "chat": "openai-chat",
    "messages": "anthropic",
    "responses": "openai-responses",
    "gemini": "gemini",
}
"""The protocols that have readers, by the short names of the recordings."""

_ROOT = Path(__file__).resolve().parents[2]


def recordings_dir() -> Path | None:
    """Return the folder of the recordings, or None when this machine has none."""
    named = os.environ.get("KUROL_RECORDINGS")
    folder = Path(named) if named else _ROOT.parent / "shared" / "recordings"
    return folder if (folder / "index.json").is_file() else None


needs_recordings = pytest.mark.skipif(
    recordings_dir() is None,
    reason="no recordings: set KUROL_RECORDINGS or put them in ../shared/recordings",
)


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange.

    Attributes:
        protocol: ``chat``, ``messages``, ``responses``, ``gemini`` or ``models``.
        path: the path that was called, with its query.
        headers: response headers worth keeping, lower case.
        anomalies: the oddities of INDEX.md.
        request: the request's body, None when the source did not keep it.
    """

    stem: str
    protocol: str
    vendor: str
    model: str
    status: int
    stream: bool
    path: str
    headers: Mapping[str, str]
    anomalies: tuple[str, ...]
    request: bytes | None = field(repr=False)
    response: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        """The recorded content type, else the one its kind of body has."""
        usual = "text/event-stream" if self.stream else "application/json"
        return self.headers.get("content-type", usual)

    @property
    def request_json(self) -> dict[str, Any]:
        """The request's body as an object."""
        if self.request is None:
            raise LookupError(f"{self.stem} has no recorded request")
        body: dict[str, Any] = json.loads(self.request)
        return body


def load_index() -> list[Recording]:
    """Return every recording, in the order of the index; none where there are none."""
    folder = recordings_dir()
    if folder is None:
        return []
    rows = json.loads((folder / "index.json").read_bytes())["recordings"]
    return [_read(folder, row) for row in rows]


def select(*, protocol: str | None = None, stream: bool | None = None) -> list[Recording]:
    """Return the recordings of one protocol and mode."""
    return [
        recording
        for recording in load_index()
        if protocol in (None, recording.protocol) and stream in (None, recording.stream)
    ]


def recording(stem: str) -> Recording:
    """Return one recording by its name; skip the test where there are none.

    Raises:
        LookupError: the usual folder has no such recording; another set may lack it.
    """
    if recordings_dir() is None:
        pytest.skip("no recordings: set KUROL_RECORDINGS or put them in ../shared/recordings")
    for candidate in load_index():
        if candidate.stem == stem:
            return candidate
    if os.environ.get("KUROL_RECORDINGS"):
        pytest.skip(f"the recordings of KUROL_RECORDINGS have no {stem}")
    raise LookupError(f"there is no recording named {stem}")


def _read(folder: Path, row: Mapping[str, Any]) -> Recording:
    request = row["request"]
    return Recording(
        stem=row["stem"],
        protocol=row["protocol"],
        vendor=row["vendor"],
        model=row["model"],
        status=row["status"],
        # The index calls one Gemini answer a stream that is a JSON array.
        stream=row["stream"] and row["response"].endswith(".sse"),
        path=row["path"],
        headers={name.lower(): value for name, value in row["headers"].items()},
        anomalies=tuple(row["anomalies"]),
        request=(folder / request).read_bytes() if request else None,
        response=(folder / row["response"]).read_bytes(),
    )


# --- what a client must see -----------------------------------------------------------

_ANSWERS: Mapping[str, Callable[[bytes], Expected]] = {
    "messages": expected_messages.read_answer,
    "responses": expected_responses.read_answer,
    "gemini": expected_gemini.read_answer,
}
_STREAMS: Mapping[str, Callable[[bytes], Expected]] = {
    "messages": expected_messages.read_stream,
    "responses": expected_responses.read_stream,
    "gemini": expected_gemini.read_stream,
}


def expected(seen: Recording, choice: int = 0) -> Expected:
    """Read a recording.

    Args:
        choice: which answer of a Chat request that asked for several.

    Raises:
        LookupError: for a protocol that has no reader here.
    """
    if seen.protocol not in ("chat", *_ANSWERS):
        raise LookupError(f"no reader for {seen.protocol} recordings")
    if seen.status != 200:
        return Expected(error=error_text(seen.response), whole=False)
    if seen.protocol == "chat":
        read = expected_chat.read_stream if seen.stream else expected_chat.read_answer
        return read(seen.response, choice)
    readers = _STREAMS if seen.stream else _ANSWERS
    return readers[seen.protocol](seen.response)


def ids(recordings: Sequence[Recording]) -> list[str]:
    """Return the names, for ``pytest.mark.parametrize``."""
    return [recording.stem for recording in recordings]
