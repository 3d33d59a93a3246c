"""Wrong passwords: so many a minute of one address, and for one account; the rest has to wait."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from kurolproxy.policy.damping import Damping

_SIGN_UPS_WINDOW_S: Final = 3_600.0
SIGN_UPS: Final = 10
"""Accounts that one address may try to make within an hour."""


class Attempts:
    """Counts attempts with a password before it is looked at, and takes back those that were right.

    Both the address and the name of the account count: an attacker has many addresses, or
    many names. What is beyond the limit costs nothing but this look.
    """

    def __init__(self) -> None:
        self._addresses = Damping()
        self._names = Damping()
        self._sign_ups = Damping(window_s=_SIGN_UPS_WINDOW_S)

    def begin(self, address: str, name: str, now: float, limit: int) -> float:
        """Count an attempt, unless there were too many.

        Args:
            address: of the client.
            name: of the account as it is compared, whether there is one or not.
            now: seconds of a monotonic clock.
            limit: attempts a minute, of the address and for the name.

        Returns:
            seconds to wait; 0.0: the password may be looked at.
        """
        name = _key(name)
        wait_s = max(
            self._addresses.blocked(address, now, limit), self._names.blocked(name, now, limit)
        )
        if not wait_s:
            self._addresses.failed(address, now, limit)
            self._names.failed(name, now, limit)
        return wait_s

    def forgive(self, address: str, name: str) -> None:
        """Take back an attempt: the password was right, or was not looked at after all."""
        self._addresses.forgive(address)
        self._names.forgive(_key(name))

    def sign_up(self, address: str, now: float) -> float:
        """Count somebody's attempt to make an account; return as ``begin`` does."""
        wait_s = self._sign_ups.blocked(address, now, SIGN_UPS)
        if not wait_s:
            self._sign_ups.failed(address, now, SIGN_UPS)
        return wait_s


def _key(name: str) -> str:
    """Return a name in a form that is short, and no address."""
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
