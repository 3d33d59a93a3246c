"""What the tests of requests share: targets, both directions, golden files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from kurolproxy.ir import Message, ModelTraits, Part, Request, Role, Seal, Text
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.base import Outgoing, TargetView
from kurolproxy.protocols.gemini.request_encode import encode_request
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "gemini" / "request"

NATIVE = Seal("g", "gemini", "bmF0aXZl")
FOREIGN = Seal("a", "claude", "c2ln")
PIXEL = "iVBORw0KGgo="


def token(seal: Seal) -> str:
    """Return a seal as clients carry it."""
    return seals.encode(seal)


def target(limit: int | None = None, **traits: Any) -> TargetView:
    """Return a target with these traits, of a model with this longest answer."""
    return TargetView("gemini-up", "public", ModelTraits(**traits), limit)


def encoded(request: Request, view: TargetView | None = None) -> tuple[Outgoing, list[str]]:
    """Normalise and encode a request; return it with the names of what was lost."""
    reader = Reader(normalise(request))
    outgoing = encode_request(reader, view or target())
    return outgoing, reader.losses()


def body(request: Request, view: TargetView | None = None) -> dict[str, Any]:
    """Normalise and encode a request; return its body."""
    return encoded(request, view)[0].body


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


def plain(value: Any) -> Any:
    """Return a neutral value as JSON: the class's name and what differs from its defaults."""
    if is_dataclass(value):
        told = {
            each.name: plain(found)
            for each in fields(value)
            if (found := getattr(value, each.name)) not in (None, (), {}, "", False, each.default)
        }
        return {"is": type(value).__name__, **told}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def as_json(value: Any) -> str:
    """Write a golden file's text."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def golden(path: Path, found: str) -> None:
    """Compare with a golden file; with ``KUROL_UPDATE_GOLDEN=1`` write it instead."""
    if os.environ.get("KUROL_UPDATE_GOLDEN") == "1":
        path.write_text(found)
    assert path.read_text() == found
