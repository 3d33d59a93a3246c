"""Real exchanges with vendors, read in place, and what a client must see of each.

``expected`` is written from the vendors' wire documents with nothing but ``json``: it
shares no code with the gateway, so that the two can be held against each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

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
        finish: the vendor's own word for the end; None when it said none.
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


def expected(seen: Recording, choice: int = 0) -> Expected:
    """Read a Chat Completions or Messages recording.

    Args:
        choice: which answer of a Chat request that asked for several.

    Raises:
        LookupError: for a protocol that has no reader here.
    """
    if seen.protocol not in ("chat", "messages"):
        raise LookupError(f"no reader for {seen.protocol} recordings")
    if seen.status != 200:
        return Expected(error=_error_text(seen.response), whole=False)
    if seen.protocol == "chat":
        return _chat_stream(seen, choice) if seen.stream else _chat_json(seen, choice)
    return _messages_stream(seen) if seen.stream else _messages_json(seen)


def _error_text(body: bytes) -> str:
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip()
    return _message_of(value)


def _message_of(value: Any) -> str:
    error = value.get("error", value)
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


# --- Chat Completions -----------------------------------------------------------------


@dataclass(slots=True)
class _Answer:
    """What has been read of one answer so far."""

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

    def close(self) -> Expected:
        calls = tuple(
            Call(name, normal_json("".join(self.arguments[key])))
            for key, name in self.names.items()
        )
        return Expected(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            refusal="".join(self.refusal),
            calls=calls,
            finish=self.finish,
            usage=self.usage,
            error=self.error,
            whole=self.error is None and (self.ended or self.finish is not None),
            proofs=tuple(self.proofs),
            restarts=self.restarts,
        )


def _chat_json(seen: Recording, choice: int) -> Expected:
    body = json.loads(seen.response)
    answer = _Answer(ended=True, usage=_chat_usage(body.get("usage")))
    _chat_choice(answer, body["choices"][choice], "message")
    return answer.close()


def _chat_stream(seen: Recording, choice: int) -> Expected:
    answer = _Answer()
    for frame in frames(seen.response):
        if frame.error:
            answer.error = _error_text(frame.error.encode())
        elif frame.data == "[DONE]":
            answer.ended = True
        elif frame.data:
            _chat_chunk(answer, frame.data, choice)
    return answer.close()


def _chat_chunk(answer: _Answer, data: str, choice: int) -> None:
    try:
        chunk = json.loads(data)
    except ValueError:
        # Only the last frame of a stream that was cut is no JSON.
        return
    if chunk.get("error"):
        answer.error = _message_of(chunk)
    answer.usage = _chat_usage(chunk.get("usage")) or answer.usage
    for item in chunk.get("choices") or []:
        if item.get("index", 0) == choice:
            _chat_choice(answer, item, "delta")


def _chat_choice(answer: _Answer, item: Mapping[str, Any], key: str) -> None:
    said = item.get(key) or {}
    _chat_content(answer, said.get("content"))
    answer.reasoning.append(_chat_reasoning(said))
    answer.refusal.append(said.get("refusal") or "")
    for position, call in enumerate(said.get("tool_calls") or []):
        _chat_call(answer, call, position)
    if item.get("finish_reason") is not None:
        answer.finish = item["finish_reason"]


def _chat_content(answer: _Answer, content: Any) -> None:
    """Read words; Mistral sends a list of parts, some of them thoughts."""
    if not isinstance(content, list):
        answer.text.append(content or "")
        return
    for part in content:
        if part["type"] == "thinking":
            answer.reasoning.extend(thought["text"] for thought in part["thinking"])
        else:
            answer.text.append(part["text"])


def _chat_reasoning(said: Mapping[str, Any]) -> str:
    """Read thoughts; vendors that send them under two names repeat the same text."""
    for name in ("reasoning_content", "reasoning"):
        if said.get(name):
            return str(said[name])
    details = said.get("reasoning_details") or []
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details)


def _chat_call(answer: _Answer, call: Mapping[str, Any], position: int) -> None:
    key = call.get("index", position)
    inner = call.get("function") or call.get("custom") or {}
    if inner.get("name"):
        answer.names.setdefault(key, inner["name"])
    arguments = inner.get("arguments", inner.get("input"))
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    answer.arguments.setdefault(key, []).append(arguments or "")


def _chat_usage(usage: Any) -> Figures | None:
    if not usage:
        return None
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Figures(
        prompt=usage.get("prompt_tokens") or 0,
        completion=usage.get("completion_tokens") or 0,
        cache_read=prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0,
        cache_write=prompt.get("cache_write_tokens") or 0,
        reasoning=completion.get("reasoning_tokens") or 0,
    )


# --- Messages -------------------------------------------------------------------------


def _messages_json(seen: Recording) -> Expected:
    body = json.loads(seen.response)
    if "content" not in body:  # an answer of count_tokens
        return Expected(usage=Figures(prompt=body["input_tokens"]))
    answer = _Answer(ended=True, finish=body["stop_reason"])
    for index, block in enumerate(body["content"]):
        _messages_block(answer, index, block)
        if block["type"] == "tool_use":
            answer.arguments[index].append(json.dumps(block["input"]))
    answer.refusal.append((body.get("stop_details") or {}).get("explanation") or "")
    answer.usage = _messages_usage(body["usage"])
    return answer.close()


def _messages_stream(seen: Recording) -> Expected:
    answer = _Answer()
    counted: dict[str, Any] = {}
    restarts = -1
    for frame in frames(seen.response):
        try:
            data = json.loads(frame.data)
        except ValueError:
            # Only the last frame of a stream that was cut is no JSON.
            continue
        if data["type"] == "message_start":
            restarts += 1
            answer, counted = _Answer(restarts=restarts), dict(data["message"]["usage"])
        elif data["type"] == "message_delta":
            counted |= {k: v for k, v in data["usage"].items() if v is not None}
        reader = _MESSAGES_EVENTS.get(data["type"])
        if reader is not None:
            reader(answer, data)
    answer.usage = _messages_usage(counted)
    # A reason to stop is not the end here: message_stop is.
    ended = answer.close()
    return ended if answer.ended else _cut(ended)


def _cut(answer: Expected) -> Expected:
    values = {name: getattr(answer, name) for name in Expected.__slots__}
    return Expected(**values | {"whole": False})


def _messages_block(answer: _Answer, index: int, block: Mapping[str, Any]) -> None:
    kind = block["type"]
    if kind == "text":
        answer.text.append(block["text"])
    elif kind == "thinking":
        answer.reasoning.append(block["thinking"])
        answer.proofs.extend(filter(None, [block.get("signature")]))
    elif kind == "redacted_thinking":
        answer.proofs.append(block["data"])
    elif kind == "tool_use":
        answer.names[index] = block["name"]
        answer.arguments[index] = []


def _messages_delta(answer: _Answer, event: Mapping[str, Any]) -> None:
    delta = event["delta"]
    kind = delta["type"]
    if kind == "text_delta":
        answer.text.append(delta["text"])
    elif kind == "thinking_delta":
        answer.reasoning.append(delta["thinking"])
    elif kind == "signature_delta":
        answer.proofs.append(delta["signature"])
    elif kind == "input_json_delta" and event["index"] in answer.names:
        answer.arguments[event["index"]].append(delta["partial_json"])


def _messages_end(answer: _Answer, event: Mapping[str, Any]) -> None:
    answer.finish = event["delta"]["stop_reason"] or answer.finish
    answer.refusal.append((event["delta"].get("stop_details") or {}).get("explanation") or "")


def _messages_stop(answer: _Answer, _event: Mapping[str, Any]) -> None:
    answer.ended = True


def _messages_error(answer: _Answer, event: Mapping[str, Any]) -> None:
    answer.error = _message_of(event)


_MESSAGES_EVENTS: Mapping[str, Callable[[_Answer, Mapping[str, Any]], None]] = {
    "content_block_start": lambda answer, event: _messages_block(
        answer, event["index"], event["content_block"]
    ),
    "content_block_delta": _messages_delta,
    "message_delta": _messages_end,
    "message_stop": _messages_stop,
    "error": _messages_error,
}


def _messages_usage(usage: Mapping[str, Any]) -> Figures | None:
    if not usage:
        return None
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return Figures(
        prompt=(usage.get("input_tokens") or 0) + read + written,
        completion=usage.get("output_tokens") or 0,
        cache_read=read,
        cache_write=written,
        reasoning=thought,
    )


def ids(recordings: Sequence[Recording]) -> list[str]:
    """Return the names, for ``pytest.mark.parametrize``."""
    return [recording.stem for recording in recordings]
