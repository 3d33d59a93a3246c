"""What the tests of requests share: targets, both directions, bodies, seals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.ir import Message, Part, Request, Role, Seal, Text
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.base import TargetView
from kurolproxy.protocols.gemini.request_encode import encode_request
from tests.protocols.sending import Sending

SENDING = Sending(encode_request, "gemini-up")
target, encoded, body = SENDING.target, SENDING.encoded, SENDING.body

NATIVE = Seal("g", "gemini", "bmF0aXZl")
FOREIGN = Seal("a", "claude", "c2ln")
PIXEL = "iVBORw0KGgo="


def token(seal: Seal) -> str:
    """Return a seal as clients carry it."""
    return seals.encode(seal)


def config(request: Request, view: TargetView | None = None) -> dict[str, Any]:
    """Normalise and encode a request; return its generation config."""
    found: dict[str, Any] = body(request, view).get("generationConfig", {})
    return found


def said(role: Role, *parts: Part) -> Message:
    """Return a message."""
    return Message(role, parts)


def ask(*messages: Message, **asked: Any) -> Request:
    """Return a request with these messages, or with one word of the user's."""
    return Request("m", messages or (said("user", Text("Hi")),), **asked)


def wire(*parts: Mapping[str, Any], role: str = "model", **more: Any) -> dict[str, Any]:
    """Return a body whose second turn has these parts."""
    first = {"role": "user", "parts": [{"text": "Hi"}]}
    return {"contents": [first, {"role": role, "parts": list(parts)}], **more}
