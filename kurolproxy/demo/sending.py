"""What every wire form of the demo vendor is handed to write its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kurolproxy.demo.read import dumps


@dataclass(frozen=True, slots=True)
class Sending:
    """One answer on its way.

    Attributes:
        model: the model's name, as it was asked for.
        fingerprint: hex that is the same for the same request; ids are made of it.
        created: Unix seconds.
        body: the request, for what an answer repeats of it.
    """

    model: str
    fingerprint: str
    created: int
    body: Mapping[str, Any]


def data_frame(value: object) -> bytes:
    """Write a server-sent event without a name."""
    return f"data: {dumps(value)}\n\n".encode()


def event_frame(name: str, value: Mapping[str, Any]) -> bytes:
    """Write a server-sent event whose data repeats its name as ``type``."""
    return f"event: {name}\ndata: {dumps({'type': name, **value})}\n\n".encode()
