"""What a request says that has no place in the neutral form."""

from __future__ import annotations

from collections.abc import Iterable

from kurolproxy.protocols.base import Fields


class Notes:
    """The losses of decoding.

    Attributes:
        names: the known things, each once, in order.
        unknown: how many other fields there were.
    """

    __slots__ = ("names", "unknown")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.unknown = 0

    def lost(self, name: str) -> None:
        """Note the loss of a known thing."""
        self.names[name] = None

    def rest(self, fields: Fields, placeless: Iterable[str] = (), prefix: str = "") -> None:
        """Note what is left of an object; call it when everything else was read.

        Args:
            placeless: the known fields that no other protocol has; one that is empty or
                false says nothing (Codex sends ``"logprobs": []``).
            prefix: stands before their names.
        """
        for name in placeless:
            if fields.raw(name):
                self.lost(f"{prefix}{name}")
        _, unknown = fields.left(frozenset())
        self.unknown += unknown
