"""What a client of each family hears in one answer, as a word of the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kurolproxy.ir import ProtocolName
from tests.fakes.faulty_modes import AS_IT_IS, CUT, GOOD, LATE
from tests.server.families import Got


def hearing(client: ProtocolName, got: Got, text: str, *, stream: bool) -> str:
    """Return an answer as one word of the table, or what is wrong with it.

    Args:
        text: what an answer that comes must say.
    """
    if got.status != 200:
        return _refusal(client, got)
    if not stream:
        found = _text_of(client, got.body)
        return GOOD if found == text else f"200 of {found[:80]!r}"
    return _streamed(Heard.of(client, got.body), text)


# status -> what each family calls it
_WORDS: Mapping[ProtocolName, Mapping[int, str]] = {
    "openai-chat": {502: "upstream_error", 504: "upstream_timeout", 400: "", 413: ""},
    "anthropic": {
        502: "api_error",
        504: "timeout_error",
        400: "invalid_request_error",
        413: "request_too_large",
    },
    "gemini": {
        502: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
        400: "INVALID_ARGUMENT",
        413: "INVALID_ARGUMENT",
    },
}


def _refusal(client: ProtocolName, got: Got) -> str:
    error = got.json["error"]
    word = _WORDS[_dialect(client)].get(got.status)
    if _kind(client, error) != word or got.headers["content-type"] != "application/json":
        return f"{got.status} of {error}"
    wait, again = got.advice
    if again is not None:
        never = got.status in (400, 413)
        return str(got.status) if never else f"{got.status} never" + (f", {wait}" if wait else "")
    return f"{got.status}" if wait == "1" else f"{got.status} after {wait}"


def _dialect(client: ProtocolName) -> ProtocolName:
    return "openai-chat" if client == "openai-responses" else client


def _kind(client: ProtocolName, error: Mapping[str, Any]) -> str:
    """Return what an error object calls itself."""
    if client == "anthropic":
        return str(error["type"])
    if client == "gemini":
        return str(error["status"])
    code = error.get("code")
    known = code in ("upstream_error", "upstream_timeout")
    return str(code) if known else ""


@dataclass(slots=True)
class Heard:
    """A streamed answer.

    Attributes:
        ended: it looks whole.
        error: what its error calls itself; it must be the last that comes.
        broken: events that are no JSON.
    """

    client: ProtocolName
    text: str = ""
    ended: bool = False
    error: str | None = None
    late: bool = False
    broken: int = 0

    @classmethod
    def of(cls, client: ProtocolName, body: bytes) -> Heard:
        """Read a stream as its family's clients do."""
        heard = cls(client)
        for data in events(body):
            heard.take(data)
        return heard

    def take(self, data: str) -> None:
        """Read one event."""
        if data == "[DONE]":
            self.ended = True
            return
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            self.broken += 1
            return
        self.late = self.late or self.error is not None
        if isinstance(value.get("error"), dict) and "candidates" not in value:
            self.error = _kind(self.client, value["error"])
        elif value.get("type") == "error":
            self.error = _kind(self.client, value)
        else:
            self.text += _mended("".join(_deltas(self.client, value)))
            self.ended = self.ended or _is_end(self.client, value)


def _streamed(heard: Heard, text: str) -> str:
    words = _WORDS[_dialect(heard.client)]
    if heard.error is not None:
        clean = not heard.ended and not heard.late and heard.text and text.startswith(heard.text)
        if clean and not heard.broken:
            return {words[502]: LATE, words[504]: CUT}.get(heard.error, heard.error)
    elif heard.ended and heard.text == text:
        return AS_IT_IS if heard.broken else GOOD
    heard.text = heard.text[:80]
    return f"200 of {heard}"


def events(body: bytes) -> Iterator[str]:
    """Yield the data of each event of a stream, by the rules of the format."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    for frame in re.split(r"\n\r?\n", text):
        lines = [each.removesuffix("\r") for each in frame.split("\n")]
        data = [each[5:].removeprefix(" ") for each in lines if each.startswith("data:")]
        if data:
            yield "\n".join(data)


def _mended(text: str) -> str:
    """Return a text whose lone halves of characters are what a client shows for them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _deltas(client: ProtocolName, value: dict[str, Any]) -> Iterator[str]:
    match client:
        case "openai-chat":
            for choice in value["choices"]:
                yield choice["delta"].get("content") or ""
        case "openai-responses":
            if value["type"] == "response.output_text.delta":
                yield value["delta"]
        case "anthropic":
            if value["type"] == "content_block_delta":
                yield value["delta"].get("text", "")
        case "gemini":
            yield from _parts(value)


def _parts(value: dict[str, Any]) -> Iterator[str]:
    for candidate in value.get("candidates") or ():
        for part in candidate["content"].get("parts", ()):
            yield part.get("text", "")


def _is_end(client: ProtocolName, value: dict[str, Any]) -> bool:
    match client:
        case "openai-responses":
            return value["type"] in ("response.completed", "response.incomplete")
        case "anthropic":
            return bool(value["type"] == "message_stop")
        case "gemini":
            return any("finishReason" in each for each in value.get("candidates") or ())
    return False


def _text_of(client: ProtocolName, body: bytes) -> str:
    """Return the text of a whole answer."""
    if body.startswith(b"\xef\xbb\xbf"):
        return "a mark that no client expects"
    value = json.loads(body.decode("utf-8", "replace"))
    match client:
        case "openai-chat":
            found = [value["choices"][0]["message"]["content"]]
        case "openai-responses":
            found = [part["text"] for item in value["output"] for part in item["content"]]
        case "anthropic":
            found = [block["text"] for block in value["content"]]
        case "gemini":
            found = list(_parts(value))
    return _mended("".join(found))
