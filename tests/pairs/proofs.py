"""A turn with thoughts, the proof of them in each vendor's form, and how clients carry it."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kurolproxy.ir import ProtocolName
from tests.pairs.asks import Ask, Back, Result, Words

# No two bytes of it may change on the way: base64 with both characters that have another
# form in URLs.
PROOF = "EqQBCkYIBxgCKkD/+sig8A+/"
THOUGHTS = ("Let me ", "think \u2026 >?~\n")
TEXT = "".join(THOUGHTS)


def second(ask: Ask, native: Any) -> Ask:
    """Return the ask that brings an answer back with the result of its call."""
    result = Result("call_1", "weather", (Words("rain"),))
    return replace(ask, turns=(*ask.turns, Back(native), result))


# --- at the vendor ----------------------------------------------------------------------


def proofs_of(protocol: ProtocolName, body: Any) -> list[Any]:
    """Return the proofs that a request gives back, in the vendor's own form.

    Each is what the vendor checks: for Chat the thoughts themselves, for Responses the
    encrypted content, for Messages thoughts and signature, for Gemini the bytes of it.
    """
    return list(_PROOFS[protocol](body))


def proved(protocol: ProtocolName, body: Any) -> bool:
    """Return whether a request holds the proof of the scripted vendor, once, unchanged."""
    wanted = {
        "openai-chat": TEXT,
        "openai-responses": PROOF,
        "anthropic": (TEXT, PROOF),
        "gemini": base64.b64decode(PROOF),
    }[protocol]
    return proofs_of(protocol, body) == [wanted]


def _chat(body: Any) -> Iterator[str]:
    for message in body["messages"]:
        if message.get("reasoning_content"):
            yield message["reasoning_content"]


def _responses(body: Any) -> Iterator[str | None]:
    for item in body["input"]:
        if item.get("type") == "reasoning":
            yield item.get("encrypted_content")


def _messages(body: Any) -> Iterator[tuple[str, str]]:
    for message in body["messages"]:
        if isinstance(message["content"], list):
            for block in message["content"]:
                if block["type"] == "thinking":
                    yield block["thinking"], block["signature"]


PLACEHOLDER = "skip_thought_signature_validator"
"""What Gemini takes in the place of a proof that another model has made."""


def _gemini(body: Any) -> Iterator[bytes]:
    for content in body["contents"]:
        for part in content["parts"]:
            proof = part.get("thoughtSignature")
            if proof is not None and proof != PLACEHOLDER:
                # The Google SDK writes the same bytes with the alphabet of URLs.
                yield base64.urlsafe_b64decode(proof.replace("+", "-").replace("/", "_"))


_PROOFS: Mapping[ProtocolName, Callable[[Any], Iterator[Any]]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic": _messages,
    "gemini": _gemini,
}


# --- at the client ----------------------------------------------------------------------

Change = Callable[[bytes], bytes]


def damaged(client: ProtocolName, native: Any, change: Change) -> Any:
    """Return an answer as its client keeps it, with every proof in it changed."""
    native = copy.deepcopy(native)
    changed = _CARRIERS[client](native, change)
    assert changed, "the client carries no proof"
    return native


def _text(value: str, change: Change) -> str:
    return change(value.encode()).decode()


def _chat_carrier(native: Any, change: Change) -> int:
    found = [call["extra_content"]["google"] for call in native["tool_calls"][:1]]
    for each in found:
        each["thought_signature"] = _text(each["thought_signature"], change)
    return len(found)


def _responses_carrier(native: Any, change: Change) -> int:
    found = [item for item in native if item.type == "reasoning" and item.encrypted_content]
    for item in found:
        item.encrypted_content = _text(item.encrypted_content, change)
    return len(found)


def _messages_carrier(native: Any, change: Change) -> int:
    found = [block for block in native if block.type == "thinking" and block.signature]
    for block in found:
        block.signature = _text(block.signature, change)
    return len(found)


def _gemini_carrier(native: Any, change: Change) -> int:
    parts = [part for content in native for part in content.parts if part.thought_signature]
    for part in parts:
        # The SDK's user has the bytes behind the base64.
        token = base64.b64encode(part.thought_signature)
        part.thought_signature = _bytes(change(token))
    return len(parts)


def _bytes(token: bytes) -> bytes:
    padded = token.rstrip(b"=")
    return base64.b64decode(padded + b"=" * (-len(padded) % 4))


_CARRIERS: Mapping[ProtocolName, Callable[[Any, Change], int]] = {
    "openai-chat": _chat_carrier,
    "openai-responses": _responses_carrier,
    "anthropic": _messages_carrier,
    "gemini": _gemini_carrier,
}


def retold(**fields: Any) -> Change:
    """Return a change of what a token of ours says; None takes a field out."""

    def change(token: bytes) -> bytes:
        body = json.loads(base64.b64decode(token).removeprefix(b"kx1"))
        body = {name: value for name, value in {**body, **fields}.items() if value is not None}
        return base64.b64encode(b"kx1" + json.dumps(body).encode())

    return change
