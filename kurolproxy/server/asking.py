"""What a call asks for by its route, and how far its answer came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kurolproxy.protocols.base import Codec
from kurolproxy.tokens import Usage


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route that calls models.

    Attributes:
        label: the route as metrics and logs name it.
        query_key: whether ``?key=`` is a credential here.
    """

    codec: Codec
    label: str
    query_key: bool = False


@dataclass(slots=True)
class Progress:
    """How far the answer of an attempt came.

    Attributes:
        sent: the upstream took the request.
        head_at: when the head of its answer came, of the state's clock; None: it has not.
        shown: events of the answer went out: no other attempt can take its place.
        content: the first content was seen.
        finished: the answer is whole.
    """

    sent: bool = False
    head_at: float | None = None
    shown: bool = False
    content: bool = False
    finished: bool = False
    usage: Usage | None = None
    emitted_bytes: int = 0


class Named(NamedTuple):
    """What the path of a request says that other protocols say in the body.

    Attributes:
        model: as the client wrote it.
        stream: whether a stream is asked for.
    """

    model: str
    stream: bool = False
