"""What the tests of all protocols share about requests: targets, and encoding for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kurolproxy.ir import ModelTraits, Request
from kurolproxy.protocols.base import Outgoing, TargetView
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import normalise


@dataclass(frozen=True)
class Sending:
    """One protocol's way to an upstream.

    Attributes:
        encode: the protocol's encoder of requests.
        model: how the upstream calls the model.
    """

    encode: Callable[[Reader, TargetView], Outgoing]
    model: str = "up"

    def target(self, limit: int | None = None, /, **traits: Any) -> TargetView:
        """Return a target with these traits, of a model with this longest answer."""
        return TargetView(self.model, "public", ModelTraits(**traits), limit)

    def encoded(
        self, request: Request, view: TargetView | None = None
    ) -> tuple[Outgoing, list[str]]:
        """Normalise and encode a request; return it with the names of what was lost."""
        reader = Reader(normalise(request))
        outgoing = self.encode(reader, view or self.target())
        return outgoing, reader.losses()

    def body(self, request: Request, view: TargetView | None = None) -> dict[str, Any]:
        """Normalise and encode a request; return its body."""
        return self.encoded(request, view)[0].body
