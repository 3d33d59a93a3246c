"""Forms that count once: sent again, by a reload or a second click, they do nothing."""

from __future__ import annotations

import hmac
from hashlib import sha256
from secrets import token_bytes, token_urlsafe
from typing import Final

_NONCE_BYTES: Final = 12
_MOST_REMEMBERED: Final = 10_000


class OneTime:
    """The ids of forms: made here, valid for one browser, and taken once.

    What was taken is remembered in memory alone. After a restart no id of before is valid,
    so that none is taken twice; the same goes for all, once so many were taken that the
    first would be forgotten.

    Args:
        most: how many ids are remembered.
    """

    def __init__(self, most: int = _MOST_REMEMBERED) -> None:
        self._most = most
        self._begin()

    def _begin(self) -> None:
        self._secret = token_bytes(32)
        self._taken: set[str] = set()

    def issue(self, token: str) -> str:
        """Return the id of a form that is shown now.

        Args:
            token: of the browser that it is shown to.
        """
        nonce = token_urlsafe(_NONCE_BYTES)
        return f"{nonce}.{self._signed(nonce, token)}"

    def take(self, id_: str, token: str) -> bool:
        """Return whether a form with this id may do what it is for; it may not again."""
        nonce, _, signed = id_.partition(".")
        expected = self._signed(nonce, token)
        given = signed.encode("utf-8", "replace")
        if nonce in self._taken or not hmac.compare_digest(expected.encode(), given):
            return False
        if len(self._taken) >= self._most:
            # With another secret nothing of before is valid any more, taken or not.
            self._begin()
        self._taken.add(nonce)
        return True

    def _signed(self, nonce: str, token: str) -> str:
        message = f"{nonce}.{token}".encode("utf-8", "replace")
        return hmac.new(self._secret, message, sha256).hexdigest()
