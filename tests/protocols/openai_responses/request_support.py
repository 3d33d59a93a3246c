"""What the tests of requests share: targets, bodies, golden files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from kurolproxy.ir import ModelTraits, Request
from kurolproxy.protocols.base import Outgoing, TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.openai_responses.request_decode import decode_request
from kurolproxy.protocols.openai_responses.request_encode import encode_request

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "openai_responses"


def target(cap: int | None = None, /, **traits: Any) -> TargetView:
    """Return a target with these traits."""
    return TargetView("up", "public", ModelTraits(**traits), cap)


def encoded(request: Request, view: TargetView | None = None) -> tuple[Outgoing, list[str]]:
    """Normalise and encode a request; return it with the names of what was lost."""
    reader = Reader(normalise(request))
    outgoing = encode_request(reader, view or target())
    return outgoing, reader.losses()


def body(request: Request, view: TargetView | None = None) -> dict[str, Any]:
    """Normalise and encode a request; return its body."""
    return encoded(request, view)[0].body


def asked(*items: Any, **wire: Any) -> Request:
    """Read a request that has these items and fields beside the least it needs."""
    return decode_request({"model": "m1", "input": list(items) or "Hi", **wire})


def plain(value: Any) -> Any:
    """Return a neutral value as JSON: the class's name and what differs from its defaults."""
    if is_dataclass(value):
        said = {
            each.name: plain(found)
            for each in fields(value)
            if (found := getattr(value, each.name)) not in (None, (), {}, "", False, each.default)
        }
        return {"is": type(value).__name__, **said}
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


def cases() -> list[Path]:
    """Return the requests among the golden files: those whose names have one dot."""
    found = sorted((GOLDEN / "request").glob("*.json"))
    return [path for path in found if path.name.count(".") == 1]
