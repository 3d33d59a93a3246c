"""Contents of Gemini requests, neutral messages -> wire."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import (
    Audio,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from kurolproxy.protocols import seal, wire
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.gemini.vocabulary import (
    NO_SIGNATURE,
    PDF,
    arguments_object,
    mime_of_data,
    mime_of_url,
    plain_mime,
)
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames, sanitise

WirePart = dict[str, Any]

_ROLES = {"user": "user", "assistant": "model"}
_PLACEHOLDERS: dict[type, str] = {
    Image: "[image attached below]",
    File: "[file attached below]",
}


class ContentWriter:
    """Write the contents of one request.

    Args:
        names: the names the tools go by.
    """

    def __init__(self, reader: Reader, target: TargetView, names: ToolNames) -> None:
        self._reader = reader
        self._target = target
        self._traits = target.traits
        self._names = names
        # Id of a call -> the names of its tools here: results are told apart by them, and
        # a client may use an id twice.
        self._called: defaultdict[str, deque[str]] = defaultdict(deque)
        self._writers: dict[type, Callable[[Any], list[WirePart]]] = {
            Text: self._text,
            Refusal: self._text,
            Image: self._image,
            File: self._file,
            Audio: self._audio,
        }

    def contents(self, turns: Iterable[Message]) -> list[dict[str, Any]]:
        """Write messages that take turns, the roles ``user`` and ``assistant`` alone."""
        out: list[dict[str, Any]] = []
        for turn in turns:
            assistant = turn.role == "assistant"
            parts = list(self._model(turn.parts) if assistant else self._user(turn.parts))
            role = _ROLES[turn.role]
            if out and out[-1]["role"] == role:
                # What stood between them had nothing to say here.
                out[-1]["parts"] += parts
            elif parts:
                # A model's turn of foreign thoughts alone is left out.
                out.append({"role": role, "parts": parts})
        return out

    def texts(self, parts: Iterable[Text]) -> list[WirePart]:
        """Write text parts."""
        return [each for part in parts for each in self._text(part)]

    # --- the user's turn ------------------------------------------------------------------

    def _user(self, parts: Iterable[Part]) -> Iterator[WirePart]:
        """Write results, the media that did not fit into them, and the user's words."""
        media: list[WirePart] = []
        for part in parts:
            if isinstance(part, ToolResult):
                yield self._result(part, media)
                continue
            yield from media
            media = []
            yield from self._said(part)
        yield from media

    def _said(self, part: Part) -> list[WirePart]:
        writer = self._writers.get(type(part))
        return writer(part) if writer is not None else []

    def _text(self, part: Text | Refusal) -> list[WirePart]:
        return [{"text": self._reader.take(part, "text")}]

    def _image(self, part: Image) -> list[WirePart]:
        if not self._traits.vision:
            raise self._refused("images")
        take = self._reader.take
        if part.detail == "auto":
            take(part, "detail")
        data, url, mime = take(part, "data"), take(part, "url"), plain_mime(take(part, "mime"))
        if data is not None:
            return [_inline(mime or mime_of_data(data) or "image/png", data)]
        return [_file(mime or mime_of_url(url or "") or "image/jpeg", url or "")]

    def _file(self, part: File) -> list[WirePart]:
        take = self._reader.take
        name = take(part, "name") or part.title
        take(part, "title")
        words = [f"[file: {name}]"] if name else []
        words += [context] if (context := take(part, "context")) else []
        mime, text = plain_mime(take(part, "mime")), take(part, "text")
        if text is not None:
            return [{"text": "\n".join([*words, text])}]
        # This wire has no name for a file: it is told in words.
        head: list[WirePart] = [{"text": "\n".join(words)}] if words else []
        data, url = take(part, "data"), take(part, "url")
        if data is not None:
            mime = mime or mime_of_data(data) or PDF
        else:
            mime = mime or mime_of_url(url or "") or PDF
        if mime == PDF and not self._traits.pdf:
            raise self._refused("PDF files")
        return [*head, _inline(mime, data) if data is not None else _file(mime, url or "")]

    def _audio(self, part: Audio) -> list[WirePart]:
        self._reader.whole(part)
        return [_inline(f"audio/{part.format}", part.data)]

    def _refused(self, what: str) -> BadRequest:
        return BadRequest(
            f"Model {self._target.public_model} does not accept {what}: leave them out, or use"
            " another model.",
            param="messages",
        )

    # --- results --------------------------------------------------------------------------

    def _result(self, part: ToolResult, media: list[WirePart]) -> WirePart:
        """Write a result.

        Args:
            media: gets what a result cannot hold here; it stands behind all results.
        """
        take = self._reader.take
        take(part, "name")
        call_id = take(part, "call_id")
        # Normalising gave every call one result, in the order of the calls.
        called = self._called[call_id]
        inner: list[WirePart] = []
        words: list[str] = []
        for each in take(part, "parts"):
            for written in self._said(each):
                if "text" in written:
                    words.append(written["text"])
                elif self._traits.tool_result_media:
                    inner.append(written)
                else:
                    words.append(_PLACEHOLDERS[type(each)])
                    media.append(written)
        key = "error" if take(part, "is_error") else "output"
        response: WirePart = {
            **self._id(call_id),
            "name": called.popleft() if called else self._names.encode(part.name or "tool"),
            "response": {key: "\n".join(words)},
        }
        if inner:
            response["parts"] = inner
        return {"functionResponse": response}

    def _id(self, call_id: str) -> dict[str, str]:
        # Old backends do not know the field.
        if self._traits.gemini_schema == "legacy" or not call_id:
            return {}
        return {"id": sanitise(call_id)}

    # --- the model's turn -----------------------------------------------------------------

    def _model(self, parts: Iterable[Part]) -> Iterator[WirePart]:
        """Write what the model said, each proof on the part behind its thoughts.

        Foreign thoughts are left out. The first call of a turn must carry a proof: where
        its own is not to be had, the vendor takes a word for it.
        """
        proof = ""
        called = False
        for part in parts:
            if isinstance(part, Reasoning):
                found = seal.restorable(part, "g", self._traits.reasoning_family)
                if found is not None:
                    yield from _empty(proof)
                    yield from self._thought(part)
                    proof = found.proof
                continue
            if isinstance(part, ToolCall):
                proof = proof or self._own_proof(part)
                written = [self._call(part)]
                if not proof and not called:
                    proof = NO_SIGNATURE
                called = True
            else:
                written = self._said(part)
            if proof and written:
                written[0]["thoughtSignature"] = proof
                proof = ""
            yield from written
        yield from _empty(proof)

    def _thought(self, part: Reasoning) -> Iterator[WirePart]:
        self._reader.whole(part)
        text = part.text
        if part.seal is not None and part.seal.text is not None:
            # The text that travelled with its proof is exact.
            text = part.seal.text
        if text:
            yield {"text": text, "thought": True}

    def _own_proof(self, call: ToolCall) -> str:
        """Return the proof that a call carries itself."""
        if call.seal is None:
            return ""
        thought = Reasoning("", call.seal)
        found = seal.restorable(thought, "g", self._traits.reasoning_family)
        if found is None:
            return ""
        self._reader.take(call, "seal")
        return found.proof

    def _call(self, part: ToolCall) -> WirePart:
        take = self._reader.take
        for name in ("name", "ns", "kind"):
            take(part, name)
        call_id, args = take(part, "id"), take(part, "args")
        custom = part.kind == "custom"
        if not custom and wire.has_big_integer(args.encode("utf-8", "replace")):
            raise BadRequest(
                f"messages: the arguments of the call of {part.name} hold an integer of more "
                "than 64 bits, which cannot be translated.",
                param="messages",
            )
        name = self._names.encode(part.name, part.ns)
        self._called[call_id].append(name)
        args = arguments_object(args, custom=custom)
        return {"functionCall": {**self._id(call_id), "name": name, "args": args}}


def _inline(mime: str, data: str) -> WirePart:
    return {"inlineData": {"mimeType": mime, "data": data}}


def _file(mime: str, uri: str) -> WirePart:
    return {"fileData": {"mimeType": mime, "fileUri": uri}}


def _empty(proof: str) -> Iterator[WirePart]:
    """Yield a part that carries nothing but a proof, as the vendor itself ends a turn."""
    if proof:
        yield {"text": "", "thoughtSignature": proof}
