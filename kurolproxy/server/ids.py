"""Ids that are ours: of requests, answers and calls."""

from __future__ import annotations

import base64
import os
from itertools import count


class Ids:
    """Makes ids that no other process makes, without a system call for each.

    Args:
        seed: 16 random bytes of this process.
    """

    __slots__ = ("_counter", "_prefix")

    def __init__(self, seed: bytes) -> None:
        self._prefix = base64.b32encode(seed).decode().rstrip("=").lower()
        self._counter = count(1)

    def request(self) -> str:
        """Return the id of a request: 128 bits of this process and a counter."""
        return f"req_{self._prefix}{next(self._counter):06x}"

    @staticmethod
    def fresh(prefix: str) -> str:
        """Return ``prefix`` and 24 random base32 characters."""
        return prefix + base64.b32encode(os.urandom(15)).decode().lower()
